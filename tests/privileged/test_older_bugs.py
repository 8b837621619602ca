"""Bugs that were reproduced in an older tool of this kind: each stays impossible here, from end to end."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.children import in_child
from support.profiles import write_profile
from support.trees import dump, plant

import jailkit
from jailkit.errors import StateError
from jailkit.lifecycle.create import create, order
from jailkit.lifecycle.destroy import destroy
from jailkit.lifecycle.update import update
from jailkit.lifecycle.verify import verify
from jailkit.linux.mountinfo import select_mounts
from jailkit.store import Jail, Store

pytestmark = pytest.mark.needs("root", "mknod", "chroot")


@pytest.fixture
def store(home: Path) -> Store:
    return Store(str(home))


@pytest.fixture(autouse=True)
def _the_host_stays_as_it_was() -> Iterator[None]:
    """Lines were added to the host's fstab; here no file of the host's is touched."""
    etc = {path: text for path, text in dump("/etc", owners=True, times=True).items() if "ld.so.cache" not in path}
    yield
    after = {path: text for path, text in dump("/etc", owners=True, times=True).items() if "ld.so.cache" not in path}
    assert after == etc


def test_the_name_of_a_file_ran_as_a_command(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = ["a.so;touch PWNED;", "b.so$(touch PWNED)", "c.so`touch PWNED`", "d.so\ntouch PWNED\n", "e.so|touch PWNED"]
    plant(tmp_path / "folder", dict.fromkeys(names, "#!/bin/sh\ntouch PWNED\n"))
    profile = write_profile(
        tmp_path, "box", binaries=["sh"], files=[{"source": str(tmp_path / "folder"), "target": "/usr/lib/folder"}]
    )
    jail = create(order(str(profile)), store)
    assert sorted(os.listdir(f"{jail.rootfs}/usr/lib/folder")) == sorted(names)
    assert verify("box", store).ok
    update("box", store)
    assert jailkit.open("box", home=store.home).run(["sh", "-c", "exit 0"]).ok
    destroy("box", store)
    assert not list(tmp_path.rglob("PWNED*"))
    assert not os.path.exists("/PWNED")


def test_a_link_in_the_jail_led_a_forced_write_to_the_host(store: Store, tmp_path: Path) -> None:
    outside = plant(tmp_path / "outside", {"/file": "precious", "/folder/passwd": "precious"})
    before = dump(outside, owners=True, times=True)
    profile = write_profile(tmp_path, "box", binaries=["sh"], text={"/etc/motd": "one", "/srv/deep/file": "one"})
    jail = create(order(str(profile)), store)
    root = Path(jail.rootfs)
    (root / "etc/motd").unlink()
    (root / "etc/motd").symlink_to(outside / "file")
    (root / "srv/deep/file").unlink()
    (root / "srv/deep").rmdir()
    (root / "srv/deep").symlink_to(outside / "folder")
    (root / "etc/passwd").unlink()
    (root / "etc/passwd").symlink_to(outside / "folder/passwd")
    write_profile(tmp_path, "box", binaries=["sh"], text={"/etc/motd": "two", "/srv/deep/file": "two"})
    update("box", store, force=True)
    update("box", store, force=True)
    assert dump(outside, owners=True, times=True) == before
    assert Path(store.load("box").rootfs, "srv/deep/file").read_text() == "two"


def test_a_path_counted_as_inside_by_its_first_letters(store: Store, tmp_path: Path) -> None:
    table = b"1 0 8:1 / /srv/s6-evil rw - ext4 a rw\n2 0 8:1 / /srv/s6/in rw - ext4 a rw\n"
    assert select_mounts(table, "/srv/s6") == ["/srv/s6/in"]
    plant(tmp_path, {"/s6/file": "x", "/s6-evil/file": "x"})
    profile = write_profile(
        tmp_path,
        "box",
        files=[
            {"source": str(tmp_path / "s6"), "target": "/srv/s6", "owner": "jail"},
            {"source": str(tmp_path / "s6-evil"), "target": "/srv/s6-evil"},
        ],
    )
    root = Path(create(order(str(profile)), store).rootfs)
    assert [(root / name).stat().st_uid for name in ("srv/s6/file", "srv/s6-evil/file", "srv/s6-evil")] == [60999, 0, 0]


@pytest.mark.needs("mount-namespace")
def test_an_update_deleted_the_host_s_files_through_a_bind_mount(store: Store, tmp_path: Path) -> None:
    precious = plant(tmp_path / "precious", {"/file": "x", "/deep/file": "y"})
    before = dump(precious, owners=True, times=True)
    profile = write_profile(tmp_path, "box", binaries=["sh"], directories=["/srv/mnt"])
    jail = create(order(str(profile)), store)
    write_profile(tmp_path, "box", binaries=["sh"])

    def body() -> list[str]:
        from jailkit.linux.mounting import mount

        mount(str(precious), f"{jail.rootfs}/srv/mnt", "none", 4096)  # MS_BIND
        said = []
        for act in (update, destroy):
            with pytest.raises(StateError, match="1 mount below it") as caught:
                act("box", store, force=True)
            said += caught.value.details
        return said

    assert in_child(body, private_mounts=True) == [f"{jail.rootfs}/srv/mnt"] * 2
    assert dump(precious, owners=True, times=True) == before


def files_of(jail: Jail) -> Iterator[tuple[str, os.stat_result]]:
    for folder, _, names in os.walk(jail.rootfs):
        for name in names:
            path = f"{folder}/{name}"
            status = os.lstat(path)
            if stat.S_ISREG(status.st_mode):
                yield path, status


def test_hard_links_shared_the_host_s_inodes_and_setuid(store: Store, tmp_path: Path) -> None:
    setuid = tmp_path / "su"
    setuid.write_text("#!/bin/sh\n")
    setuid.chmod(0o6755)
    os.link(setuid, tmp_path / "su-too")
    profile = write_profile(
        tmp_path, "box", binaries=["sh", "ls", {"name": "su", "optional": True}, str(setuid), str(tmp_path / "su-too")]
    )
    jail = create(order(str(profile)), store)
    found = list(files_of(jail))
    assert len(found) > 5
    assert [path for path, status in found if status.st_nlink != 1] == []
    assert [path for path, status in found if status.st_mode & (stat.S_ISUID | stat.S_ISGID)] == []
    for path, status in found:
        source = path[len(jail.rootfs) :]
        if os.path.exists(source):
            assert not os.path.samestat(status, os.stat(source))


def test_a_flipped_byte_in_the_libc_passed_the_check(store: Store, tmp_path: Path) -> None:
    jail = create(order(str(write_profile(tmp_path, "box", binaries=["sh"]))), store)
    (libc,) = (Path(path) for path, _ in files_of(jail) if path.endswith("/libc.so.6"))
    for _ in range(3):
        content = bytearray(libc.read_bytes())
        content[len(content) // 2] ^= 0x80
        status = libc.stat()
        libc.write_bytes(content)
        os.utime(libc, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert verify("box", store, smoke=False).findings[0].check == "content"
        update("box", store)
        assert verify("box", store).ok


def test_a_second_run_repaired_nothing_and_said_all_was_well(store: Store, tmp_path: Path) -> None:
    jail = create(order(str(write_profile(tmp_path, "box", binaries=["sh"]))), store)
    Path(jail.rootfs, "dev/null").unlink()
    Path(jail.rootfs, "usr/bin/dash").write_text("")
    assert not verify("box", store).ok
    update("box", store)
    assert verify("box", store).ok
    assert jailkit.open("box", home=store.home).run(["sh", "-c", "echo x >/dev/null"]).ok
