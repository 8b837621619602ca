"""Scripts, executed: by the real kernel, in processes of this user."""

from __future__ import annotations

import errno
import os
import resource
import signal
import time
from collections.abc import Sequence

import pytest

from jailkit.linux.fork import Failure
from jailkit.linux.script import REPORT, Line, Script
from jailkit.linux.scripted import NULL, Placement, spawn_script

SH = "/bin/sh"


def become(code: str) -> Line:
    return Line("execute", "execve", (SH.encode() + b"\0", (b"sh\0", b"-c\0", code.encode() + b"\0"), ()))


def played(*lines: Line, handed: Sequence[int] = (), title: bytes = b"") -> tuple[Failure | None, int, bytes]:
    """Play a script, and give its failure, its exit code and what it has written."""
    script = Script.of([*lines, Line("end", "close", (-1,))])
    read, write = os.pipe()
    child = spawn_script(script, Placement(b"script", title, handed, (NULL, write, NULL)))
    os.close(write)
    with os.fdopen(read, "rb") as file, os.fdopen(child.failure, "rb") as report:
        output, answer = file.read(), report.read()
    _, status = os.waitpid(child.pid, 0)
    os.close(child.pidfd)
    return script.failure(answer) if answer else None, os.waitstatus_to_exitcode(status), output


CLOSE_REPORT = Line("keep the report", "fcntl", (REPORT, 2, 1))


def test_calls_are_made_in_order_and_the_last_is_another_program() -> None:
    line = Line("change", "chdir", (b"/usr\0",))
    assert played(line, CLOSE_REPORT, become("pwd; exit 7")) == (None, 7, b"/usr\n")


def test_the_one_that_fails_ends_it() -> None:
    failure, code, output = played(Line("look", "chdir", (b"/nothing\0",), thing="/nothing"), become("echo no"))
    assert (failure, code, output) == (Failure("look", errno.ENOENT, "/nothing"), 125, b"")


def test_what_is_tolerated() -> None:
    line = Line("look", "chdir", (b"/nothing\0",), tolerated=(errno.EACCES, errno.ENOENT))
    assert played(line, CLOSE_REPORT, become("echo on"))[2] == b"on\n"
    failure = played(line._replace(tolerated=(errno.EACCES,)), become("echo on"))[0]
    assert failure is not None
    assert failure.number == errno.ENOENT


@pytest.mark.parametrize(("gives", "number"), [((3, 4), None), ((5, 5), errno.ECANCELED), ((0, 2), errno.ECANCELED)])
def test_what_a_call_must_give(gives: tuple[int, int], number: int | None) -> None:
    line = Line("open", "openat", (-100, b"/dev/null\0", os.O_CLOEXEC), gives=gives)
    failure = played(line, CLOSE_REPORT, become("true"))[0]
    assert (failure.number if failure else None) == number


def program(*words: str) -> Line:
    encoded = tuple(word.encode() + b"\0" for word in words)
    return Line("execute", "execve", (encoded[0], encoded, ()))


def test_no_signal_is_blocked_or_ignored() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        output = played(CLOSE_REPORT, program("/bin/grep", "Sig[BI]", "/proc/self/status"))[2].decode()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    found = {key: int(value, 16) for key, value in (line.split(":\t") for line in output.splitlines())}
    assert found["SigBlk"] == 0
    assert found["SigIgn"] & ~(3 << 31) == 0, "but 32 and 33, of libc's own posix_spawn(3)"


def test_descriptors_and_variables_are_those_that_it_was_handed() -> None:
    others = Line("close others", "close_range", (REPORT + 2, 0xFFFFFFFF, 0))
    with open("/dev/zero", "rb") as zero:
        handed = (zero.fileno(),)
        output = played(others, CLOSE_REPORT, program("/bin/ls", "-l", "/proc/self/fd"), handed=handed)[2].decode()
        assert played(others, CLOSE_REPORT, program("/usr/bin/env"), handed=handed)[2] == b""
    links = (line.split()[-3::2] for line in output.splitlines() if "->" in line)
    found = {int(number): target.partition(":")[0] for number, target in links if "/fd" not in target}
    assert found == {0: "/dev/null", 1: "pipe", 2: "/dev/null", REPORT + 1: "/dev/zero"}


def test_its_title_is_seen_and_can_be_passed_on() -> None:
    line = Line("execute", "execve", (SH.encode() + b"\0", (b"sh\0", b"-c\0", b"echo $0\0", None), ()))
    assert played(CLOSE_REPORT, line, title=b"box/main")[2] == b"box/main\n"


def test_one_that_is_killed_says_nothing() -> None:
    failure, code, _ = played(
        Line("stop", "read", (REPORT + 1, bytes(8), 1)), handed=(os.open("/dev/null", os.O_RDONLY),)
    )
    assert (failure, code) == (Failure("end", errno.EBADF), 125)


def test_a_program_that_is_too_long_for_the_caller_s_files_is_not_begun() -> None:
    """Half of it would be executed, and fail somewhere."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
            spawn_script(Script.of([CLOSE_REPORT] * 100), Placement(b"script", b"", ()))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_very_many_words_take_little_time() -> None:
    words = [f"word-{number}" for number in range(50_000)]
    before = time.process_time()
    assert played(CLOSE_REPORT, program("/bin/echo", *words))[2].split() == [word.encode() for word in words]
    assert time.process_time() - before < 2
