"""Waiting for a child: its end, its output, its time-out, what it used; in one poll(2) loop."""

from __future__ import annotations

import array
import fcntl
import math
import os
import select
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from jailkit.linux.fork import Child, Failure

_CHUNK: Final = 1 << 16
_FIONREAD: Final = 0x541B  # asm-generic/ioctls.h
_LONGEST: Final = 1 << 30  # milliseconds, a C int


class Reader:
    """Collects what comes out of a descriptor, up to `limit` bytes; what comes after is read and dropped."""

    events = select.POLLIN

    def __init__(self, descriptor: int, limit: int) -> None:
        self.descriptor = descriptor
        self.truncated = False
        self._room = limit
        self._chunks: list[bytes] = []

    @property
    def data(self) -> bytes:
        """All that was kept."""
        return b"".join(self._chunks)

    def ready(self) -> bool:
        """Read once; False at end of file."""
        return self._read(_CHUNK) > 0

    def drain(self) -> None:
        """Read what is there now, without waiting for others that may still hold the other end."""
        present = array.array("i", [0])
        fcntl.ioctl(self.descriptor, _FIONREAD, present)
        while present[0] > 0:
            present[0] -= self._read(present[0])

    def _read(self, count: int) -> int:
        chunk = os.read(self.descriptor, count)
        kept = chunk[: self._room]
        self._room -= len(kept)
        self.truncated |= len(kept) < len(chunk)
        if kept:
            self._chunks.append(kept)
        return len(chunk)


class Writer:
    """Feeds bytes into a descriptor as the other end takes them."""

    events = select.POLLOUT

    def __init__(self, descriptor: int, data: bytes) -> None:
        os.set_blocking(descriptor, False)
        self.descriptor = descriptor
        self._left = memoryview(data)

    def ready(self) -> bool:
        """Write once; False when all is written or nobody reads any more."""
        try:
            self._left = self._left[os.write(self.descriptor, self._left[:_CHUNK]) :]
        except BlockingIOError:
            return True
        except BrokenPipeError:
            return False
        return len(self._left) > 0

    def drain(self) -> None:
        """Do nothing: nobody reads any more."""


class Signals:
    """Hands on the numbers of signals that come out of the pipe of signal.set_wakeup_fd."""

    events = select.POLLIN

    def __init__(self, descriptor: int, act: Callable[[int], None]) -> None:
        self.descriptor = descriptor
        self._act = act

    def ready(self) -> bool:
        """Read once; False at end of file."""
        numbers = os.read(self.descriptor, _CHUNK)
        for number in numbers:
            self._act(number)
        return len(numbers) > 0

    def drain(self) -> None:
        """Do nothing: the command has ended."""


class Ended(NamedTuple):
    """How a child ended.

    Attributes:
        status: as wait(2) gives it.
        failure: why it never became the command, if it did not.
        wall_time, cpu_time: seconds.
        peak_memory: bytes (ru_maxrss of getrusage(2)).
    """

    status: int
    failure: Failure | None
    timed_out: bool
    wall_time: float
    cpu_time: float
    peak_memory: int


End = Reader | Writer | Signals


def executed(child: Child) -> bool:
    """Wait until a child has become its program; False when it has failed to. `wait` has the reason then.

    The pipe for its failure is closed by execve(2), and before that only with something in it.
    """
    poll = select.poll()
    poll.register(child.failure, select.POLLIN)
    return all(not events & select.POLLIN for _, events in poll.poll())


def wait(child: Child, ends: Sequence[End], timeout: float | None) -> Ended:
    """Serve the pipe `ends` until the child ends, and close them.

    After `timeout` seconds from the fork, or when an exception such as KeyboardInterrupt comes, the child is
    killed with its group, its session and its descendants.

    Raises:
        ChildProcessError: the child is gone unseen, because this process ignores SIGCHLD.
    """
    failure = Reader(child.failure, _CHUNK)
    attended: dict[int, End] = {end.descriptor: end for end in (failure, *ends)}
    try:
        timed_out = _attend(child, attended, timeout)
        for end in attended.values():
            end.drain()
    except BaseException:
        _kill(child)
        raise
    finally:
        for descriptor in (child.pidfd, *attended):
            os.close(descriptor)
        _, status, usage = os.wait4(child.pid, 0)
    return Ended(
        status,
        child.loads(failure.data) if failure.data else None,
        timed_out,
        time.monotonic() - child.started,
        usage.ru_utime + usage.ru_stime,
        usage.ru_maxrss * 1024,
    )


def _attend(child: Child, attended: dict[int, End], timeout: float | None) -> bool:
    """Serve until the child ends; True when it took the time-out to end it."""
    poll = select.poll()
    poll.register(child.pidfd, select.POLLIN)
    for descriptor, end in attended.items():
        poll.register(descriptor, end.events)
    deadline = math.inf if timeout is None else child.started + timeout
    timed_out = False
    while True:
        ready = [descriptor for descriptor, _ in poll.poll(_milliseconds(deadline))]
        for descriptor in ready:
            if descriptor in attended and not attended[descriptor].ready():
                poll.unregister(descriptor)
                os.close(descriptor)
                del attended[descriptor]
        if child.pidfd in ready:
            return timed_out
        if time.monotonic() >= deadline:
            _kill(child)
            deadline, timed_out = math.inf, True


def _kill(child: Child) -> None:
    from jailkit.linux.process import kill_family  # Not for every command that ends by itself.

    kill_family(child.pid)


def _milliseconds(deadline: float) -> int | None:
    if deadline == math.inf:
        return None
    return max(0, min(_LONGEST, math.ceil((deadline - time.monotonic()) * 1000)))
