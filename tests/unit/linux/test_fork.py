"""Encoding a command, the record of a failure, and closing descriptors."""

from __future__ import annotations

import errno
import os
import resource

import pytest
from support.children import in_child

from jailkit.linux.fork import Birth, Failure, Program, above_streams, close_others, encode, fork, pipe, refuse_nul

PATH = (("PATH", "/bin:/usr/bin"),)


@pytest.mark.parametrize(
    ("word", "variables", "paths"),
    [
        ("ls", PATH, (b"/bin/ls", b"/usr/bin/ls")),
        ("ls", (), (b"/usr/bin/ls", b"/bin/ls")),
        ("ls", (("PATH", ""),), (b"./ls",)),
        ("ls", (("PATH", ":/x:"),), (b"./ls", b"/x/ls", b"./ls")),
        ("./ls", PATH, (b"./ls",)),
        ("/bin/ls", PATH, (b"/bin/ls",)),
        ("ls\udcff", PATH, (b"/bin/ls\xff", b"/usr/bin/ls\xff")),
        ("", PATH, ()),
    ],
)
def test_where_a_command_may_be(word: str, variables: tuple[tuple[str, str], ...], paths: tuple[bytes, ...]) -> None:
    assert encode([word, "-l"], variables).paths == paths


def test_what_is_encoded() -> None:
    program = encode(["/bin/sh", "ü", "\udcfe", ""], [("A", "ä=b"), ("A", "2"), ("B", "")])
    assert program == Program((b"/bin/sh",), (b"/bin/sh", "ü".encode(), b"\xfe", b""), {b"A": b"2", b"B": b""})


@pytest.mark.parametrize(
    ("argv", "variables", "why"),
    [
        (["a\0b"], (), "a NUL byte in 'a"),
        (["a", "x\0"], (), "a NUL byte in 'x"),
        (["a"], [("N", "\0")], "a NUL byte"),
        (["a"], [("N\0", "")], "a NUL byte"),
        (["a"], [("", "x")], "'' cannot be the name of a variable"),
        (["a"], [("A=B", "x")], "'A=B' cannot be the name of a variable"),
    ],
)
def test_what_the_kernel_has_no_way_to_take(argv: list[str], variables: list[tuple[str, str]], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        encode(argv, variables)


def test_a_nul_byte_anywhere() -> None:
    refuse_nul("")
    with pytest.raises(ValueError, match="NUL"):
        refuse_nul("/srv\0/etc")


@pytest.mark.parametrize(
    "failure",
    [
        Failure("enter the jail's tree", errno.ENOENT),
        Failure("set a resource limit", errno.EPERM, "/a path\nof two lines"),
        Failure("execute the command", errno.ENOEXEC, "/bin/\udcff", b"\x7fELF\0\0\0#!\n"),
        Failure("start a session (some \udce4)", 0, "", b"\0" * 4096),
    ],
)
def test_a_record_comes_out_as_it_went_in(failure: Failure) -> None:
    assert Failure.loads(failure.dumps()) == failure
    assert failure.executing == failure.step.startswith("execute")


def test_a_record_fits_into_a_pipe() -> None:
    """Its writer would wait for ever for a reader that waits for the end of the command."""
    largest = Failure("s" * 100_000, 2**31 - 1, "/" + "ü" * 100_000, b"\0" * 4096).dumps()
    assert len(largest) < 16 * 4096
    assert Failure.loads(largest).thing == "/" + "ü" * 2047 + "\udcc3"


@pytest.mark.parametrize(
    ("kept", "left"),
    [
        ((), []),
        ((10,), [10]),
        ((12, 10, 11), [10, 11, 12]),
        ((3, 4), [3, 4]),
        ((3, 200), [3, 200]),
        ((10, 10), [10]),
    ],
)
def test_closing_all_but(kept: tuple[int, ...], left: list[int]) -> None:
    def outer() -> list[int]:
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            write = os.dup2(write, 901)
            found = job_keeping(write)
            os.write(write, " ".join(map(str, found)).encode())
            os._exit(0)
        os.waitpid(child, 0)
        return [int(word) for word in os.read(read, 65536).split()]

    def job_keeping(write: int) -> list[int]:
        null = os.open(os.devnull, os.O_RDWR)
        for number in range(3, 300):
            os.dup2(null, number)
        close_others(*kept, write)
        return [number for number in range(3, 1000) if _is_open(number)]

    assert in_child(outer) == [*left, 901]


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def test_descriptors_are_out_of_the_way_of_the_streams() -> None:
    def job() -> list[int]:
        os.close(0)
        os.close(2)
        ends = pipe()
        return [*ends, above_streams(os.dup(1)), *(int(os.get_inheritable(end)) for end in ends)]

    numbers = in_child(job)
    assert min(numbers[:3]) >= 3
    assert numbers[3:] == [0, 0]


def test_a_failed_fork_leaves_no_descriptor() -> None:
    def job() -> tuple[int, int]:
        before = len(os.listdir("/proc/self/fd"))
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        room = os.dup(0)
        os.close(room)
        resource.setrlimit(resource.RLIMIT_NOFILE, (room + 1, hard))
        with pytest.raises(OSError, match="Too many open files"):
            fork(Birth(Program((), (b"x",), {}), lambda _: [], care=True, own_session=False))
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
        return before, len(os.listdir("/proc/self/fd"))

    before, after = in_child(job)
    assert before == after


def test_a_child_that_cannot_be_what_it_should() -> None:
    def refuse() -> None:
        raise PermissionError(errno.EPERM, "not this time", "/thing")

    child = fork(Birth(Program((b"/bin/true",), (b"true",), {}), lambda _: [("do it", refuse)], True, False))
    with open(child.failure, "rb") as file:
        failure = Failure.loads(file.read())
    os.close(child.pidfd)
    assert os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1]) == 125
    assert failure == Failure("do it", errno.EPERM, "/thing")


def test_a_step_that_is_a_bug_is_told_too() -> None:
    child = fork(Birth(Program((b"/bin/true",), (b"true",), {}), lambda _: [("do it", lambda: 1 // 0)], True, False))
    with open(child.failure, "rb") as file:
        failure = Failure.loads(file.read())
    os.close(child.pidfd)
    os.waitpid(child.pid, 0)
    assert failure == Failure("do it (integer division or modulo by zero)", errno.EINVAL)
