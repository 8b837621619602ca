"""Processes as /proc shows them: who descends from whom, who lives below which root, and ending a family."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from jailkit.linux.libc import PR_SET_CHILD_SUBREAPER, prctl

_ROUNDS: Final = 200


class Process(NamedTuple):
    """One line of proc_pid_stat(5). `start` (clock ticks since boot) tells a reused pid from the old one."""

    pid: int
    state: str
    parent: int
    group: int
    session: int
    start: int


def processes() -> Iterator[Process]:
    """Give every process that is neither gone nor a zombie."""
    for name in os.listdir("/proc"):
        if name.isdecimal():
            process = read_process(int(name))
            if process and process.state not in "ZX":
                yield process


def read_process(pid: int) -> Process | None:
    """Read one process; None when there is no such one."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            line = file.read()
    except OSError:
        return None
    # The name stands in parentheses and may hold anything, a closing parenthesis too.
    fields = line[line.rindex(b")") + 2 :].split()
    return Process(pid, fields[0].decode(), int(fields[1]), int(fields[2]), int(fields[3]), int(fields[19]))


def family(leader: int) -> set[Process]:
    """Give the living among `leader`, its process group, its session, and all that descend from one of them."""
    table = list(processes())
    members = {p for p in table if leader in (p.pid, p.group, p.session)}
    return members | _descendants({leader} | {p.pid for p in members}, table)


def _descendants(pids: set[int], table: Iterable[Process]) -> set[Process]:
    members: set[Process] = set()
    while fresh := {p for p in table if p.parent in pids and p.pid not in pids}:
        members |= fresh
        pids = pids | {p.pid for p in fresh}
    return members


def kill_family(leader: int) -> None:
    """Kill `leader`, a child that was not waited for yet, with its group, its session and its descendants.

    All are stopped before the first is killed: a process whose parent dies is adopted by another, so that
    one which forks or starts a session of its own meanwhile would be lost from sight.
    """
    _kill_all(lambda: family(leader))
    with contextlib.suppress(ProcessLookupError):
        os.kill(leader, signal.SIGKILL)


def adopt_orphans(wanted: bool) -> None:
    """Become, or be no longer, the parent of descendants whose own parent ends (PR_SET_CHILD_SUBREAPER(2const))."""
    prctl(PR_SET_CHILD_SUBREAPER, wanted)


def kill_descendants() -> None:
    """Kill all that descends from this process, daemons that it adopted included, in the manner of `kill_family`."""
    _kill_all(lambda: _descendants({os.getpid()}, list(processes())))


def _kill_all(members: Callable[[], set[Process]]) -> None:
    stopped: dict[tuple[int, int], Process] = {}
    with contextlib.suppress(FileNotFoundError):  # No /proc here: the leader is killed all the same.
        for _ in range(_ROUNDS):
            present = {(process.pid, process.start): process for process in members()}
            fresh = present.keys() - stopped.keys()
            if not fresh:
                break
            for key in fresh:
                _send(present[key], signal.SIGSTOP)
                stopped[key] = present[key]
    for process in stopped.values():
        _send(process, signal.SIGKILL)


def _send(process: Process, number: signal.Signals) -> None:
    """Signal exactly this process, never another that got its pid meanwhile."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except OSError:
        return
    try:
        now = read_process(process.pid)
        if now and now.start == process.start:
            signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        pass  # It ended by itself.
    finally:
        os.close(descriptor)


def processes_rooted_in(path: str) -> list[int]:
    """Give the pids of the processes whose root directory is `path` or lies below it, sorted.

    Two scans must agree, because a process that forks and exits during one can hide its child from it.

    Raises:
        FileNotFoundError: there is no such directory, or no /proc.
    """
    real = os.path.realpath(path)
    seen = _scan_roots(real)
    for _ in range(_ROUNDS):
        again = _scan_roots(real)
        if again == seen:
            break
        seen = again
    return sorted(seen)


def lives_in(pid: int, path: str) -> bool:
    """Tell whether the root directory of a process is `path` or lies below it."""
    try:
        return _is_rooted(pid, os.path.realpath(path), os.stat(path))
    except FileNotFoundError:
        return False


def _scan_roots(path: str) -> set[int]:
    root = os.stat(path)
    pids = (int(name) for name in os.listdir("/proc") if name.isdecimal())
    return {pid for pid in pids if _is_rooted(pid, path, root)}


def _is_rooted(pid: int, path: str, root: os.stat_result) -> bool:
    link = f"/proc/{pid}/root"
    try:
        # Device and inode hold even where another mount namespace gives the tree another path.
        return os.path.samestat(os.stat(link), root) or os.readlink(link).startswith(f"{path}/")
    except OSError:
        return False  # It is gone, a zombie or a kernel thread.
