"""What a level without namespaces and without a cgroup knows about a jail: the processes whose root is its tree.

The jail is no more than they are. So it runs while there are some, and to stop it is to end them.
What each call needs is imported in it: `jailkit exec` needs none of it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, NoReturn

from jailkit.backends.base import Status
from jailkit.errors import BackendError, StateError
from jailkit.levels import LADDER
from jailkit.linux.figures import Stats

if TYPE_CHECKING:
    from jailkit.store import Jail

_PATIENCE: Final = 5.0  # seconds that killed processes get to be gone


class Rooted:
    """The verbs of a jail's life for the two plain chroot levels."""

    def create(self, jail: Jail) -> None:
        """Make nothing: there is only the tree."""

    def start(self, jail: Jail) -> None:
        """Bring nothing up: there is only what runs in the tree."""

    def release(self, jail: Jail) -> None:
        """Give nothing back: nothing lies outside the jail's folder."""

    def status(self, jail: Jail) -> Status:
        """Tell whether any process has its root in the tree.

        Raises:
            BackendError: as `processes`.
        """
        return "running" if self.processes(jail) else "stopped"

    def stop(self, jail: Jail, number: int, timeout: float) -> None:
        """Signal the processes in the tree, and kill those that are left after `timeout` seconds.

        Raises:
            StateError: some are there even so.
            BackendError: as `processes`.
        """
        from jailkit.linux.process import signal_rooted_in

        if number != signal.SIGKILL and not _ask(jail, partial(signal_rooted_in, jail.rootfs, number, timeout)):
            return
        if left := self.kill(jail):
            raise StateError(f"cannot stop jail {jail.name}", details=[f"pid {pid} does not end" for pid in left])

    def freeze(self, jail: Jail) -> None:
        """Refuse: SIGSTOP is no freezer, as processes notice it and continue each other.

        Raises:
            StateError: always.
        """
        _refuse(jail, "freeze")

    def unfreeze(self, jail: Jail) -> None:
        """Refuse, as `freeze`.

        Raises:
            StateError: always.
        """
        _refuse(jail, "unfreeze")

    def stats(self, jail: Jail) -> Stats:
        """Sum up what /proc shows of the processes that live in the tree now; what has ended is forgotten.

        Raises:
            BackendError: as `processes`.
        """
        return stats_of(self.processes(jail))

    def processes(self, jail: Jail) -> Sequence[int]:
        """Give the pids of all processes whose root is the jail's tree or lies in it.

        Raises:
            BackendError: /proc is not mounted, or processes come and go so fast that there may be some.
        """
        from jailkit.linux.process import processes_rooted_in

        return _ask(jail, partial(processes_rooted_in, jail.rootfs))

    def kill(self, jail: Jail) -> Sequence[int]:
        """Kill all processes whose root is the jail's tree or lies in it; give the pids of those that are left.

        Raises:
            BackendError: as `processes`.
        """
        from jailkit.linux.process import end_rooted_in

        return _ask(jail, partial(end_rooted_in, jail.rootfs, _PATIENCE))


def stats_of(pids: Sequence[int]) -> Stats:
    """Sum up what /proc shows of these processes."""
    from jailkit.linux.usage import usage_of

    usage = usage_of(pids)
    return Stats(
        cpu_time=usage.cpu_time,
        memory=usage.memory,
        swap=usage.swap,
        pids=usage.tasks,
        read_bytes=usage.read_bytes,
        written_bytes=usage.written_bytes,
    )


def _ask(jail: Jail, question: Callable[[], Sequence[int]]) -> Sequence[int]:
    try:
        return question()
    except BlockingIOError as error:
        raise BackendError(
            f"cannot be sure that nothing runs in jail {jail.name}: {error.strerror}",
            resolution=f"wait, or end what starts processes all the time; jailkit destroy --force {jail.name} tries to",
        ) from error
    except OSError as error:
        if not os.path.isdir(jail.rootfs):
            return []  # Nobody can live in a tree that is gone, or went this moment.
        raise BackendError(f"cannot list the processes in jail {jail.name}: {error}") from error


def _refuse(jail: Jail, verb: str) -> NoReturn:
    better = ", ".join(level.name for level in LADDER if level.mount_namespace)
    raise StateError(
        f"cannot {verb} jail {jail.name}: level {jail.level} has no cgroup to do it with",
        resolution=f"a jail at one of the levels {better}",
    )
