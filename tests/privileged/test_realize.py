"""Writing a tree: what a copy is and is not, and that nothing lands beside the root."""

from __future__ import annotations

import errno
import os
import re
import resource
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.children import in_child
from support.trees import dump, plant, short_hash

from jailkit import loader_cache
from jailkit.errors import RealizeError
from jailkit.lifecycle.drift import drifts
from jailkit.linux.capabilities import capability_mask, limit_capabilities
from jailkit.linux.paths import Tree
from jailkit.manifest import Manifest, Record
from jailkit.plan.model import Copy, Device, Directory, Entry, Plan, Reason, Symlink, Text
from jailkit.plan.settings import Runtime
from jailkit.plan.tidy import tidy
from jailkit.realize import realize

pytestmark = pytest.mark.needs("root", "mknod")

WHY = Reason("key", "named")
SHARED = 0o1777
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")  # cap_net_raw=ep, as setcap(8) writes it


def plan_of(*entries: Entry, owners: tuple[tuple[str, str], ...] = ()) -> Plan:
    return Plan("p", "", "chroot", tidy(entries), Runtime("root", (), (), "/", ("sh",)), owners=owners)


Make = Callable[..., list[Record]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "draft" / "rootfs"


@pytest.fixture
def make(root: Path) -> Make:
    """Give a function that realizes entries in `root`; /etc is always there, for the loader's cache."""
    root.parent.mkdir()

    def realized(*entries: Entry, **keys: Any) -> list[Record]:
        records = realize(plan_of(Directory("/etc", WHY), *entries, **keys), str(root))
        with Tree(str(root)) as tree:
            assert list(drifts(tree, Manifest.of(records))) == []
        return records

    return realized


def made(root: Path, *, owners: bool = True) -> dict[str, str]:
    """Give the tree without what every realized one has."""
    return {
        path: text for path, text in dump(root, owners=owners).items() if path not in ("/", "/etc", "/etc/ld.so.cache")
    }


def source(tmp_path: Path, content: str = "content", mode: int = 0o644) -> Path:
    path = tmp_path / "source"
    path.write_text(content)
    path.chmod(mode)
    os.utime(path, ns=(1_500_000_000_123_456_789, 1_600_000_000_987_654_321))
    return path


def test_every_kind_of_entry(make: Make, root: Path, tmp_path: Path) -> None:
    path = str(source(tmp_path))
    make(
        Directory("/d", WHY, SHARED, 5, 6),
        Copy("/d/copy", path, WHY, 0o640, 7, 8),
        Text("/d/text", "hällo\n", WHY, 0o600, 9, 10),
        Symlink("/d/link", "../nowhere", WHY),
        Device("/dev/null", 1, 3, WHY),
        Device("/dev/tty", 5, 0, WHY, 0o620, 0, 5),
    )
    assert made(root) == {
        "/d": "dir 1777 5:6", "/d/copy": f"file 0640 {short_hash('content')} 7:8",
        "/d/text": f"file 0600 {short_hash('hällo' + chr(10))} 9:10", "/d/link": "link ../nowhere 0:0",
        "/dev": "dir 0755 0:0", "/dev/null": "char 0666 1,3 0:0", "/dev/tty": "char 0620 5,0 0:5",
    }  # fmt: skip


def test_device_nodes_work(make: Make, root: Path) -> None:
    make(Device("/dev/null", 1, 3, WHY), Device("/dev/zero", 1, 5, WHY), Device("/dev/full", 1, 7, WHY))
    with (root / "dev/zero").open("rb") as zero:
        assert zero.read(3) == b"\0\0\0"
    (root / "dev/null").write_bytes(b"x")
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        (root / "dev/full").write_bytes(b"x")


def test_records_tell_what_is_there(make: Make, tmp_path: Path) -> None:
    path = str(source(tmp_path))
    records = Manifest.of(make(Copy("/c", path, WHY), Symlink("/l", "c", WHY), owners=((path, "pkg"),))).records
    record = records["/c"]
    status = os.stat(path)
    assert (record.size, record.source, record.package) == (7, path, "pkg")
    assert (record.source_size, record.source_ctime_ns) == (status.st_size, status.st_ctime_ns)
    assert record.sha256 is not None
    assert record.sha256.startswith(short_hash("content"))
    assert (records["/l"].target, records["/"].kind, records["/etc/ld.so.cache"].reason.because) == (
        "c", "directory", "hidden",
    )  # fmt: skip


def test_a_copy_keeps_mode_and_mtime_and_shares_nothing(make: Make, root: Path, tmp_path: Path) -> None:
    path = source(tmp_path, mode=0o754)
    os.link(path, tmp_path / "second-name")
    make(Copy("/one", str(path), WHY, 0o754), Copy("/two", str(path), WHY, 0o754))
    for name in ("one", "two"):
        status = (root / name).stat()
        assert stat.S_IMODE(status.st_mode) == 0o754
        assert status.st_mtime_ns == 1_600_000_000_987_654_321
        assert status.st_nlink == 1
        assert status.st_ino != path.stat().st_ino
    (root / "one").write_text("changed")
    assert path.read_text() == (root / "two").read_text() == "content"


def test_setuid_and_capabilities_are_left_behind(make: Make, root: Path, tmp_path: Path) -> None:
    path = source(tmp_path, mode=0o6755)
    os.setxattr(path, "security.capability", CAPABILITY)
    os.setxattr(path, "user.note", b"mine")
    make(Copy("/plain", str(path), WHY, 0o755), Copy("/kept", str(path), WHY, 0o6755, keep_privileges=True))
    assert made(root, owners=False) == {
        "/plain": f"file 0755 {short_hash('content')}", "/kept": f"file 6755 {short_hash('content')}",
    }  # fmt: skip
    assert os.listxattr(root / "plain") == []
    assert os.listxattr(root / "kept") == ["security.capability"]
    assert os.getxattr(root / "kept", "security.capability") == CAPABILITY


@pytest.mark.needs("setcap")
def test_what_setcap_set_is_left_behind_and_kept(make: Make, root: Path, tmp_path: Path) -> None:
    path = source(tmp_path, mode=0o755)
    subprocess.run([shutil.which("setcap", path="/sbin:/usr/sbin") or "setcap", "cap_net_raw+ep", path], check=True)
    make(Copy("/plain", str(path), WHY), Copy("/kept", str(path), WHY, keep_privileges=True))
    assert [("security.capability" in os.listxattr(root / name)) for name in ("plain", "kept")] == [False, True]


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077, 0o777])
def test_the_umask_does_not_count(tmp_path: Path, mask: int) -> None:
    path = source(tmp_path)

    def make() -> dict[str, str]:
        os.umask(mask)
        top = tmp_path / f"root-{mask}"
        entries = [Directory("/etc", WHY), Directory("/d", WHY, SHARED), Text("/t", "x", WHY), Symlink("/l", "c", WHY)]
        realize(plan_of(*entries, Copy("/c", str(path), WHY), Device("/n", 1, 3, WHY)), str(top))
        return {path: text for path, text in dump(top, owners=True).items() if not path.endswith("cache")} | {
            "cache": f"{(top / 'etc/ld.so.cache').stat().st_mode:o}"
        }

    assert in_child(make) == {
        "/": "dir 0755 0:0", "/c": f"file 0644 {short_hash('content')} 0:0", "/d": "dir 1777 0:0",
        "/etc": "dir 0755 0:0", "/l": "link c 0:0", "/n": "char 0666 1,3 0:0",
        "/t": f"file 0644 {short_hash('x')} 0:0", "cache": "100644",
    }  # fmt: skip


@pytest.mark.needs("setfacl")
def test_a_default_acl_of_the_parent_is_not_inherited(make: Make, root: Path, tmp_path: Path) -> None:
    subprocess.run(["setfacl", "-d", "-m", "u:nobody:rwx,g::rwx,o::rwx", root.parent], check=True)
    path = source(tmp_path)
    make(Directory("/d", WHY), Text("/d/t", "x", WHY), Copy("/d/c", str(path), WHY), Device("/d/n", 1, 3, WHY))
    for path in (root, root / "d", root / "d/t", root / "d/c", root / "d/n", root / "etc/ld.so.cache"):
        assert os.listxattr(path) == []


def test_a_group_that_the_parent_hands_down_is_not_taken(make: Make, root: Path) -> None:
    os.chown(root.parent, 0, 1234)
    root.parent.chmod(0o2755)
    make(Directory("/d", WHY, 0o755, 0, 77), Symlink("/d/l", "x", WHY))
    assert stat.S_IMODE(root.stat().st_mode) == 0o755
    assert (root.stat().st_gid, (root / "etc/ld.so.cache").stat().st_gid) == (0, 0)
    assert made(root) == {"/d": "dir 0755 0:77", "/d/l": "link x 0:0"}


def test_a_name_is_never_a_command(make: Make, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the older tool of this kind a file of this name in a copied folder ran `touch`."""
    monkeypatch.chdir(tmp_path)
    commands = ["a.so;touch PWNED;", "$(touch PWNED)", "`touch PWNED`", "-rf", "*"]
    names = [*commands, "a\nb", "\x1b[2J", "a'b\"", "\udcff"]
    plant(tmp_path / "folder", {name: name.encode("utf-8", "surrogateescape").hex() for name in names})
    make(*(Copy(f"/f/{name}", f"{tmp_path}/folder/{name}", WHY, 0o755) for name in names))
    assert sorted(os.listdir(root / "f")) == sorted(names)
    assert not any(path.name == "PWNED" for path in tmp_path.rglob("*"))


@pytest.mark.parametrize("kind", ["copy", "text", "directory", "device", "symlink"])
def test_a_link_in_the_draft_redirects_nothing(tmp_path: Path, root: Path, kind: str) -> None:
    """In the older tool of this kind `-f` followed a link in the jail and overwrote the host's file."""
    outside = plant(tmp_path / "outside", {"/file": "precious"})
    before = dump(outside, owners=True, times=True)
    entries: dict[str, Entry] = {
        "copy": Copy("/a/file", str(source(tmp_path)), WHY), "text": Text("/a/file", "x", WHY),
        "directory": Directory("/a/file", WHY), "device": Device("/a/file", 1, 3, WHY),
        "symlink": Symlink("/a/file", "x", WHY),
    }  # fmt: skip

    def plant_link(parent: bool) -> Callable[[Entry], None]:
        def progress(entry: Entry) -> None:
            if entry.path == "/a" and parent:
                (root / "a").rmdir()
                (root / "a").symlink_to(outside)
            elif entry.path == "/a":
                (root / "a/file").symlink_to(outside / "file")

        return progress

    root.parent.mkdir()
    for number, parent in enumerate((True, False)):
        with pytest.raises(RealizeError, match=r"cannot .*/a/file|cannot copy"):
            realize(plan_of(Directory("/a", WHY), entries[kind]), str(root), plant_link(parent))
        assert dump(outside, owners=True, times=True) == before
        root.rename(root.with_name(f"done-{number}"))


def test_a_link_is_not_followed_when_the_cache_is_written(root: Path, tmp_path: Path) -> None:
    outside = plant(tmp_path / "outside", {"/ld.so.cache": "precious"})
    root.parent.mkdir()
    with pytest.raises(RealizeError, match="loader cache"):
        realize(plan_of(Symlink("/etc", str(outside), WHY)), str(root))
    assert dump(outside, owners=False)["/ld.so.cache"].startswith("file")
    assert (outside / "ld.so.cache").read_text() == "precious"
    assert os.listdir(outside) == ["ld.so.cache"]


def test_the_cache_names_the_libraries_of_the_jail(make: Make, root: Path) -> None:
    library = next(path for path in ("/lib/x86_64-linux-gnu/libc.so.6", "/lib/aarch64-linux-gnu/libc.so.6",
                                     "/lib64/libc.so.6", "/lib/libc.so.6") if os.path.exists(path))  # fmt: skip
    make(Copy(library, os.path.realpath(library), WHY, 0o755), Directory("/var/cache", WHY),
         Text("/etc/ld.so.conf", f"{os.path.dirname(library)}\n", WHY))  # fmt: skip
    listed = subprocess.run(
        ["/sbin/ldconfig", "-r", root, "-p"], capture_output=True, text=True, check=True, env={"LC_ALL": "C"}
    ).stdout
    assert "libc.so.6 (libc6" in listed
    assert listed.count("=>") == 1
    assert os.listdir(root / "var/cache") == []


def test_a_source_that_is_a_link_or_no_file_is_refused(root: Path, tmp_path: Path) -> None:
    root.parent.mkdir()
    (tmp_path / "link").symlink_to(source(tmp_path))
    os.mkfifo(tmp_path / "fifo")
    for number, name in enumerate(("link", "fifo", "gone")):
        with pytest.raises(RealizeError, match=f"cannot copy {tmp_path}/{name}"):
            realize(plan_of(Copy("/c", f"{tmp_path}/{name}", WHY)), f"{root}-{number}")


def test_a_source_that_changes_while_it_is_copied(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from jailkit import realize as module

    path = source(tmp_path)
    root.parent.mkdir()
    copy = module.copy_and_hash

    def meanwhile(one: int, two: int, size: int) -> str:
        digest = copy(one, two, size)
        path.write_text("other!!")
        return digest

    monkeypatch.setattr(module, "copy_and_hash", meanwhile)
    with pytest.raises(RealizeError, match="it changed while it was copied") as caught:
        realize(plan_of(Copy("/c", str(path), WHY)), str(root))
    assert caught.value.resolution == "the host changed meanwhile: run the command again"


@pytest.mark.parametrize("name", ["folder/secret", "folder/deep/secret"])
def test_a_source_whose_directory_becomes_a_link(root: Path, tmp_path: Path, name: str) -> None:
    """Whoever owns a directory that is copied could put a link to /etc in its place once the plan is made."""
    plant(tmp_path, {"/outside/secret": "s", "/outside/deep/secret": "s", f"/{name}": "mine"})
    plan = plan_of(Copy("/c", f"{tmp_path}/{name}", WHY), Text("/d", "x", WHY))
    shutil.rmtree(tmp_path / "folder")
    (tmp_path / "folder").symlink_to("outside")
    root.parent.mkdir()
    with pytest.raises(RealizeError, match=f"cannot copy {tmp_path}/{name}: a symbolic link has taken") as caught:
        realize(plan, str(root))
    assert caught.value.resolution == "the host changed meanwhile: run the command again"
    assert not (root / "c").exists()


@pytest.mark.parametrize("kernel", [True, False])
def test_a_source_that_grows_while_it_is_copied(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernel: bool
) -> None:
    from jailkit.linux import copy

    path = source(tmp_path)
    root.parent.mkdir()
    status = os.fstat

    def fstat(descriptor: int) -> os.stat_result:
        """Say a moment too early how large the file is."""
        said = status(descriptor)
        if stat.S_ISREG(said.st_mode) and said.st_size == 7:
            path.write_bytes(bytes(5 << 20))
        return said

    monkeypatch.setattr(os, "fstat", fstat)
    if not kernel:
        monkeypatch.setattr(copy, "_copy_in_kernel", lambda *_: False)
    with pytest.raises(RealizeError, match="it changed while it was copied"):
        realize(plan_of(Copy("/c", str(path), WHY)), str(root))
    assert (root / "c").stat().st_size <= 8


def test_a_terabyte_of_holes_is_refused(root: Path, tmp_path: Path) -> None:
    path = source(tmp_path)
    os.truncate(path, 1 << 40)
    root.parent.mkdir()
    with pytest.raises(RealizeError, match="it has 1099511627776 bytes, more than 64 GiB") as caught:
        realize(plan_of(Copy("/c", str(path), WHY)), str(root))
    assert caught.value.brief.startswith(f"cannot copy {path}: ")
    assert caught.value.resolution


def test_callers_with_limits_of_their_own_get_a_cache(root: Path) -> None:
    """Raising a hard limit takes CAP_SYS_RESOURCE, which root in a container may lack."""
    root.parent.mkdir()

    def make() -> list[str]:
        resource.setrlimit(resource.RLIMIT_CPU, (30, 30))
        resource.setrlimit(resource.RLIMIT_AS, (900_000 << 10, 900_000 << 10))
        [effective] = re.findall(r"^CapEff:\t([0-9a-f]+)$", Path("/proc/self/status").read_text(), re.MULTILINE)
        limit_capabilities(int(effective, 16) & ~capability_mask(["CAP_SYS_RESOURCE"]))
        return [record.path for record in realize(plan_of(Directory("/etc", WHY)), str(root))]

    assert in_child(make) == ["/", "/etc", "/etc/ld.so.cache"]


@pytest.mark.parametrize("ldconfig", ["/no/ldconfig", "/etc/passwd"])
def test_an_ldconfig_that_cannot_be_run(root: Path, monkeypatch: pytest.MonkeyPatch, ldconfig: str) -> None:
    root.parent.mkdir()
    monkeypatch.setattr(loader_cache, "find_ldconfig", lambda: ldconfig)
    with pytest.raises(RealizeError, match="cannot write the jail's loader cache: "):
        realize(plan_of(Directory("/etc", WHY)), str(root))


def test_an_existing_root_is_refused(root: Path) -> None:
    root.mkdir(parents=True)
    with pytest.raises(RealizeError, match=f"cannot make {root}: File exists"):
        realize(plan_of(), str(root))


def test_no_descriptor_is_left_open(make: Make, tmp_path: Path) -> None:
    path = str(source(tmp_path))
    before = os.listdir("/proc/self/fd")
    make(*(Copy(f"/a{n}/b/c/d", path, WHY) for n in range(20)))
    assert os.listdir("/proc/self/fd") == before


def test_a_deep_tree(make: Make, root: Path) -> None:
    deep = "/d" * 150
    make(Text(f"{deep}/bottom", "x", WHY))
    assert Path(f"{root}{deep}/bottom").read_text() == "x"
