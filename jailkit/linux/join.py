"""Joining an instance: its cgroups, and its namespaces once they are made."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from jailkit.linux.enter import Fd, Way
from jailkit.linux.fork import Step
from jailkit.linux.libc import CLONE_NEWPID, PR_SET_DUMPABLE, prctl, setns

if TYPE_CHECKING:
    from jailkit.linux.launch import Launched


TIED: Final = b"t"  # what an init says in a pipe when it ends with its caller
WHOLE: Final = b"w"  # and when the instance is whole, once for each who waits for that


def by_joining(pidfd: int, namespaces: int, tasks: Sequence[int], launched: Launched | None = None) -> Way:
    """Enter the namespaces of the process behind a pidfd, and cgroups by descriptors of their files.

    `launched` tells of that process, where it may still be making them.
    """
    enter = partial(setns, pidfd, CLONE_NEWPID)
    waiting: tuple[Step, ...] = ()
    if launched:
        enter = partial(_enter_tied, launched, enter)
        waiting = (("wait for the jail's namespaces", partial(await_whole, Fd(launched.ready))),)
    return Way(
        (
            # Keep the jail's processes from looking into the caller's memory and descriptors, until execve(2).
            ("be closed to the jail's processes", partial(prctl, PR_SET_DUMPABLE, 0)),
            ("join the jail's cgroup", partial(join_groups, tuple(map(Fd, tasks)))),
            *waiting,
            ("enter the jail's namespaces", partial(setns, Fd(pidfd), namespaces & ~CLONE_NEWPID)),
        ),
        enter,
    )


def _enter_tied(launched: Launched, enter: Callable[[], None]) -> None:
    """Make no child that has the caller's end of pipes, before the init has seen by them that the caller lives."""
    launched.await_tied()
    enter()


def join_groups(tasks: Sequence[int]) -> None:
    """Enter cgroups by descriptors of their files."""
    for descriptor in tasks:
        os.write(descriptor, b"0")


def await_whole(ready: int) -> None:
    """Wait until an instance is made.

    Raises:
        OSError: ECANCELED, it will never be.
    """
    if os.read(ready, 1) != WHOLE:
        raise OSError(errno.ECANCELED, os.strerror(errno.ECANCELED))
