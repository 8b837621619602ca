"""Taking away the cgroups that LXC made: it makes them in every hierarchy there is, in named ones too.

And ending what is in them. A container's child is tied to its monitor by PR_SET_PDEATHSIG, which the kernel forgets
when the child changes its ids (prctl(2)). LXC sets it again, but a monitor killed in between leaves a child that waits
for ever.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from typing import Final

from jailkit.linux.cgroup.files import folders
from jailkit.linux.cgroup.keeping import removing_parents
from jailkit.linux.mountinfo import cgroup_mounts

_PAUSE: Final = 0.001  # seconds


def remove_groups(names: tuple[str, ...], patience: float = 2.0) -> list[str]:
    """Take away groups in which nothing is, in all hierarchies; give the paths of those that stay.

    A group above them is never touched, because it holds limits. One that is gone already is no matter, and one
    that is busy is tried for so many seconds: it is until the last process in it has been reaped.

    Raises:
        OSError: /proc is not mounted, or this process may not.
    """
    _check(names)
    left = [f"{point}/{name}" for point in cgroup_mounts() for name in names]
    deadline = time.monotonic() + patience
    while (left := [path for path in left if not _remove(path)]) and time.monotonic() < deadline:
        time.sleep(_PAUSE)
    return left


def end_groups(names: tuple[str, ...], patience: float = 5.0) -> list[str]:
    """Kill every process in these groups, then take them away; give the paths of those that stay.

    Raises:
        OSError: as `remove_groups`.
    """
    _check(names)
    deadline = time.monotonic() + patience
    points = cgroup_mounts()
    while True:
        found = {pid for point in points for name in names for pid in _processes(f"{point}/{name}")}
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        left = remove_groups(names, _PAUSE)
        if not left or time.monotonic() > deadline:
            return left


def _check(names: tuple[str, ...]) -> None:
    """Refuse what would be the root of a hierarchy, in which all the host lives."""
    if not all(name.strip("/") for name in names):
        raise OSError(errno.EINVAL, "not a name for a group of ours")


def _processes(path: str) -> list[int]:
    """Give the pids in a group; 0 stands for one of another PID namespace, and is left out."""
    try:
        with open(f"{path}/cgroup.procs", encoding="ascii") as file:
            return [int(line) for line in file if int(line)]
    except OSError:  # There is none, or ENODEV: it went while it was read.
        return []


def _remove(path: str) -> bool:
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno in (errno.EBUSY, errno.ENOTEMPTY):
            return False
        raise
    return True


def remove_empty(parents: tuple[str, ...], patience: float) -> None:
    """Remove the empty groups below these, in all hierarchies, and these; nothing while others make some.

    So many seconds they get for that. What stays then is removed by whoever comes next.

    Raises:
        OSError: /proc is not mounted.
    """
    with removing_parents(patience) as free:
        for point in cgroup_mounts() if free else ():
            for parent in parents:
                path = f"{point}/{parent}"
                for name in folders(path):
                    _remove(f"{path}/{name}")
                _remove(path)
