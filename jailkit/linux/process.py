"""Processes as /proc shows them: who descends from whom, who lives below which root, and ending a family."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from jailkit.linux.libc import PR_SET_CHILD_SUBREAPER, prctl

_PATIENCE: Final = 3.0  # seconds in which processes that keep forking are looked for
_PAUSE: Final = 0.001  # seconds that killed processes get before the next look
_GLANCE: Final = 0.01  # seconds between looks at processes that were asked to end


class Process(NamedTuple):
    """One line of proc_pid_stat(5). `start` (clock ticks since boot) tells a reused pid from the old one.

    `state` is that of the main thread, and `threads` the number of those that have not ended.
    """

    pid: int
    state: str
    parent: int
    group: int
    session: int
    threads: int
    start: int

    @property
    def alive(self) -> bool:
        """False for a zombie; a process whose main thread alone has ended looks like one and is none."""
        return self.state not in "ZX" or self.threads > 1


def processes() -> Iterator[Process]:
    """Give every process that is neither gone nor a zombie."""
    for name in os.listdir("/proc"):
        if name.isdecimal():
            process = read_process(int(name))
            if process and process.alive:
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
    parent, group, session, threads, start = (int(fields[place]) for place in (1, 2, 3, 17, 19))
    return Process(pid, fields[0].decode(), parent, group, session, threads, start)


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


def kill_descendants(spared: Iterable[int]) -> bool:
    """Kill all that descends from this process, daemons that it adopted included; True when none is left.

    For a process that adopts orphans, and whose children are all for this but the `spared` ones and theirs: this waits
    for them. No scan of /proc can keep up with a process that forks and ends all the time, but whoever is left alone
    becomes a child of this one.
    """
    others = set(spared)
    _kill_all(lambda: _descendants({os.getpid()}, [p for p in processes() if p.pid not in others]))
    deadline = time.monotonic() + _PATIENCE
    with contextlib.suppress(FileNotFoundError):  # No /proc here.
        while left := set(children()) - others:
            if time.monotonic() > deadline:
                return False
            for pid in left:
                os.kill(pid, signal.SIGKILL)  # It was not waited for yet, so that nobody else can have its pid.
            _reap(others)
        return True
    return False


def _reap(known: set[int]) -> None:
    """Wait for all children that have ended, and forget the pids of the known ones among them: others may get them."""
    with contextlib.suppress(ChildProcessError):
        while pid := os.waitpid(-1, os.WNOHANG)[0]:
            known.discard(pid)


def children() -> list[int]:
    """Give the children of the main thread, which orphans go to.

    What a shell started before it became this program, such as a process substitution, is among them.

    Raises:
        FileNotFoundError: there is no /proc.
    """
    own = os.getpid()
    try:
        with open(f"/proc/self/task/{own}/children", "rb", buffering=0) as file:
            return [int(word) for word in file.read().split()]
    except FileNotFoundError:  # The kernel may lack CONFIG_PROC_CHILDREN.
        return [process.pid for process in processes() if process.parent == own]


def _kill_all(members: Callable[[], set[Process]]) -> None:
    stopped: dict[tuple[int, int], Process] = {}
    deadline = time.monotonic() + _PATIENCE
    with contextlib.suppress(FileNotFoundError):  # No /proc here: the leader is killed all the same.
        while time.monotonic() < deadline:
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

    def same() -> bool:
        now = read_process(process.pid)
        return now is not None and now.start == process.start

    _signal_if(process.pid, number, same)


def _signal_if(pid: int, number: int, condition: Callable[[], bool]) -> None:
    """Signal a process of which `condition` is true. Its pidfd is opened first, so that no reused pid is ever hit."""
    with contextlib.suppress(ProcessLookupError):  # It ended by itself.
        descriptor = os.pidfd_open(pid)
        try:
            if condition():
                signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)


def processes_rooted_in(path: str) -> list[int]:
    """Give the pids of the processes whose root directory is `path` or lies below it, sorted.

    Raises:
        BlockingIOError: none was found, but processes come and go so fast that there may be some.
        FileNotFoundError: there is no such directory, or no /proc.
    """
    census = _Census(path)
    deadline = time.monotonic() + _PATIENCE
    previous: set[int] | None = None
    while True:
        found = set(census.count())
        if census.sure and found == previous:
            return sorted(found)
        if time.monotonic() > deadline:
            return _some_of(found)
        # A second time, because one count may straddle the moment at which pids begin anew from below.
        if census.sure or found:
            previous = found if census.sure else None


def end_rooted_in(path: str, patience: float) -> list[int]:
    """Kill the processes whose root directory is `path` or lies below it, and wait until they are gone.

    All that are seen are stopped before the first is killed, so that none replaces another. Gives the pids that are
    still there after `patience` seconds, sorted.

    Raises:
        BlockingIOError, FileNotFoundError: as `processes_rooted_in`.
    """
    census = _Census(path)
    deadline = time.monotonic() + patience
    stopped: set[int] = set()
    quiet = 0
    while quiet < 2:  # As in `processes_rooted_in`.
        found = set()
        for pid in census.count():
            found.add(pid)
            if pid not in stopped:
                census.signal(pid, signal.SIGSTOP)
        late = time.monotonic() > deadline
        if found and (late or found <= stopped):
            for pid in found:
                census.signal(pid, signal.SIGKILL)
            time.sleep(_PAUSE)
        if late:
            return _some_of(found)
        stopped |= found
        quiet = 0 if found else quiet + census.sure
    return []


def signal_rooted_in(path: str, number: int, patience: float) -> list[int]:
    """Signal the processes whose root directory is `path` or lies below it, each once, and wait until they are gone.

    Those that they start meanwhile are signalled too. Gives the pids of those that are there after `patience` seconds,
    sorted.

    Raises:
        BlockingIOError, FileNotFoundError: as `processes_rooted_in`.
    """
    census = _Census(path)
    deadline = time.monotonic() + patience
    told: set[int] = set()
    quiet = 0
    while quiet < 2:  # As in `processes_rooted_in`.
        found = set(census.count())
        for pid in found - told:
            census.signal(pid, number)
        if time.monotonic() > deadline:
            return _some_of(found)
        if found:
            time.sleep(_GLANCE)
        told = found  # A pid that is gone may be another process's next time.
        quiet = 0 if found else quiet + census.sure
    return []


def _some_of(pids: set[int]) -> list[int]:
    if not pids:
        raise BlockingIOError(errno.EAGAIN, "processes come and go too fast to be looked at")
    return sorted(pids)


class _Census:
    """Counts of the processes whose root is a directory or lies below it.

    /proc is listed in parts and looked at afterwards. A process that ended in between may have left a child that is in
    no list, so that only a count during which none ended is `sure`. What was once seen outside, or is a zombie, is
    passed over while it stays listed: so every count but the first is so short that a busy host has pauses enough.
    """

    def __init__(self, path: str) -> None:
        self._path = os.path.realpath(path)
        self._root = os.stat(path)
        self._passed: set[tuple[int, int]] = set()
        self.sure = False

    def count(self) -> Iterator[int]:
        """Give the pids as they are found; `sure` is right at the end.

        Raises:
            FileNotFoundError: /proc does not show even this process.
        """
        self.sure = True
        listed = set()
        with os.scandir("/proc") as entries:
            for entry in entries:
                if entry.name.isdecimal():
                    # Together with the inode a pid is unique: another process that gets it later has another inode.
                    key = (int(entry.name), entry.inode())
                    listed.add(key)
                    if key not in self._passed and self._look(key):
                        yield key[0]
        if os.getpid() not in (pid for pid, _ in listed):
            raise FileNotFoundError(errno.ENOENT, "it shows no processes", "/proc")
        self._passed &= listed

    def _look(self, key: tuple[int, int]) -> bool:
        try:
            if _is_rooted(key[0], self._path, self._root):
                return True
            self._passed.add(key)
        except ProcessLookupError:
            self.sure = False
            process = read_process(key[0])
            # With one thread left it is a zombie, or about to be one and to stay that for long: the first process of
            # a pid namespace waits until others have waited for all in there (pid_namespaces(7)).
            if process and process.threads <= 1:
                self._passed.add(key)
        return False

    def signal(self, pid: int, number: int) -> None:
        """Signal a process that was counted, if it still belongs to the tree."""
        _signal_if(pid, number, lambda: _is_rooted(pid, self._path, self._root))


def _is_rooted(pid: int, path: str, root: os.stat_result) -> bool:
    """Tell where a process has its root.

    Raises:
        ProcessLookupError: it has ended.
    """
    with contextlib.suppress(FileNotFoundError):
        return _leads_into(f"/proc/{pid}/root", path, root)
    # A main thread that has ended has no root any more, but the others go on (pthread_exit(3)).
    for thread in _threads(pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            return _leads_into(f"/proc/{pid}/task/{thread}/root", path, root)
    raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH), str(pid))


def _threads(pid: int) -> list[str]:
    try:
        return os.listdir(f"/proc/{pid}/task")
    except FileNotFoundError:
        return []


def _leads_into(link: str, path: str, root: os.stat_result) -> bool:
    try:
        # Device and inode hold even where another mount namespace gives the tree another path.
        return os.path.samestat(os.stat(link), root) or os.readlink(link).startswith(f"{path}/")
    except (FileNotFoundError, ProcessLookupError):
        raise
    except OSError:
        return False  # Another user's, which only root may look at.
