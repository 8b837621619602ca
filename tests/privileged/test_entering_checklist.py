"""The entering checklist, item by item: what leaks at `chroot-root`, the control, is held at `chroot`."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.children import in_child
from support.jails import UID, facts, parse_facts, run

from jailkit.backends.base import ExecRequest
from jailkit.backends.chroot import ChrootBackend
from jailkit.linux.capabilities import capability_mask
from jailkit.plan.model import Isolation, Limits
from jailkit.store import Jail

pytestmark = pytest.mark.needs("root", "chroot", "mknod", "busybox", "gcc")

MakeJail = Callable[..., Jail]
LEVELS = ("chroot-root", "chroot")
WAIT = 30.0


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """Give a file outside the jail that only the host may read."""
    path = tmp_path / "secret"
    path.write_text("a token of the host")
    return path


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + WAIT
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def both(held: Any, leaked: Any, level: str) -> Any:
    return held if level == "chroot" else leaked


# Identity


def test_user_and_groups(small_jail: MakeJail, level: str) -> None:
    jail = small_jail(level)

    def enter_with_a_group() -> dict[str, Any]:
        os.setgroups([4242])
        return facts(jail)

    seen = in_child(enter_with_a_group)
    assert seen["uids"] == both([UID] * 3, [0] * 3, level)
    assert seen["gids"] == both([UID] * 3, [0] * 3, level)
    assert seen["groups"] == both([50, 51], [4242], level)


def test_capabilities(small_jail: MakeJail, level: str) -> None:
    seen = facts(small_jail(level))
    for name in ("effective", "permitted", "bounding"):
        assert (seen[name] == 0) == (level == "chroot"), name
    assert seen["inheritable"] == seen["ambient"] == 0


def test_capabilities_that_the_profile_keeps(small_jail: MakeJail) -> None:
    keep = ("CAP_NET_BIND_SERVICE", "CAP_CHECKPOINT_RESTORE")
    seen = facts(small_jail("chroot", isolation=Isolation(capabilities=keep)))
    for name in ("effective", "permitted", "inheritable", "bounding", "ambient"):
        assert seen[name] == capability_mask(keep), name
    assert seen["uids"] == [UID] * 3


def test_root_of_a_jail_has_no_capability_either(small_jail: MakeJail) -> None:
    seen = facts(small_jail("chroot", root_accepted=True), user="root")
    assert seen["uids"] == [0, 0, 0]
    assert [seen[name] for name in ("effective", "permitted", "inheritable", "bounding", "ambient")] == [0] * 5


def test_no_new_privs(small_jail: MakeJail, level: str) -> None:
    assert facts(small_jail(level))["no_new_privs"] == both(1, 0, level)


@pytest.mark.parametrize("forbidden", [True, False])
def test_a_setuid_program_regains_nothing(small_jail: MakeJail, forbidden: bool) -> None:
    jail = small_jail("chroot", isolation=Isolation(no_new_privileges=None if forbidden else False))
    os.chmod(f"{jail.rootfs}/bin/probe", 0o4755)
    seen = facts(jail)
    assert seen["uids"][1] == (UID if forbidden else 0)
    assert seen["effective"] == 0, "the bounding set holds whatever the profile says of no_new_privs"


# Descriptors


@pytest.fixture
def leaked_directory(tmp_path: Path) -> Iterator[int]:
    """Give an inheritable descriptor of a directory outside, as a careless caller leaves one; one more is far up."""
    near = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    os.set_inheritable(near, True)
    far = fcntl.fcntl(near, fcntl.F_DUPFD, 500)
    yield near
    os.close(near)
    os.close(far)


def test_descriptors(small_jail: MakeJail, level: str, leaked_directory: int) -> None:
    seen = facts(small_jail(level))["descriptors"]
    assert seen[:3] == [0, 1, 2]
    assert ({leaked_directory, 500} <= set(seen)) == (level == "chroot-root")
    assert level == "chroot-root" or len(seen) == 3


def test_walking_out_by_a_leaked_directory(
    small_jail: MakeJail, level: str, leaked_directory: int, secret: Path
) -> None:
    # The path from the host's root, to which the climb leads.
    result = run(small_jail(level), "/bin/probe", "walk", str(leaked_directory), str(secret).lstrip("/"))
    assert result.stdout == both(b"", secret.read_bytes(), level)
    assert result.exit_code == both(errno.EBADF, 0, level)


def test_closed_standard_streams(small_jail: MakeJail, level: str) -> None:
    jail = small_jail(level)

    def enter_with_standard_output_alone() -> dict[str, Any]:
        read, write = os.pipe()
        os.dup2(write, 1)
        os.close(write)
        os.close(0)
        os.close(2)
        result = ChrootBackend().exec(jail, ExecRequest(("/bin/probe",)))
        os.close(1)
        assert result.ok, result
        with open(read) as answer:
            return parse_facts(answer.read())

    seen = in_child(enter_with_standard_output_alone)["descriptors"]
    assert [number for number in seen if number < 3] == both([0, 1, 2], [1], level)


# Escapes


def test_the_double_chroot(small_jail: MakeJail, level: str, secret: Path) -> None:
    jail = small_jail(level)
    result = in_child(lambda: run(jail, "/bin/probe", "double-chroot", str(secret).lstrip("/")), private_mounts=True)
    assert result.stdout == both(b"", secret.read_bytes(), level)
    assert result.exit_code == both(errno.EPERM, 0, level)


def test_signalling_the_host_s_root(small_jail: MakeJail, level: str) -> None:
    victim = subprocess.Popen(["sleep", "1000"])
    try:
        jail = small_jail(level, root_accepted=True)
        assert run(jail, "/bin/probe", "kill", str(victim.pid), "0").exit_code == both(errno.EPERM, 0, level)
        # Why `isolation.user: root` is a gap: without a pid namespace the uid is all that protects.
        assert run(jail, "/bin/probe", "kill", str(victim.pid), "0", user="root").exit_code == 0
    finally:
        victim.kill()
        victim.wait()


# Session and terminal


def test_session(small_jail: MakeJail, level: str) -> None:
    seen = facts(small_jail(level))
    own = {seen["session"], seen["group"]} == {seen["pid"]}
    assert own == (level == "chroot")
    assert level == "chroot" or seen["session"] == os.getsid(0)


def _queue_after_typing(jail: Jail) -> tuple[int, bytes]:
    """Become the session leader of a terminal, run `type` with it as standard input; give code and input queue."""
    master, slave = os.openpty()
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    settings = termios.tcgetattr(slave)
    settings[3] &= ~(termios.ICANON | termios.ECHO)
    termios.tcsetattr(slave, termios.TCSANOW, settings)
    os.dup2(slave, 0)
    result = ChrootBackend().exec(jail, ExecRequest(("/bin/probe", "type")))
    ready, _, _ = select.select([slave], [], [], 0)
    typed = os.read(slave, 10) if ready else b""
    os.close(master)
    assert result.exit_code is not None
    return result.exit_code, typed


def test_typing_into_the_caller_s_terminal(small_jail: MakeJail, level: str) -> None:
    jail = small_jail(level)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # Inherited: the terminal of the child goes away at its end.
    try:
        code, typed = in_child(lambda: _queue_after_typing(jail))
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    assert typed == both(b"", b"x", level)
    assert (code != 0) == (level == "chroot")


def test_the_command_ends_with_its_caller(small_jail: MakeJail, level: str) -> None:
    jail = small_jail(level)
    program = (
        "import sys\n"
        "from jailkit.backends.base import ExecRequest\n"
        "from jailkit.backends.chroot import ChrootBackend\n"
        "from jailkit.store import read_jail\n"
        "request = ExecRequest(('sh', '-c', 'echo $$; exec sleep 1000'))\n"
        "ChrootBackend().exec(read_jail(sys.argv[1]), request)\n"
    )
    caller = subprocess.Popen([sys.executable, "-c", program, jail.directory], stdout=subprocess.PIPE)
    assert caller.stdout is not None
    pid = int(caller.stdout.readline())
    handle = os.pidfd_open(pid)
    try:
        caller.kill()
        caller.wait()
        gone = bool(select.select([handle], [], [], WAIT if level == "chroot" else 0.5)[0])
        assert gone == (level == "chroot")
    finally:
        caller.stdout.close()
        if not select.select([handle], [], [], 0)[0]:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            assert select.select([handle], [], [], WAIT)[0]
        os.close(handle)


# Surroundings


def test_environment(small_jail: MakeJail, level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOST_PASSWORD", "swordfish")
    monkeypatch.setenv("TERM", "vt220")
    jail = small_jail(level, environment=(("FROM", "profile"), ("BOTH", "profile")))
    seen = facts(jail, environment=(("BOTH", "request"),))["environment"]
    assert seen["TERM"] == "vt220"
    assert seen["FROM"] == "profile"
    assert seen["BOTH"] == "request"
    assert ("HOST_PASSWORD" in seen) == (level == "chroot-root")


def test_the_whole_clean_environment(small_jail: MakeJail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TERM", raising=False)
    assert facts(small_jail("chroot"))["environment"] == {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/home/jail", "USER": "jail", "LOGNAME": "jail", "SHELL": "/bin/sh", "LANG": "C.UTF-8",
    }  # fmt: skip


def test_umask(small_jail: MakeJail, level: str) -> None:
    jail = small_jail(level)

    def enter_with_an_open_umask() -> dict[str, Any]:
        os.umask(0)
        return facts(jail)

    assert in_child(enter_with_an_open_umask)["umask"] == both(22, 0, level)


def test_signal_mask_and_dispositions(small_jail: MakeJail, level: str) -> None:
    jail = small_jail(level)

    def enter_deaf() -> dict[str, Any]:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGTERM])
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGRTMIN, signal.SIG_IGN)
        return facts(jail)

    seen = in_child(enter_deaf)
    assert seen["blocked"] == both([], [signal.SIGUSR1, signal.SIGTERM], level)
    # Python itself ignores SIGPIPE and SIGXFSZ; that is no wish of the caller's, so neither is ignored anywhere.
    assert seen["ignored"] == both([], [signal.SIGHUP, signal.SIGRTMIN], level)


def test_working_directory(small_jail: MakeJail, level: str) -> None:
    assert facts(small_jail(level))["workdir"] == "/home/jail"
    assert facts(small_jail(level), workdir="/tmp")["workdir"] == "/tmp"
    assert facts(small_jail(level, workdir="/"), workdir="home")["workdir"] == "/home"


def test_working_directory_is_the_user_s_own_home(small_jail: MakeJail) -> None:
    jail = small_jail("chroot", workdir=None)
    assert facts(jail)["workdir"] == "/home/jail"
    os.chmod(f"{jail.rootfs}/home/jail", 0o700)
    os.chown(f"{jail.rootfs}/home/jail", 0, 0)
    assert facts(jail)["workdir"] == "/"
    assert run(jail, "pwd", workdir="/home/jail").reason == "setup-failed"
    os.rmdir(f"{jail.rootfs}/home/jail")
    assert facts(jail)["workdir"] == "/"


def test_working_directory_is_entered_as_the_user(small_jail: MakeJail, level: str) -> None:
    jail = small_jail(level)
    os.chmod(f"{jail.rootfs}/root", 0o700)
    assert run(jail, "pwd", workdir="/root").reason == both("setup-failed", "exited", level)


# Limits


def test_limits(small_jail: MakeJail, level: str) -> None:
    jail = small_jail(level, limits=Limits(open_files=32, file_size=4096))
    seen = facts(jail)
    mine = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert seen["nofile"] == both([32, 32], list(mine), level)
    assert seen["fsize"] == both([4096, 4096], [-1, -1], level)
    assert seen["core"] == both([0, 0], list(resource.getrlimit(resource.RLIMIT_CORE)), level)


def test_limits_hold(small_jail: MakeJail) -> None:
    jail = small_jail("chroot", limits=Limits(open_files=32, file_size=4096))
    assert run(jail, "/bin/probe", "raise-limit").exit_code == errno.EPERM
    result = run(jail, "sh", "-c", "head -c 100000 /bin/busybox > /tmp/big")
    assert result.signal == signal.SIGXFSZ or result.exit_code == 128 + signal.SIGXFSZ
    assert os.path.getsize(f"{jail.rootfs}/tmp/big") == 4096


def test_a_limit_is_never_above_the_caller_s(small_jail: MakeJail) -> None:
    jail = small_jail("chroot", limits=Limits(file_size=1 << 30))

    def enter_limited() -> dict[str, Any]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        return facts(jail)

    assert in_child(enter_limited)["fsize"] == [1 << 20, 1 << 20]
