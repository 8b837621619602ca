"""What a caller learns of a command in a jail: every way to end, what it used, and that nothing is left behind."""

from __future__ import annotations

import dataclasses
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.children import in_child
from support.jails import UID, facts, lives_in, run

from jailkit.backends.base import ExecRequest, ExecResult
from jailkit.backends.chroot import ChrootBackend
from jailkit.errors import BackendError, PrivilegeError, StateError, UsageError
from jailkit.linux import spawn
from jailkit.linux.capabilities import capability_mask
from jailkit.linux.libc import capset
from jailkit.linux.process import children, processes_rooted_in
from jailkit.plan.settings import Account
from jailkit.store import Jail

pytestmark = pytest.mark.needs("root", "chroot", "mknod", "busybox", "gcc")

MakeJail = Callable[..., Jail]
WAIT = 30.0


@pytest.fixture
def jail(small_jail: MakeJail) -> Jail:
    return small_jail("chroot")


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path: Path) -> Iterator[None]:
    """No descriptor, no child and no process in the jail outlives a test."""
    before, others = sorted(os.listdir("/proc/self/fd")), set(children())
    yield
    assert sorted(os.listdir("/proc/self/fd")) == before
    assert set(children()) <= others
    rootfs = tmp_path / "home/jails/box/rootfs"
    assert rootfs.is_symlink() or not rootfs.exists() or processes_rooted_in(str(rootfs)) == []


def plant(jail: Jail, name: str, content: bytes | str, mode: int = 0o755) -> str:
    path = Path(jail.rootfs + name)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(mode)
    return name


# Ends


@pytest.mark.parametrize("code", [0, 1, 125, 126, 127, 255])
def test_exit_codes_are_the_command_s(jail: Jail, code: int) -> None:
    result = run(jail, "sh", "-c", f"exit {code}")
    assert (result.reason, result.exit_code, result.signal, result.shell_code) == ("exited", code, None, code)
    assert result.ok == (code == 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV, signal.SIGPIPE])
def test_signals(jail: Jail, number: signal.Signals) -> None:
    result = run(jail, "sh", "-c", f"kill -{int(number)} $$")
    assert (result.reason, result.exit_code, result.signal) == ("signalled", None, number)
    assert result.shell_code == 128 + number


def test_a_writer_whose_reader_went_away_dies_of_it(jail: Jail) -> None:
    result = run(jail, "sh", "-c", "yes | head -n 1; echo done")
    assert (result.stdout, result.stderr) == (b"y\ndone\n", b"")


def test_times_and_memory(jail: Jail) -> None:
    result = run(jail, "sh", "-c", "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done; sleep 0.2")
    assert result.ok
    assert result.wall_time >= 0.2
    assert 0 < result.cpu_time < result.wall_time
    assert 100_000 < result.peak_memory < 1 << 30


def test_as_json(jail: Jail) -> None:
    data = run(jail, "sh", "-c", "printf 'a\\377b'").as_dict()
    assert (data["reason"], data["exit_code"], data["stdout"]) == ("exited", 0, "a\\xffb")


# Never begun


def test_a_name_that_is_not_there(jail: Jail) -> None:
    result = run(jail, "frobnicate")
    assert (result.reason, result.shell_code, result.exit_code) == ("not-found", 127, None)
    assert result.message is not None
    assert "cannot find frobnicate in jail box" in result.message
    assert "add `frobnicate` to `binaries`" in result.message


@pytest.mark.parametrize("path", ["/usr/bin/nothing", "./nothing", "/bin/sh/nothing"])
def test_a_path_that_is_not_there(jail: Jail, path: str) -> None:
    result = run(jail, path)
    assert result.shell_code == 127
    assert result.message is not None
    assert path in result.message
    # No profile takes a relative path.
    assert ("to `binaries`" in result.message) == path.startswith("/")


def test_a_file_without_the_right_to_execute_it(jail: Jail) -> None:
    result = run(jail, plant(jail, "/bin/data", "#!/bin/sh\n", 0o644))
    assert (result.reason, result.shell_code) == ("not-executable", 126)
    assert result.message is not None
    assert "/bin/data" in result.message
    assert "Permission denied" in result.message


def test_a_directory(jail: Jail) -> None:
    assert run(jail, "/home").reason == "not-executable"


def test_the_path_is_searched_past_what_cannot_be_executed(jail: Jail) -> None:
    plant(jail, "/tmp/tool", "", 0o644)
    plant(jail, "/bin/tool", "#!/bin/sh\necho here\n")
    path = (("PATH", "/nowhere:/tmp:/bin"),)
    assert run(jail, "tool", environment=path).stdout == b"here\n"
    os.unlink(f"{jail.rootfs}/bin/tool")
    assert run(jail, "tool", environment=path).reason == "not-executable"


def test_the_path_is_the_jail_s_and_an_empty_part_is_the_working_directory(jail: Jail) -> None:
    plant(jail, "/tmp/tool", "#!/bin/sh\necho here\n")
    assert run(jail, "tool", workdir="/tmp").reason == "not-found"
    assert run(jail, "tool", workdir="/tmp", environment=(("PATH", "/bin:"),)).stdout == b"here\n"


@pytest.mark.parametrize("content", [b"", b"echo hello\n", b"\x7fELF garbage"])
def test_a_file_that_is_no_program(jail: Jail, content: bytes) -> None:
    result = run(jail, plant(jail, "/bin/text", content))
    assert (result.reason, result.shell_code) == ("not-executable", 126)
    assert result.message is not None
    assert "#! line" in result.message


def test_a_script_without_its_interpreter(jail: Jail) -> None:
    result = run(jail, plant(jail, "/bin/script", "#!/usr/bin/perl -w\n"))
    assert (result.reason, result.shell_code) == ("not-executable", 126)
    assert result.message is not None
    assert "the file is there, but its interpreter /usr/bin/perl" in result.message
    assert "add `/usr/bin/perl` to `binaries`" in result.message


def test_a_script_with_a_relative_interpreter(jail: Jail) -> None:
    result = run(jail, plant(jail, "/bin/script", "#!./perl\n"))
    assert result.message is not None
    assert "its interpreter ./perl" in result.message
    assert "binaries" not in result.message


def test_a_program_without_its_loader(jail: Jail, tmp_path: Path) -> None:
    source = tmp_path / "program.c"
    source.write_text("int main(void) { return 0; }\n")
    loader = "-Wl,--dynamic-linker=/lib/no-such-loader.so"
    subprocess.run(["gcc", loader, "-o", f"{jail.rootfs}/bin/program", source], check=True)
    result = run(jail, "program")
    assert (result.reason, result.shell_code) == ("not-executable", 126)
    assert result.message is not None
    assert "its interpreter /lib/no-such-loader.so" in result.message


def test_arguments_that_are_too_long(jail: Jail) -> None:
    result = run(jail, "true", "x" * (1 << 18))
    assert result.reason == "not-executable"
    assert result.message is not None
    assert "Argument list too long" in result.message


def test_a_working_directory_that_is_not_there(jail: Jail) -> None:
    result = run(jail, "true", workdir="/nowhere")
    assert (result.reason, result.shell_code) == ("setup-failed", 125)
    assert result.message is not None
    assert "cannot change to the directory /nowhere: No such file or directory" in result.message
    assert "directories" in result.message


def test_no_such_user(jail: Jail) -> None:
    with pytest.raises(UsageError, match="cannot run as nobody-here in jail box") as caught:
        run(jail, "true", user="nobody-here")
    assert "jail" in str(caught.value.resolution)


@pytest.mark.parametrize(
    "request_",
    [
        {"environment": (("A", "b\0c"),)}, {"environment": (("A\0", ""),)}, {"workdir": "/tmp\0"},
        {"environment": (("", "b"),)}, {"environment": (("A=B", "c"),)},
    ],
)  # fmt: skip
def test_what_the_kernel_cannot_take(jail: Jail, request_: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="cannot run in jail box"):
        run(jail, "true", **request_)
    with pytest.raises(UsageError, match="cannot run in jail box"):
        run(jail, "a\0b")


def test_a_tree_that_is_gone(jail: Jail) -> None:
    shutil.rmtree(jail.rootfs)
    with pytest.raises(StateError, match="cannot enter jail box"):
        run(jail, "true")


def test_a_tree_that_is_a_link(jail: Jail) -> None:
    shutil.rmtree(jail.rootfs)
    os.symlink("/", jail.rootfs)
    with pytest.raises(StateError, match="cannot enter jail box"):
        run(jail, "true")


def test_an_ordinary_user(jail: Jail) -> None:
    def enter() -> str:
        with pytest.raises(PrivilegeError) as caught:
            run(jail, "true")
        return caught.value.brief

    assert "needs root" in in_child(enter, uid=65534)


def test_no_descriptor_to_be_had(jail: Jail) -> None:
    import resource

    def enter() -> str:
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 2,) * 2)
        with pytest.raises(BackendError) as caught:
            run(jail, "true")
        return caught.value.brief

    assert "Too many open files" in in_child(enter)


def test_no_process_to_be_had(jail: Jail) -> None:
    def enter() -> str:
        import resource

        # RLIMIT_NPROC counts the real uid and spares those with either capability (getrlimit(2)).
        os.setresuid(54321, 0, 0)
        effective = re.search(r"CapEff:\t(\w+)", Path("/proc/self/status").read_text())
        assert effective
        keep = int(effective[1], 16) & ~capability_mask(["CAP_SYS_ADMIN", "CAP_SYS_RESOURCE"])
        capset(keep, keep, 0)
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
        with pytest.raises(BackendError) as caught:
            run(jail, "true")
        return caught.value.brief

    assert "cannot start a command in jail box: Resource temporarily unavailable" in in_child(enter)


def test_numbers_that_fit_no_type_of_the_kernel(small_jail: MakeJail) -> None:
    jail = small_jail("chroot", user="big", accounts=(Account("big", 1 << 70, 5, "/", "/bin/sh"),))
    result = run(jail, "true")
    assert (result.reason, result.shell_code) == ("setup-failed", 125)
    assert result.message is not None
    assert f"cannot become user {1 << 70}" in result.message
    assert "Invalid argument" in result.message


# Users, environment


def test_a_user_by_uid(jail: Jail) -> None:
    seen = facts(jail, user="1234")
    assert (seen["uids"], seen["gids"], seen["groups"]) == ([1234] * 3, [1234] * 3, [])
    assert seen["environment"]["HOME"] == "/"
    assert facts(jail, user=str(UID))["environment"]["HOME"] == "/home/jail"


def test_another_user_at_the_careless_level(small_jail: MakeJail) -> None:
    seen = facts(small_jail("chroot-root"), user="jail")
    assert (seen["uids"], seen["gids"], seen["groups"]) == ([UID] * 3, [UID] * 3, [50, 51])


def test_the_jail_s_own_command(small_jail: MakeJail) -> None:
    jail = small_jail("chroot", command=("echo", "mine"))
    assert run(jail).stdout == b"mine\n"
    with pytest.raises(UsageError, match="no command"):
        run(small_jail("chroot", command=()))


# Streams


def test_a_lot_of_input_and_output(jail: Jail) -> None:
    data = os.urandom(3 << 20)
    result = run(jail, "sh", "-c", "cat; echo end >&2", stdin=data)
    assert result.stdout == data
    assert result.stderr == b"end\n"
    assert not result.truncated


def test_input_that_nobody_reads(jail: Jail) -> None:
    assert run(jail, "true", stdin=bytes(1 << 20)).ok


@pytest.mark.parametrize("stdin", [None, b""])
def test_no_input(jail: Jail, stdin: bytes | None) -> None:
    assert run(jail, "cat", stdin=stdin).stdout == b""


def test_output_is_bounded(jail: Jail) -> None:
    result = run(jail, "sh", "-c", "yes | head -c 1000000; echo oops >&2", output_limit=1000)
    assert result.ok
    assert result.truncated
    assert result.stdout == b"y\n" * 500
    assert result.stderr == b"oops\n"


def test_endless_output_ends_at_the_time_out(jail: Jail) -> None:
    result = run(jail, "yes", timeout=0.3, output_limit=100)
    assert (result.reason, result.truncated) == ("timeout", True)


def test_a_background_process_with_the_pipe_is_not_waited_for(jail: Jail) -> None:
    started = time.monotonic()
    result = run(jail, "sh", "-c", "sleep 1000 & echo $!")
    assert time.monotonic() - started < WAIT
    assert result.stdout is not None
    pid = int(result.stdout)
    assert ChrootBackend().processes(jail) == [pid]
    os.kill(pid, signal.SIGKILL)
    wait_until_empty(jail)


def test_streams_pass_through_without_capture(jail: Jail, capfd: pytest.CaptureFixture[str]) -> None:
    result = ChrootBackend().exec(jail, ExecRequest(("sh", "-c", "echo out; echo err >&2")))
    assert (result.stdout, result.stderr) == (None, None)
    assert tuple(capfd.readouterr()) == ("out\n", "err\n")


# Time-outs and what is killed by them


def wait_until_empty(jail: Jail) -> None:
    deadline = time.monotonic() + WAIT
    while ChrootBackend().processes(jail):
        assert time.monotonic() < deadline, "processes are left in the jail"
        time.sleep(0.01)


FAMILIES = {
    "the command": "sleep 1000",
    "deaf to signals": "trap '' TERM INT HUP; sleep 1000 & wait; sleep 1000",
    "a group": "sleep 1000 & sleep 1000 & wait",
    "a session of its own": "setsid sleep 1000 & setsid sh -c 'sleep 1000 & wait' & sleep 1000",
    "stopped": "sleep 1000 & kill -STOP $! $$",
    "forks all the time": "while :; do sleep 0.01 & done",
    "an orphan of the session": "sh -c 'sleep 1000 & exit 0'; sleep 1000",
}


# At chroot-root the command shares the caller's session, so that an orphan there is nobody's.
ENDED = [(level, who) for level in ("chroot", "chroot-root") for who in FAMILIES]
ENDED.remove(("chroot-root", "an orphan of the session"))


@pytest.mark.parametrize(("level", "who"), ENDED)
def test_a_time_out_ends_all_that_was_started(small_jail: MakeJail, level: str, who: str) -> None:
    jail = small_jail(level)
    result = run(jail, "sh", "-c", FAMILIES[who], timeout=0.4)
    assert (result.reason, result.signal, result.shell_code) == ("timeout", signal.SIGKILL, 124)
    wait_until_empty(jail)


def test_a_time_out_that_is_not_reached(jail: Jail) -> None:
    assert run(jail, "true", timeout=WAIT).ok
    assert run(jail, "true", timeout=1e12).ok


def test_an_interrupt_of_the_caller_ends_the_command(jail: Jail) -> None:
    running = ChrootBackend().spawn(jail, ExecRequest(("sh", "-c", "echo; sleep 1000 & wait"), capture=True))
    timer = threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            running.wait()
    finally:
        timer.cancel()  # If the command ended by itself, the signal would end the tests.
    wait_until_empty(jail)


def test_signals_go_to_the_group(jail: Jail) -> None:
    running = ChrootBackend().spawn(jail, ExecRequest(("sh", "-c", "sleep 1000 | sleep 1000"), capture=True))
    deadline = time.monotonic() + WAIT
    while len(ChrootBackend().processes(jail)) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    running.send(signal.SIGTERM)
    assert running.wait().signal == signal.SIGTERM
    wait_until_empty(jail)


def test_a_signal_right_after_the_fork_is_not_lost(jail: Jail) -> None:
    for _ in range(20):
        running = ChrootBackend().spawn(jail, ExecRequest(("sleep", "1000"), capture=True))
        running.send(signal.SIGTERM)
        assert running.wait().signal == signal.SIGTERM


# Callers of every kind


def test_from_a_thread(jail: Jail) -> None:
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(run, jail, "id", "-u").result(WAIT).stdout == f"{UID}\n".encode()


def test_many_at_once(jail: Jail) -> None:
    def echo(number: int) -> ExecResult:
        return run(jail, "sh", "-c", "read word; echo $word", stdin=f"{number}\n".encode(), timeout=WAIT)

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(echo, range(64)))
    assert [result.stdout for result in results] == [f"{number}\n".encode() for number in range(64)]


def test_a_caller_that_ignores_its_children(jail: Jail) -> None:
    def enter() -> str:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        with pytest.raises(BackendError) as caught:
            run(jail, "true")
        return str(caught.value.resolution)

    assert "SIGCHLD" in in_child(enter)


def test_a_handler_of_the_caller_never_runs_in_the_child(jail: Jail, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal may come right after the fork; in the child it does what it does to the command."""
    ran: list[int] = []
    read, write = os.pipe()
    all_steps = spawn._all_steps
    first = ("signal itself", lambda: os.kill(os.getpid(), signal.SIGUSR1))
    monkeypatch.setattr(spawn, "_by_script", lambda *_: None)  # In which no handler is left.
    monkeypatch.setattr(spawn, "_all_steps", lambda *arguments: [first, *all_steps(*arguments)])
    before = signal.signal(signal.SIGUSR1, lambda *_: ran.append(os.write(write, b"x")))
    try:
        assert run(jail, "true").signal == signal.SIGUSR1
    finally:
        signal.signal(signal.SIGUSR1, before)
        os.close(write)
    assert os.read(read, 1) == b""
    os.close(read)
    assert ran == []


def test_a_caller_with_handlers_and_threads_busy(jail: Jail) -> None:
    """A fork while other threads allocate and take locks, under a shower of signals."""
    program = (
        "import logging, signal, sys, threading, time\n"
        "from jailkit.backends.base import ExecRequest\n"
        "from jailkit.backends.chroot import ChrootBackend\n"
        "from jailkit.store import read_jail\n"
        "signal.signal(signal.SIGALRM, lambda *_: None)\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)\n"
        "logging.basicConfig(stream=open('/dev/null', 'w'))\n"
        "def busy():\n"
        "    while not done: logging.warning([{}] * 50)\n"
        "done = False\n"
        "threads = [threading.Thread(target=busy, daemon=True) for _ in range(3)]\n"
        "for thread in threads: thread.start()\n"
        "jail = read_jail(sys.argv[1])\n"
        "for _ in range(100):\n"
        "    assert ChrootBackend().exec(jail, ExecRequest(('true',), capture=True, timeout=60)).ok\n"
        "done = True\n"
        "for thread in threads: thread.join()\n"
        "signal.setitimer(signal.ITIMER_REAL, 0)\n"
    )
    subprocess.run([sys.executable, "-c", program, jail.directory], check=True, timeout=120)


# Who lives in a jail


def test_processes(jail: Jail, small_jail: MakeJail) -> None:
    backend = ChrootBackend()
    assert backend.processes(jail) == []
    assert not lives_in(os.getpid(), jail.rootfs)
    running = backend.spawn(small_jail("chroot-root"), ExecRequest(("sh", "-c", "sleep 1000 & wait"), capture=True))
    deadline = time.monotonic() + WAIT
    while len(found := backend.processes(jail)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert running.child.pid in found
    assert all(lives_in(pid, jail.rootfs) for pid in found)
    for pid in found:
        os.kill(pid, signal.SIGKILL)
    assert running.wait().signal == signal.SIGKILL
    wait_until_empty(jail)
    assert not lives_in(running.child.pid, jail.rootfs)


def test_a_process_below_the_jail_s_root_is_in_it(small_jail: MakeJail) -> None:
    jail = small_jail("chroot-root")
    pid = os.fork()
    if pid == 0:
        os.chroot(f"{jail.rootfs}/home")
        os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(0)
    try:
        os.waitpid(pid, os.WUNTRACED)
        assert ChrootBackend().processes(jail) == [pid]
        assert lives_in(pid, jail.rootfs)
        neighbour = dataclasses.replace(jail, directory=f"{jail.directory}-not")
        assert not lives_in(pid, neighbour.rootfs)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_a_jail_without_a_tree_has_no_processes(jail: Jail) -> None:
    shutil.rmtree(jail.rootfs)
    assert ChrootBackend().processes(jail) == []
    assert not lives_in(os.getpid(), jail.rootfs)


def test_the_handle_can_be_waited_for_elsewhere(jail: Jail) -> None:
    """`pidfd` fits an event loop of the caller's own."""
    running = ChrootBackend().spawn(jail, ExecRequest(("true",), capture=True))
    assert select.select([running.child.pidfd], [], [], WAIT)[0]
    assert running.wait().ok
