"""Starting the program that a script is."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, NoReturn

from jailkit.linux.between import fork_between
from jailkit.linux.fork import Child, children_in, open_pidfd, pipe
from jailkit.linux.libc import ALL_SIGNALS, NO_SIGNALS, default_signal, set_signal_mask
from jailkit.linux.memory_file import executable_file
from jailkit.linux.script import REPORT, Script

NULL: Final = -1
_SIGNALS: Final = signal.valid_signals()


class Placement(NamedTuple):
    """Where a script is to run, and with what.

    Attributes:
        name, title: arguments of the program; what it becomes may have the title too.
        handed: descriptors that it gets, from REPORT + 1 on.
        streams: what become its standard streams; None passes the caller's on, and -1 stands for /dev/null.
        pid_namespace: moves this thread's future children into another pid namespace; None leaves them in this one.
        outer: a user namespace in which the program starts, and whose rights `pid_namespace` needs.
    """

    name: bytes
    title: bytes
    handed: Sequence[int]
    streams: tuple[int | None, ...] = (NULL, NULL, NULL)
    pid_namespace: Callable[[], None] | None = None
    outer: int | None = None


def spawn_script(script: Script, placement: Placement) -> Child:
    """Start a script in a session of its own, with no signal blocked and all of them at their defaults.

    What comes out of the Child's `failure` is for `Script.failure`.

    Raises:
        ChildProcessError: the child is gone unseen, because this process ignores SIGCHLD.
        OSError: no process or no descriptor is to be had.
    """
    started = time.monotonic()
    read, write = pipe()
    try:
        targets = [REPORT, *range(REPORT + 1, REPORT + 1 + len(placement.handed))]
        sources = [write, *placement.handed]
        for number, stream in enumerate(placement.streams):
            if stream is not None and stream != NULL:
                targets.append(number)
                sources.append(stream)
        with (
            _in_memory(script.titled(placement.title)) as file,
            _copies((file, *sources), REPORT + 1 + len(placement.handed)) as (program, *copies),
        ):
            moves = tuple(zip(copies, targets, strict=True))
            pid = _start(f"/proc/self/fd/{program}", moves, placement)
        return Child(pid, open_pidfd(pid), read, started, own_session=True)
    except BaseException:
        os.close(read)
        raise
    finally:
        os.close(write)


@contextlib.contextmanager
def _in_memory(program: bytes) -> Iterator[int]:
    descriptor = executable_file("jailkit-script", program)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _copies(descriptors: Sequence[int], lowest: int) -> Iterator[list[int]]:
    """Give copies of descriptors, close-on-exec, none below `lowest`: no dup2(2) to a lower number replaces them."""
    copies: list[int] = []
    try:
        for descriptor in descriptors:
            copies.append(fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, lowest))
        yield copies
    finally:
        for copy in copies:
            os.close(copy)


def _start(path: str, moves: Sequence[tuple[int, int]], placement: Placement) -> int:
    argv = (placement.name, placement.title)
    nulls = [number for number, stream in enumerate(placement.streams) if stream == NULL]
    if placement.outer is None:
        actions: list[Any] = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in nulls]
        actions += [(os.POSIX_SPAWN_DUP2, source, target) for source, target in moves]
        with children_in(placement.pid_namespace):
            return os.posix_spawn(path, argv, {}, file_actions=actions, setsid=True, setsigmask=(), setsigdef=_SIGNALS)
    mask = set_signal_mask(ALL_SIGNALS)
    try:
        return fork_between(placement.outer, placement.pid_namespace, partial(_become, path, argv, nulls, moves))
    finally:
        set_signal_mask(mask)


def _become(path: str, argv: tuple[bytes, ...], nulls: Sequence[int], moves: Sequence[tuple[int, int]]) -> NoReturn:
    """Do in a forked child what posix_spawn(3) would."""
    try:
        os.setsid()
        for number in nulls:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
        for source, target in moves:
            os.dup2(source, target)
        for number in _SIGNALS:
            default_signal(number)
        set_signal_mask(NO_SIGNALS)
        os.execve(path, argv, {})
    finally:
        os._exit(125)
