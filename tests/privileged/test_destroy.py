"""Destroy deletes a jail, all of it, and nothing else, whoever laid what traps in it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.children import end, in_child, kill, start
from support.containers import eventually
from support.profiles import write_profile
from support.trees import dump, plant

from jailkit.backends.base import ExecRequest
from jailkit.backends.chroot import ChrootBackend
from jailkit.errors import BackendError, StateError
from jailkit.lifecycle import destroy as module
from jailkit.lifecycle.create import Order, create, order
from jailkit.lifecycle.destroy import destroy
from jailkit.lifecycle.update import update
from jailkit.linux.libc import CLONE_NEWPID, unshare
from jailkit.linux.process import read_process
from jailkit.store import MARKER, Jail, Store

pytestmark = pytest.mark.needs("root", "mknod", "chroot")

Jailkit = Callable[..., subprocess.CompletedProcess[str]]
WAIT = 60.0


@pytest.fixture
def store(home: Path) -> Store:
    return Store(str(home))


@pytest.fixture
def wanted(tmp_path: Path) -> Order:
    return order(str(write_profile(tmp_path, "box", binaries=["sh"])))


@pytest.fixture
def box(store: Store, wanted: Order) -> Jail:
    return create(wanted, store)


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    return plant(tmp_path / "precious", {"/file": "x", "/folder/file": "y"})


def nothing_left(store: Store) -> bool:
    return sorted(path for path in dump(store.home) if path.count("/") > 1) == []


@pytest.mark.usefixtures("box")
def test_a_jail_is_gone(store: Store) -> None:
    update("box", store)
    destroy("box", store)
    assert store.names() == []
    assert nothing_left(store)


@pytest.mark.usefixtures("box")
def test_destroying_twice(jailkit: Jailkit) -> None:
    done = jailkit("destroy", "box")
    assert (done.returncode, done.stdout, done.stderr) == (0, "destroyed jail box\n", "")
    done = jailkit("destroy", "box")
    assert (done.returncode, done.stdout) == (1, "")
    home = os.environ["JAILKIT_HOME"]
    assert done.stderr == (
        f"jailkit: cannot find jail box in {home}\n"
        "  Try: jailkit list shows the jails there are; jailkit create makes one\n"
    )
    assert jailkit("destroy", "--force", "box").returncode == 1


def test_one_failure_does_not_stop_the_others(jailkit: Jailkit, store: Store, wanted: Order) -> None:
    for name in ("a", "b", "c"):
        create(wanted, store, name=name)
    Path(store.home, "jails/b", MARKER).unlink()
    done = jailkit("destroy", "a", "b", "nothing", "../c", "c", "c")
    assert done.returncode == 1
    assert done.stdout == "destroyed jail a\ndestroyed jail c\n"
    assert done.stderr.startswith("jailkit: cannot destroy 3 jails\n")
    assert "does not carry jailkit's marker" in done.stderr
    assert "cannot find jail nothing" in done.stderr
    assert "cannot use '../c' as the name of a jail" in done.stderr
    assert store.names() == ["b"]


@pytest.mark.usefixtures("box")
@pytest.mark.parametrize("name", ["../x", "..", ".", "/", "a/../../x", "", "x\n", "-rf"])
def test_names_that_lead_elsewhere(jailkit: Jailkit, store: Store, name: str) -> None:
    plant(Path(store.home), {f"/{folder}/{MARKER}": "" for folder in ("x", "..data")})
    before = dump(store.home)
    for options in ([], ["--force"]):
        done = jailkit("destroy", *options, "--", name)
        assert done.returncode == 2
        assert "as the name of a jail" in done.stderr
    assert dump(store.home) == before


def test_links_are_not_followed(store: Store, box: Jail, precious: Path) -> None:
    before = dump(precious, owners=True, times=True)
    root = Path(box.rootfs)
    (root / "tmp/out").symlink_to(precious)
    (root / "home/jail/file").symlink_to(precious / "file")
    os.link(precious / "file", root / "tmp/hard")
    (root / "home/jail/root").symlink_to("/")
    destroy("box", store)
    assert dump(precious, owners=True, times=True) == before
    assert nothing_left(store)


@pytest.mark.usefixtures("box")
def test_a_jail_that_is_a_link_is_none(store: Store, precious: Path) -> None:
    (precious / MARKER).touch()
    os.symlink(precious, f"{store.home}/jails/link")
    assert store.names() == ["box"]
    for force in (False, True):
        with pytest.raises(StateError, match="cannot find jail link"):
            destroy("link", store, force=force)
    assert (precious / "file").exists()


@pytest.mark.usefixtures("box")
@pytest.mark.parametrize("place", ["jails", "previous"])
def test_a_folder_without_the_marker_is_refused(store: Store, place: str) -> None:
    update("box", store)
    Path(store.home, place, "box", MARKER).unlink()
    for force in (False, True):
        with pytest.raises(StateError, match="does not carry jailkit's marker"):
            destroy("box", store, force=force)
    assert Path(store.home, place, "box/rootfs/etc/passwd").exists()


def test_traps_in_names_and_depth(store: Store, box: Jail) -> None:
    top = os.fsencode(f"{box.rootfs}/tmp")
    for name in (b"new\nline", b"\x1b[2J", b"\xff", b"-rf", b" ", b"x" * 255, b".jailkit", b"$(reboot)"):
        os.mkdir(top + b"/" + name)
        Path(os.fsdecode(top + b"/" + name), "file").touch()
    before = os.open(".", os.O_RDONLY)
    os.chdir(top)
    for _ in range(1000):
        os.mkdir("d")
        os.chdir("d")
    os.fchdir(before)
    os.close(before)
    destroy("box", store)
    assert nothing_left(store)


@pytest.mark.needs("mount-namespace")
@pytest.mark.parametrize(
    "place", ["jails/box/rootfs/tmp", "jails/box/rootfs/home/jail/deep/er", "previous/box/rootfs/tmp"]
)
@pytest.mark.usefixtures("box")
def test_a_mount_below_is_refused(store: Store, precious: Path, place: str) -> None:
    update("box", store)
    point = Path(store.home, place)
    point.mkdir(parents=True, exist_ok=True)
    before = dump(precious, owners=True, times=True)

    def body() -> list[str]:
        subprocess.run(["mount", "--bind", precious, point], check=True)
        said = []
        for force in (False, True):
            with pytest.raises(StateError) as caught:
                destroy("box", store, force=force)
            assert caught.value.details == (str(point),)
            said.append(str(caught.value.resolution))
        return said

    assert in_child(body, private_mounts=True) == [f"umount {point}"] * 2
    assert dump(precious, owners=True, times=True) == before
    destroy("box", store)


@pytest.mark.needs("mount-namespace")
def test_a_mount_that_appears_meanwhile_is_not_crossed(
    store: Store, box: Jail, precious: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is mounted after the look at mountinfo is the kernel's to protect: EBUSY."""
    before = dump(precious, owners=True, times=True)
    Path(box.rootfs, "tmp/folder").mkdir()
    Path(box.rootfs, "tmp/file").touch()

    def body() -> list[str]:
        subprocess.run(["mount", "--bind", precious, f"{box.rootfs}/tmp/folder"], check=True)
        subprocess.run(["mount", "--bind", precious / "file", f"{box.rootfs}/tmp/file"], check=True)
        monkeypatch.setattr(module, "mounts_below", lambda _: [])
        with pytest.raises(StateError, match="cannot delete all of jail box") as caught:
            destroy("box", store)
        return sorted(caught.value.details)

    said = in_child(body, private_mounts=True)
    assert said == [
        "rootfs/tmp/file: Device or resource busy", "rootfs/tmp/folder: renameat2: Device or resource busy",
    ]  # fmt: skip
    assert dump(precious, owners=True, times=True) == before
    assert store.names() == []
    store.sweep()
    assert nothing_left(store)


FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, FS_IMMUTABLE_FL = 0x80086601, 0x40086602, 0x10  # linux/fs.h


def set_immutable(path: Path, *, on: bool) -> None:
    """Do as chattr(1) does; skip where the file system has no such flag."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        (flags,) = struct.unpack("l", fcntl.ioctl(descriptor, FS_IOC_GETFLAGS, struct.pack("l", 0)))
        flags = flags | FS_IMMUTABLE_FL if on else flags & ~FS_IMMUTABLE_FL
        fcntl.ioctl(descriptor, FS_IOC_SETFLAGS, struct.pack("l", flags))
    except OSError as error:
        if error.errno in (errno.ENOTTY, errno.EOPNOTSUPP, errno.EPERM):
            pytest.skip("this file system has no immutable flag")
        raise
    finally:
        os.close(descriptor)


def test_an_immutable_file_is_gone_past_and_reported(jailkit: Jailkit, store: Store, box: Jail) -> None:
    stuck = Path(box.rootfs, "etc/motd\x1b[31m")
    stuck.touch()
    set_immutable(stuck, on=True)
    try:
        done = jailkit("destroy", "box")
        assert done.returncode == 1
        assert done.stderr == (
            f"jailkit: cannot delete all of jail box: 1 path left in {store.home}/trash\n"
            "  rootfs/etc/motd\\x1b[31m: Operation not permitted\n"
            "  Try: mend the reason (lsattr shows immutable files) and run any jailkit command again\n"
        )
        files = [path for path, text in dump(f"{store.home}/trash").items() if text.startswith("file")]
        assert len(files) == 2
        assert store.names() == []
        assert jailkit("list").returncode == 0
        assert jailkit("create", "--name", "box", box.source).returncode == 0
        assert jailkit("destroy", "box").returncode == 0
    finally:
        (left,) = Path(store.home, "trash").rglob("motd*")
        set_immutable(left, on=False)
    assert jailkit("list").returncode == 0
    assert nothing_left(store)


@pytest.fixture
def inhabitant(box: Jail) -> Iterator[int]:
    """Give the pid of a process that lives in the jail and holds no lock."""
    read, write = os.pipe()

    def live() -> None:
        os.chroot(box.rootfs)
        os.chdir("/")
        os.write(write, b"x")
        signal.pause()

    pid = start(live)
    os.read(read, 1)
    yield pid
    os.close(read)
    os.close(write)
    kill(pid)


def test_running_processes_are_refused_or_ended(store: Store, inhabitant: int) -> None:
    with pytest.raises(StateError, match="cannot destroy jail box: 1 process in it") as caught:
        destroy("box", store)
    assert caught.value.details == (f"pid {inhabitant}",)
    assert caught.value.resolution == "end them, or jailkit destroy --force box"
    destroy("box", store, force=True)
    assert Path(f"/proc/{inhabitant}/stat").read_text().split()[2] == "Z"
    assert nothing_left(store)


@pytest.fixture
def armed(box: Jail, probe: Path) -> Jail:
    """Give the jail with the probe in it."""
    shutil.copy(probe, f"{box.rootfs}/bin/probe")
    return box


@pytest.mark.needs("gcc")
def test_a_process_whose_main_thread_has_ended(store: Store, armed: Jail) -> None:
    running = ChrootBackend().spawn(armed, ExecRequest(("/bin/probe", "headless"), capture=True))
    try:
        deadline = time.monotonic() + WAIT
        while (process := read_process(running.child.pid)) and process.state != "Z":
            assert time.monotonic() < deadline
            time.sleep(0.01)
        with pytest.raises(StateError, match="cannot destroy jail box: 1 process in it"):
            destroy("box", store)
        assert Path(armed.rootfs, "bin/probe").exists()
        destroy("box", store, force=True)
    finally:
        running.send(signal.SIGKILL)
        assert running.wait().signal == signal.SIGKILL
    assert nothing_left(store)


def living(jail: Jail) -> set[int]:
    """Look again and again for processes that have their root in a jail, there or deleted."""
    found: set[int] = set()
    for _ in range(100):
        for name in filter(str.isdecimal, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                if jail.directory in os.readlink(f"/proc/{name}/root") or "/trash/" in os.readlink(
                    f"/proc/{name}/root"
                ):
                    found.add(int(name))
    return found


@pytest.mark.needs("gcc")
def test_processes_that_end_before_they_are_looked_at(store: Store, armed: Jail) -> None:
    """Chains of processes, each of which forks the next and ends, are in no list for long."""
    assert ChrootBackend().exec(armed, ExecRequest(("/bin/probe", "chains", "4", "2000", "30"))).ok
    with pytest.raises((StateError, BackendError), match=r"process(es)? in it|cannot be sure that nothing runs"):
        destroy("box", store)
    assert Path(armed.rootfs, "bin/probe").exists()
    destroy("box", store, force=True)
    assert living(armed) == set()
    assert nothing_left(store)


def test_the_first_process_of_a_namespace_that_cannot_end_yet(store: Store, box: Jail) -> None:
    """It waits until all in its namespace were waited for: for ever where their parent is a PID 1 that does not."""

    def job() -> None:
        unshare(CLONE_NEWPID)  # For children only: their parent stays outside.
        first = start(signal.pause)
        unreaped = start(lambda: None)
        try:
            os.waitid(os.P_PID, unreaped, os.WEXITED | os.WNOWAIT)
            os.kill(first, signal.SIGKILL)
            eventually(lambda: not os.path.exists(f"/proc/{first}/root"))
            destroy(box.name, store)
            assert os.waitid(os.P_PID, first, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        finally:
            end(unreaped)
            end(first)

    in_child(job)
    assert nothing_left(store)


def test_a_busy_host_is_no_busy_jail(store: Store, wanted: Order) -> None:
    loads = [subprocess.Popen(["sh", "-c", "while :; do /bin/true; done"]) for _ in range(2)]
    try:
        for force in (False, True) * 5:
            create(wanted, store)
            destroy("box", store, force=force)
    finally:
        for load in loads:
            load.kill()
            load.wait()
    assert nothing_left(store)


def test_what_nobody_can_be_sure_of_is_refused(store: Store, box: Jail, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process in every list that is gone at every look."""

    def gone(*_: object) -> bool:
        raise ProcessLookupError

    monkeypatch.setattr("jailkit.linux.process._is_rooted", gone)
    monkeypatch.setattr("jailkit.linux.process._PATIENCE", 0.1)
    monkeypatch.setattr(module, "PATIENCE", 0.1)
    monkeypatch.setattr("jailkit.backends.rooted._PATIENCE", 0.1)
    for force in (False, True):
        with pytest.raises(BackendError, match="cannot be sure that nothing runs in jail box"):
            destroy("box", store, force=force)
    assert Path(box.rootfs, "etc/passwd").exists()


def test_processes_that_fork_as_they_are_ended(store: Store, box: Jail) -> None:
    """A jail may be full of processes that breed; bounded here, so that the machine lives whatever happens."""

    def breed() -> None:
        os.setsid()
        os.chroot(box.rootfs)
        os.chdir("/")
        for _ in range(400):
            if os.fork():
                os._exit(0)
        signal.pause()

    pids = [start(breed) for _ in range(4)]
    try:
        destroy("box", store, force=True)
        assert module.backend_for("chroot").processes(box) == []
    finally:
        for pid in pids:
            end(pid)
    assert nothing_left(store)


def test_a_damaged_record_needs_force(store: Store, box: Jail) -> None:
    Path(box.directory, "jail.json").write_text("{")
    with pytest.raises(StateError, match="its record is damaged"):
        destroy("box", store)
    destroy("box", store, force=True)
    assert nothing_left(store)


@pytest.mark.parametrize(
    "record", [b'{"format": 1}', b"[]", b"\xff", b'{"rootfs": "/", "directory": "/", "name": "../.."}']
)
def test_a_hostile_record_leads_nowhere(store: Store, box: Jail, precious: Path, record: bytes) -> None:
    before = dump(precious)
    Path(box.directory, "jail.json").write_bytes(record)
    destroy("box", store, force=True)
    assert dump(precious) == before
    assert nothing_left(store)


def test_a_record_of_another_name_or_of_no_level(store: Store, box: Jail, precious: Path) -> None:
    path = Path(box.directory, "jail.json")
    path.write_text(path.read_text().replace('"level": "chroot"', '"level": "x"').replace('"box"', '"../../precious"'))
    before = dump(precious)
    with pytest.raises(StateError, match="its record is damaged"):
        destroy("box", store)
    destroy("box", store, force=True)
    assert dump(precious) == before
    assert nothing_left(store)


def test_a_jail_that_this_version_could_not_look_into_stays(store: Store, box: Jail) -> None:
    path = Path(box.directory, "jail.json")
    path.write_text(path.read_text().replace('"level": "chroot"', '"level": "host"'))
    for force in (False, True):
        with pytest.raises(BackendError, match="cannot use level host"):
            destroy("box", store, force=force)
    assert Path(box.rootfs, "etc/passwd").exists()
