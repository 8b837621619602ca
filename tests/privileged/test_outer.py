"""Acting in a user namespace of the caller's own, and what comes back from there."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from jailkit.errors import StateError
from jailkit.linux.between import fork_between
from jailkit.linux.outer import make_inner, make_outer, parent_of, within
from jailkit.linux.userns import IdMap

pytestmark = pytest.mark.needs("root", "user-namespace")


@pytest.fixture
def outer() -> Iterator[int]:
    descriptor = make_outer([], [])
    yield descriptor
    os.close(descriptor)


def test_what_it_gives_and_what_it_tells(outer: int) -> None:
    heard: list[object] = []
    maps = within(outer, lambda tell: (tell("one"), tell(2), Path("/proc/self/uid_map").read_text())[2], heard.append)
    assert (maps.split(), heard) == (["0", "0", "1"], ["one", 2])


def test_what_it_raises(outer: int) -> None:
    def fail(error: Exception) -> None:
        raise error

    with pytest.raises(StateError) as caught:
        within(outer, lambda _: fail(StateError("cannot", details=["why"], resolution="do")))
    assert (caught.value.details, caught.value.resolution) == (("why",), "do")
    with pytest.raises(FileNotFoundError) as missing:
        within(outer, lambda _: os.stat("/no/such"))
    assert missing.value.filename == "/no/such"


def test_one_that_is_killed(outer: int) -> None:
    with pytest.raises(OSError, match="was killed") as caught:
        within(outer, lambda _: os.kill(os.getpid(), signal.SIGKILL))
    assert caught.value.errno == errno.EIO


def test_a_child_born_there_is_our_own(outer: int) -> None:
    def become() -> None:
        own = os.stat("/proc/self/ns/user").st_ino == os.fstat(outer).st_ino
        os._exit(7 if own else 8)

    pid = fork_between(outer, None, become)  # type: ignore[arg-type]
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_a_child_that_cannot_be_born(outer: int) -> None:
    def refuse() -> None:
        raise PermissionError(errno.EPERM, "no")

    with pytest.raises(PermissionError):
        fork_between(outer, refuse, lambda: os._exit(0))
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_a_namespace_below(outer: int) -> None:
    inner = make_inner(outer, [IdMap(5, 0, 1)], [IdMap(6, 0, 1)])
    maps = within(inner, lambda _: (os.getuid(), os.getgid()))
    assert maps == (5, 6)
    pid = fork_between(inner, None, lambda: signal.pause())  # type: ignore[arg-type]
    try:
        above = parent_of(pid)
        assert os.fstat(above).st_ino == os.fstat(outer).st_ino
        os.close(above)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(inner)


def test_a_range_that_is_not_there(outer: int) -> None:
    with pytest.raises(PermissionError):
        make_inner(outer, [IdMap(0, 100000, 65536)], [IdMap(0, 100000, 65536)])
