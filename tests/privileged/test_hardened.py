"""What an instance of `chroot-hardened` is: namespaces, a first process, privileges, /proc, /dev and /tmp."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.containers import alive, eventually, status
from support.jails import IDS, UID, facts, init_of, run

from jailkit.backends.base import ExecRequest
from jailkit.backends.hardened import HardenedBackend
from jailkit.backends.instance import MAIN, group_of
from jailkit.linux.capabilities import capability_mask
from jailkit.linux.hidden import HIDDEN_FILES, HIDDEN_FOLDERS, present
from jailkit.linux.launch import NAMESPACES
from jailkit.plan.settings import Isolation, Limits
from jailkit.store import Jail

pytestmark = pytest.mark.needs("root", "mount-namespace", "user-namespace", "seccomp-filter", "busybox", "gcc")

MakeJail = Callable[..., Jail]
BACKEND = HardenedBackend()
FILES = {"mount": "mnt"}  # names of namespaces that /proc/PID/ns spells otherwise


@pytest.fixture
def jail(small_jail: MakeJail) -> Jail:
    return small_jail("chroot-hardened")


@pytest.fixture
def started(jail: Jail) -> Iterator[int]:
    """Start the jail, and give the pid of its init."""
    BACKEND.start(jail)
    yield init_of(jail)
    BACKEND.stop(jail, signal.SIGKILL, 0.0)


def said(jail: Jail, script: str, **request: object) -> str:
    """Run a script in the jail and give what it writes, errors too."""
    result = run(jail, "sh", "-c", f"exec 2>&1; {script}", **request)
    assert result.stdout is not None
    assert result.reason in ("exited", "signalled"), result.message
    return result.stdout.decode().strip()


def namespaces(pid: int | str) -> dict[str, str]:
    return {name: os.readlink(f"/proc/{pid}/ns/{FILES.get(name, name)}") for name in NAMESPACES}


def inside(jail: Jail) -> dict[str, str]:
    """Give the namespaces of a command in the jail."""
    names = " ".join(FILES.get(name, name) for name in NAMESPACES)
    (Path(jail.rootfs) / "bin/readlink").symlink_to("busybox")
    lines = said(jail, f"for n in {names}; do readlink /proc/self/ns/$n; done").splitlines()
    return dict(zip(NAMESPACES, lines, strict=True))


# Namespaces and the first process


def test_every_namespace_is_its_own(jail: Jail, started: int) -> None:
    host, init, command = namespaces("self"), namespaces(started), inside(jail)
    assert not set(host.items()) & set(init.items())
    assert command == init


def test_a_command_of_its_own_has_its_own(jail: Jail) -> None:
    first, second = inside(jail), namespaces("self")
    assert not set(first.items()) & set(second.items())


@pytest.mark.parametrize(
    ("isolation", "shared"),
    [
        (Isolation(network="host"), {"net"}),
        (Isolation(namespaces=("ipc", "uts")), {"net", "cgroup"}),
        (Isolation(namespaces=()), {"net", "cgroup", "ipc", "uts"}),
    ],
)
def test_what_the_profile_shares(small_jail: MakeJail, isolation: Isolation, shared: set[str]) -> None:
    found, host = inside(small_jail("chroot-hardened", isolation=isolation)), namespaces("self")
    assert {name for name in found if found[name] == host[name]} == shared


def test_the_first_process_sleeps_and_is_no_command(jail: Jail, started: int) -> None:
    lines = said(jail, "cat /proc/1/cmdline; echo; echo $$; cat /proc/1/comm").splitlines()
    assert lines[0].split("\0")[0] == "jailkit-init"
    assert int(lines[1]) > 1
    seen = status(started)
    assert seen["State"].startswith("S")
    assert [seen[name] for name in ("CapPrm", "CapEff", "CapInh", "CapBnd", "CapAmb")] == ["0" * 16] * 5
    assert seen["NoNewPrivs"] == "1"
    assert os.listdir(f"/proc/{started}/fd") == ["0", "1", "2"]
    assert {os.readlink(f"/proc/{started}/fd/{number}") for number in range(3)} == {"/dev/null"}
    assert os.stat(f"/proc/{started}").st_uid == IDS[0]


def test_it_is_nobody_s_child(started: int) -> None:
    assert int(status(started)["PPid"]) != os.getpid()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_a_command(jail: Jail, number: signal.Signals) -> None:
    running = BACKEND.spawn(jail, ExecRequest(("sleep", "1000"), capture=True))
    assert running.begun()
    running.send(number)
    result = running.wait()
    assert (result.reason, result.signal) == ("signalled", number)


def test_inside_nobody_ends_the_first_process(jail: Jail, started: int) -> None:
    said(jail, "kill -9 1; kill -15 1; kill -2 1", user="root")
    assert alive(started)
    assert said(jail, "echo there") == "there"


def test_root_inside_cannot_change_the_first_process(jail: Jail, started: int) -> None:
    """It has no filter of system calls, and what runs in its memory would have none either."""
    assert status(started)["Seccomp"] == "0"
    for path in ("/proc/1/exe", "/proc/1/root", "/proc/1/mem"):
        assert "ermission denied" in said(jail, f"ls -l {path}/; : >>{path}", user="root")


def test_orphans_are_reaped(jail: Jail, started: int) -> None:
    said(jail, "for i in 1 2 3 4 5 6 7 8; do (sleep 0.01 & sleep 0.02 &) ; done; sleep 0.1", timeout=20)
    leaf = group_of(jail).leaf(MAIN)
    eventually(lambda: leaf.pids() == [started])


def test_what_a_command_leaves_behind_stays_while_the_jail_runs(jail: Jail, started: int) -> None:
    said(jail, "(setsid sleep 1000 >/dev/null 2>&1 &)")
    leaf = group_of(jail).leaf(MAIN)
    (other,) = set(leaf.pids()) - {started}
    eventually(lambda: Path(f"/proc/{other}/cmdline").read_bytes() == b"sleep\x001000\0")
    BACKEND.stop(jail, signal.SIGTERM, 10.0)
    assert not alive(other)
    assert not alive(started)
    assert not group_of(jail).exists()


def test_what_a_command_leaves_behind_ends_with_an_instance_of_its_own(jail: Jail) -> None:
    seconds = f"1{os.getpid()}"
    said(jail, f"(setsid sleep {seconds} >/dev/null 2>&1 &)")
    assert not group_of(jail).exists()
    lines = [Path(f"/proc/{name}/cmdline") for name in os.listdir("/proc") if name.isdecimal()]
    assert not any(seconds.encode() in line.read_bytes() for line in lines if line.exists())


# Ids and privileges


def test_ids(jail: Jail) -> None:
    assert said(jail, "cat /proc/self/uid_map /proc/self/gid_map").split() == ["0", str(IDS[0]), str(IDS[1])] * 2
    assert said(jail, "cat /proc/self/setgroups") == "allow"
    assert said(jail, "id") == f"uid={UID} gid={UID} groups=50,51"
    assert said(jail, "id", user="root") == "uid=0 gid=0"
    running = BACKEND.spawn(jail, ExecRequest(("sleep", "1000"), capture=True))
    assert running.begun()
    assert status(running.command.child.pid)["Uid"].split() == [str(IDS[0] + UID)] * 4
    running.send(signal.SIGKILL)
    running.wait()


@pytest.mark.parametrize("user", [None, "root"])
def test_privileges(jail: Jail, user: str | None) -> None:
    seen = facts(jail, user=user)
    assert [seen[name] for name in ("effective", "permitted", "inheritable", "bounding", "ambient")] == [0] * 5
    assert seen["no_new_privs"] == 1
    assert seen["descriptors"] == [0, 1, 2]
    assert seen["blocked"] == seen["ignored"] == []
    lines = said(jail, "cat /proc/self/status", user=user).splitlines()
    assert "Seccomp:\t2" in lines
    assert "Seccomp_filters:\t1" in lines


def test_capabilities_that_the_profile_keeps(small_jail: MakeJail) -> None:
    keep = ("CAP_NET_BIND_SERVICE", "CAP_CHOWN")
    seen = facts(small_jail("chroot-hardened", isolation=Isolation(capabilities=keep)))
    assert {seen[name] for name in ("effective", "permitted", "bounding", "ambient")} == {capability_mask(keep)}


def test_limits_of_a_process(small_jail: MakeJail) -> None:
    seen = facts(small_jail("chroot-hardened", limits=Limits(open_files=77, file_size=4096)))
    assert (seen["nofile"], seen["fsize"], seen["core"]) == ([77, 77], [4096, 4096], [0, 0])


def test_what_the_filter_refuses_is_an_error_to_the_command(jail: Jail) -> None:
    assert "Operation not permitted" in said(jail, "busybox unshare -m true")
    assert "Operation not permitted" in said(jail, "busybox unshare -U true")
    assert "permission denied" in said(jail, "busybox mount -t tmpfs none /tmp", user="root")


def test_nothing_of_the_host_is_reached_by_uid_0(jail: Jail) -> None:
    assert not run(jail, "sh", "-c", "busybox hostname other", user="root").ok
    assert not run(jail, "sh", "-c", "busybox mknod /tmp/sda b 8 0", user="root").ok
    assert not run(jail, "chmod", "4777", "/dev/null", user="root").ok
    assert not run(jail, "sh", "-c", "echo 1 > /proc/sys/vm/drop_caches", user="root").ok


# /proc


def covered(path: str) -> str:
    return f"[ -d {path} ] && ls -A {path} || cat {path}"


@pytest.mark.parametrize("path", [path for path in (*HIDDEN_FILES, *HIDDEN_FOLDERS) if path.startswith("/proc/")])
@pytest.mark.parametrize("user", [None, "root"])
def test_what_proc_tells_of_the_host_is_covered(jail: Jail, path: str, user: str | None) -> None:
    if not present([path]):
        assert said(jail, f"ls -d {path}", user=user).endswith("No such file or directory")
    else:
        assert said(jail, covered(path), user=user) == ""
        assert not run(jail, "sh", "-c", f"echo c > {path}/x", user=user).ok


def test_settings_of_the_kernel_are_read_only(jail: Jail) -> None:
    assert said(jail, "cat /proc/sys/kernel/hostname") == jail.name
    for name in ("kernel/hostname", "kernel/core_pattern", "net/ipv4/ip_forward"):
        assert "Read-only file system" in said(jail, f"echo x > /proc/sys/{name}", user="root"), name


# A fresh /proc would undo both of the above, and so would taking away what covers the old one. The filter refuses all
# of it, and so does the kernel without: what a new user namespace has from its parent is locked (mount_namespaces(7)).
UNCOVER = ("busybox mount -t proc none /tmp", "busybox umount /proc/keys", "busybox umount /proc/sys")


@pytest.mark.parametrize("user", [None, "root"])
@pytest.mark.parametrize("uncover", UNCOVER)
def test_proc_stays_covered_without_a_filter(small_jail: MakeJail, user: str | None, uncover: str) -> None:
    jail = small_jail("chroot-hardened", isolation=Isolation(seccomp="none"))
    assert "Seccomp:\t0" in said(jail, "cat /proc/self/status", user=user)
    assert not run(jail, *uncover.split(), user=user).ok
    words = said(jail, f"busybox unshare -U -m -p -f sh -c 'id; {uncover}; echo ended $?'", user=user)
    assert words.startswith("uid=65534 gid=65534"), "without a filter a command gets a user namespace"
    assert words.endswith("ended 1"), words


# /dev, /tmp, terminals, names


def test_dev(small_jail: MakeJail) -> None:
    jail = small_jail("chroot-hardened", devices=("null", "urandom"))
    assert said(jail, "ls /dev").split() == ["fd", "null", "ptmx", "pts", "shm", "stderr", "stdin", "stdout", "urandom"]
    assert said(jail, "ls /dev/pts").split() == ["ptmx"]
    assert said(jail, "echo x > /dev/null; head -c 4 /dev/urandom | busybox wc -c") == "4"
    for device in ("/dev/mem c 1 1", "/dev/null2 c 1 3", "/tmp/null c 1 3"):
        assert "Operation not permitted" in said(jail, f"busybox mknod {device}", user="root")


def test_a_terminal(jail: Jail) -> None:
    ours, theirs = os.openpty()
    result = run(jail, "sh", "-c", "tty; echo on > /dev/tty", terminal=theirs, capture=False)
    os.close(theirs)
    seen = os.read(ours, 4096).decode()
    os.close(ours)
    assert result.ok
    assert "on" in seen


def test_tmp_has_a_size(jail: Jail) -> None:
    words = said(jail, "busybox dd if=/dev/zero of=/tmp/full bs=1M count=65; ls -l /tmp/full")
    assert "No space left on device" in words
    assert f" {64 << 20} " in words
    assert said(jail, "ls -A /tmp") == "", "the next instance has one of its own"


def test_the_host_s_name_stays(jail: Jail, started: int) -> None:
    before = socket.gethostname()
    assert said(jail, "busybox hostname") == jail.name
    assert socket.gethostname() == before != jail.name
    assert started


def test_the_loopback_interface_is_up_and_alone(jail: Jail) -> None:
    lines = said(jail, "busybox ip -o link").splitlines()
    assert len(lines) == 1
    assert "lo: <LOOPBACK,UP,LOWER_UP>" in lines[0]
    assert "Network is unreachable" in said(jail, "busybox nc 192.0.2.1 80")


def test_a_time_out_ends_all(jail: Jail) -> None:
    before = time.monotonic()
    result = run(jail, "sh", "-c", "(setsid sleep 1000 &) ; sleep 1000", timeout=0.3)
    assert (result.reason, result.shell_code) == ("timeout", 124)
    assert time.monotonic() - before < 5
