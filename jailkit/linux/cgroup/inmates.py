"""The processes in a group: found, frozen, killed."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import signal
from collections.abc import Iterator
from typing import Final

from jailkit.linux.cgroup.files import field, folders, read, write
from jailkit.linux.cgroup.patience import wait
from jailkit.linux.cgroup.spot import Spot

_ROUNDS: Final = 6  # of killing until what is left is made to stand: some 30 ms


def pids(spot: Spot) -> list[int]:
    """Give the processes in a group and below it, as this process's pid namespace numbers them."""
    tracker = spot.tracker
    return list(_pids_below(spot.path(tracker))) if tracker else []


def is_frozen(spot: Spot) -> bool:
    """Tell whether all stand."""
    tracker = spot.tracker
    if tracker is None:
        return False
    if tracker.version == 2:
        return field(read(f"{spot.path(tracker)}/cgroup.events"), "frozen") == 1
    return read(f"{spot.path(tracker)}/freezer.state") == "FROZEN"


def set_frozen(spot: Spot, wanted: bool) -> None:
    """Freeze or thaw, and wait until that is so.

    Raises:
        OSError: EOPNOTSUPP: this user may use no freezer; ETIMEDOUT: a process goes on, or a group above is frozen.
    """
    tracker = spot.tracker
    if tracker is None or (tracker.version == 1 and "freezer" not in tracker.controllers):
        raise OSError(errno.EOPNOTSUPP, "no freezer that this user may use", spot.name)
    if tracker.version == 2:
        file, value = f"{spot.path(tracker)}/cgroup.freeze", str(int(wanted))
    else:
        file, value = f"{spot.path(tracker)}/freezer.state", "FROZEN" if wanted else "THAWED"
    write(file, value)

    def reached() -> bool:
        if is_frozen(spot) == wanted:
            return True
        write(file, value)  # Version 1 looks for processes that still run only when it is told again.
        return False

    wait(reached, f"{spot.name} does not become {'frozen' if wanted else 'thawed'}")


def kill(spot: Spot) -> None:
    """Kill all, and wait until they are gone.

    Raises:
        TimeoutError: some are still there.
    """
    tracker = spot.tracker
    if tracker is None:
        return
    _kill_at_once(spot)
    rounds = itertools.count()

    def gone() -> bool:
        if pids(spot) and not (tracker.version == 2 and _kill_at_once(spot)):
            _kill_each(spot, standing=next(rounds) >= _ROUNDS)
        return not pids(spot)

    wait(gone, f"processes of {spot.name} do not end")


def _pids_below(folder: str) -> Iterator[int]:
    # 0 stands for a process of another pid namespace; and a signal to 0 would hit our own process group.
    yield from (int(pid) for pid in (read(f"{folder}/cgroup.procs") or "").split() if pid != "0")
    for name in folders(folder):
        yield from _pids_below(f"{folder}/{name}")


def _kill_at_once(spot: Spot) -> bool:
    """Kill through version 2, also where it stands beside version 1; False where it cannot (before Linux 5.14)."""
    tree = spot.host.tree
    if tree is None or tree.base is None:
        return False
    try:
        write(f"{spot.path(tree)}/cgroup.kill", "1")
    except FileNotFoundError:
        return False
    return True


def _kill_each(spot: Spot, *, standing: bool) -> None:
    """Kill all that are seen, `standing` still so that none is born unseen meanwhile.

    One that version 1 has frozen dies when it is thawed. Who is killed between the two leaves a frozen group behind,
    so that first it is tried without.
    """
    if standing:
        with contextlib.suppress(OSError):  # Without a freezer it takes some rounds more.
            set_frozen(spot, True)
    for pid in pids(spot):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if standing or is_frozen(spot):
        with contextlib.suppress(OSError):
            set_frozen(spot, False)
