"""What the processes of `chroot-hardened` see as their files: owners, read-only roots, volumes, binds, memory."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support.children import in_child
from support.jails import IDS, UID, run
from support.trees import dump, plant

from jailkit.plan.settings import Isolation, Mount
from jailkit.store import Jail

pytestmark = pytest.mark.needs("root", "mount-namespace", "user-namespace", "seccomp-filter", "busybox", "gcc")

MakeJail = Callable[..., Jail]
LEVEL = "chroot-hardened"


def said(jail: Jail, script: str, **request: object) -> str:
    """Run a script in the jail and give what it writes, errors too."""
    result = run(jail, "sh", "-c", f"exec 2>&1; {script}", **request)
    assert result.stdout is not None
    assert result.reason == "exited", result.message
    return result.stdout.decode().strip()


def folder(path: Path, mode: int = 0o755, owner: int = 0) -> Path:
    path.mkdir(parents=True)
    path.chmod(mode)
    os.chown(path, owner, owner)
    return path


@pytest.fixture
def with_mounts(small_jail: MakeJail, tmp_path: Path) -> Callable[..., Jail]:
    """Give a function that makes a jail with a bind of `source`, a path of the host, at /data."""

    def make(source: Path, *, read_only: bool = False, **runtime: object) -> Jail:
        target = tmp_path / "home/jails/box/rootfs/data"
        mounts = (Mount("bind", "/data", str(source), read_only),)
        jail = small_jail(LEVEL, mounts=mounts, **runtime)
        target.mkdir() if source.is_dir() or not source.exists() else target.touch()
        return jail

    return make


# The jail's own tree


def test_owners_are_the_same_on_disk_and_inside(small_jail: MakeJail) -> None:
    jail = small_jail(LEVEL)
    said(jail, "touch $HOME/mine; mkdir $HOME/folder")
    said(jail, "touch /root/roots; busybox chown 12:34 /root/roots", user="root")
    for path, owner in (("home/jail/mine", UID), ("home/jail/folder", UID), ("root/roots", 0)):
        status = os.stat(f"{jail.rootfs}/{path}")
        assert (status.st_uid, status.st_gid) == (owner, owner)
    assert said(jail, "busybox stat -c '%u %g' /root $HOME/mine /bin/busybox").split() == [
        "0",
        "0",
        *[str(UID)] * 2,
        "0",
        "0",
    ]


def test_chown_with_the_capability(small_jail: MakeJail) -> None:
    jail = small_jail(LEVEL, isolation=Isolation(capabilities=("CAP_CHOWN",)))
    said(jail, "touch /tmp/x $HOME/x; busybox chown 12:34 $HOME/x")
    status = os.stat(f"{jail.rootfs}/home/jail/x")
    assert (status.st_uid, status.st_gid) == (12, 34)


def test_an_id_beyond_the_range_is_nobody_s(small_jail: MakeJail) -> None:
    jail = small_jail(LEVEL)
    path = Path(jail.rootfs, "home/jail/beyond")
    path.write_text("x")
    os.chown(path, IDS[1] + 5, IDS[1] + 5)
    path.chmod(0o600)
    assert said(jail, "busybox stat -c '%u %g' $HOME/beyond") == "65534 65534"
    assert "Permission denied" in said(jail, "cat /home/jail/beyond", user="root")


def test_a_set_user_id_program_gains_nothing(small_jail: MakeJail) -> None:
    jail = small_jail(LEVEL)
    os.chmod(f"{jail.rootfs}/bin/busybox", 0o4755)
    assert said(jail, "id -u") == str(UID)


def test_a_node_in_the_tree_is_dead(small_jail: MakeJail) -> None:
    jail = small_jail(LEVEL)
    os.mknod(f"{jail.rootfs}/tree-null", 0o666 | 0o020000, os.makedev(1, 3))
    os.chmod(f"{jail.rootfs}/tree-null", 0o666)
    assert "Permission denied" in said(jail, "echo x > /tree-null")


def test_a_read_only_root(small_jail: MakeJail) -> None:
    jail = small_jail(LEVEL, read_only_root=True)
    before = dump(jail.rootfs, owners=True, times=True)
    assert "Read-only file system" in said(jail, "touch $HOME/x")
    assert "Read-only file system" in said(jail, "touch /x; chmod 777 /bin", user="root")
    assert said(jail, "touch /tmp/x /dev/shm/x; ls /tmp /dev/shm").split() == ["/dev/shm:", "x", "/tmp:", "x"]
    assert dump(jail.rootfs, owners=True, times=True) == before


@pytest.mark.parametrize("user", [None, "root"])
def test_volumes_stay(small_jail: MakeJail, user: str | None) -> None:
    jail = small_jail(LEVEL, read_only_root=True, volumes=("/home/jail", "/var/lib/x"))
    for path, owner in (("/home/jail", UID), ("/var/lib/x", 0)):
        folder(Path(jail.volume(path)), owner=owner)
        Path(jail.rootfs + path).mkdir(parents=True, exist_ok=True)
    home = "/home/jail" if user is None else "/var/lib/x"
    said(jail, f"echo kept > {home}/file", user=user)
    assert said(jail, f"cat {home}/file", user=user) == "kept"
    owner = UID if user is None else 0
    assert (
        dump(jail.volume(home), owners=True)["/file"]
        == f"file 0644 {dump(jail.volume(home))['/file'][10:]} {owner}:{owner}"
    )
    assert os.listdir(jail.rootfs + home) == []


# Parts of the host


def test_a_read_only_bind(with_mounts: Callable[..., Jail], tmp_path: Path) -> None:
    source = folder(tmp_path / "source", 0o777)
    (source / "file").write_text("of the host")
    jail = with_mounts(source, read_only=True)
    for user in (None, "root"):
        assert said(jail, "cat /data/file", user=user) == "of the host"
        assert "Read-only file system" in said(jail, "touch /data/x", user=user)


def test_it_is_read_only_below_a_mount_in_it_too(with_mounts: Callable[..., Jail], tmp_path: Path) -> None:
    source = folder(tmp_path / "source", 0o777)
    folder(source / "below", 0o777)
    jail = with_mounts(source, read_only=True)

    def try_it() -> str:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=777", "below", source / "below"], check=True)
        (source / "below/file").write_text("below")
        return said(jail, "cat /data/below/file; touch /data/below/x; echo x > /data/below/file")

    words = in_child(try_it, private_mounts=True)
    assert words.startswith("below")
    assert words.count("Read-only file system") == 2


def test_a_writable_bind(with_mounts: Callable[..., Jail], tmp_path: Path) -> None:
    source = folder(tmp_path / "source", owner=UID)
    jail = with_mounts(source)
    assert said(jail, "echo out > /data/file; cat /data/file") == "out"
    status = (source / "file").stat()
    assert (status.st_uid, status.st_gid) == (UID, UID)


def test_what_belongs_to_the_host_s_root_is_not_written_even_where_all_may(
    with_mounts: Callable[..., Jail], tmp_path: Path
) -> None:
    source = folder(tmp_path / "source", 0o777)
    jail = with_mounts(source)
    assert "Permission denied" in said(jail, "echo out > /data/file")
    assert os.listdir(source) == []


def test_through_a_writable_bind_uid_0_makes_no_file_of_the_host_s_root(
    with_mounts: Callable[..., Jail], tmp_path: Path
) -> None:
    source = folder(tmp_path / "source", 0o777, UID)
    (source / "roots").write_text("of the host's root")
    (source / "roots").chmod(0o600)
    jail = with_mounts(source)
    before = dump(source, owners=True)
    words = said(
        jail,
        "cp /bin/busybox /data/program; touch /data/x; mkdir /data/y; cat /data/roots; rm /data/roots; ls -ln /data",
        user="root",
    )
    assert dump(source, owners=True) == before, words
    assert "of the host's root" not in words


def test_a_file_is_bound(with_mounts: Callable[..., Jail], tmp_path: Path) -> None:
    source = tmp_path / "file"
    source.write_text("of the host")
    source.chmod(0o644)
    assert said(with_mounts(source, read_only=True), "cat /data; echo x > /data").startswith("of the host")
    assert source.read_text() == "of the host"


@pytest.mark.parametrize("link", ["/etc", "../../../../../../../../../etc"])
def test_a_target_that_is_a_link_leads_nowhere_else(small_jail: MakeJail, tmp_path: Path, link: str) -> None:
    source = folder(tmp_path / "source")
    plant(source, {"/passwd": "of the source"})
    jail = small_jail(LEVEL, mounts=(Mount("bind", "/data", str(source), True),))
    Path(jail.rootfs, "data").symlink_to(link)
    Path(jail.rootfs, "etc").mkdir()
    assert said(jail, "cat /etc/passwd; ls /data") == "of the sourcepasswd"
    assert "of the source" not in Path("/etc/passwd").read_text()


# Memory


def test_a_tmpfs_has_its_size(small_jail: MakeJail) -> None:
    jail = small_jail(LEVEL, mounts=(Mount("tmpfs", "/home/jail", size=1 << 20),))
    assert "No space left on device" in said(jail, "busybox dd if=/dev/zero of=$HOME/full bs=64k count=17")
    assert os.listdir(f"{jail.rootfs}/home/jail") == []


def test_ephemeral_changes_vanish(with_mounts: Callable[..., Jail], tmp_path: Path) -> None:
    source = folder(tmp_path / "source", owner=UID)
    (source / "file").write_text("of the host")
    os.chown(source / "file", UID, UID)
    jail = with_mounts(source, volumes=("/home/jail",))
    folder(Path(jail.volume("/home/jail")), owner=UID)
    trees = (jail.rootfs, jail.volume("/home/jail"), source)
    before = [dump(tree, owners=True) for tree in trees]
    script = (
        "echo v > /home/jail/x; echo b > /data/file; echo b > /data/new; mkdir /data/d;"
        "cat /home/jail/x /data/file /data/new; ls -d /data/d; rm /data/file; ls /data"
    )
    assert said(jail, script, ephemeral=True).split() == ["v", "b", "b", "/data/d", "d", "new"]
    roots = "touch /root/x; rm /bin/true; mkdir /bin/folder; ls /root; ls -d /bin/true /bin/folder"
    words = said(jail, roots, user="root", ephemeral=True)
    assert words.startswith("x\n")
    assert "/bin/folder" in words
    assert "/bin/true: No such file" in words
    assert [dump(tree, owners=True) for tree in trees] == before
    assert said(jail, "ls /home/jail /data; cat /data/file").split() == [
        "/data:",
        "file",
        "/home/jail:",
        "of",
        "the",
        "host",
    ]


def test_ephemeral_over_a_read_only_root(small_jail: MakeJail) -> None:
    jail = small_jail(LEVEL, read_only_root=True)
    assert "Read-only file system" in said(jail, "touch /home/jail/x", ephemeral=True)


def test_ephemeral_owners(small_jail: MakeJail) -> None:
    jail = small_jail(LEVEL)
    words = said(
        jail, "busybox stat -c '%u' / /root /home/jail /bin; touch $HOME/x; busybox stat -c %u $HOME/x", ephemeral=True
    )
    assert words.split() == ["0", "0", str(UID), "0", str(UID)]
