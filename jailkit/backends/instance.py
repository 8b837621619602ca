"""Living instances of a jail, asked of the kernel: found by their cgroups, entered, stopped, frozen, measured.

A jail's group holds its limits. Below it each instance has a group of its own: `main` is what `start` made, and
`run-PID-NUMBER` belongs to one command of the process PID.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import signal
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from jailkit.backends.census import Init, end, inhabitants, inits, is_init, numbers_of
from jailkit.backends.lxc.groups import end_groups, remove_empty
from jailkit.backends.reasons import Marks
from jailkit.backends.view import key_of
from jailkit.errors import BackendError
from jailkit.linux.cgroup import Cgroups, Group, LimitsRefusedError, Mismatch, Setting, read_cgroups, settings
from jailkit.linux.cgroup.files import folders
from jailkit.linux.outer import parent_of
from jailkit.store.privilege import superuser

if TYPE_CHECKING:
    from jailkit.linux.cgroup import Demand
    from jailkit.plan.settings import Limits
    from jailkit.store import Jail

MAIN: Final = "main"
MOMENT: Final = 0.1  # seconds from an init's last breath, in which nothing can join it any more, to its end
MONITORS: Final = "jailkit-monitor"  # the parent of LXC's own processes, which no limit of a jail counts
_PAUSE: Final = 0.005  # seconds between two looks at processes that were asked to end
_ENTRANTS: Final = 3  # times that who takes an instance down kills what has joined it meanwhile
_numbers = itertools.count()


def group_of(jail: Jail, host: Cgroups | None = None) -> Group:
    """Give the cgroup of a jail, whose name is like no other's: jails in two homes may have one name."""
    return Group(host or read_cgroups(), f"{jail.name}-{zlib.crc32(os.fsencode(jail.directory)):08x}")


def transient_name() -> str:
    """Give a name for the instance of one command."""
    return f"run-{os.getpid()}-{next(_numbers)}"


def make_leaf(jail: Jail, leaf: Group, demand: Demand) -> None:
    """Make the group of an instance, below that of the jail, whose limits are read back.

    Raises:
        BackendError: a limit does not hold, or no group can be made.
    """
    wanted = _settings(jail, demand, leaf.host)
    if leaf.host.usable:
        with _refusals(jail):
            leaf.whole.make_leaf(leaf.name.partition("/")[2], wanted)


def make_group(jail: Jail, group: Group, demand: Demand) -> None:
    """Make the jail's own group, for whoever makes that of the instance by other means; limits are read back.

    Raises:
        BackendError: as `make_leaf`.
    """
    wanted = _settings(jail, demand, group.host)
    with _refusals(jail):
        group.make(wanted)


def read_back(jail: Jail, group: Group, demand: Demand) -> list[str]:
    """Name the limits that the jail's group does not show."""
    return _told(group.read_back(_settings(jail, demand, group.host)))


def _settings(jail: Jail, demand: Demand, host: Cgroups) -> list[Setting]:
    wanted, missing = settings(demand, host)
    if missing:
        raise not_held(jail, [f"{key_of(limit.limit)}: {limit.why}" for limit in missing])
    return wanted


@contextlib.contextmanager
def _refusals(jail: Jail) -> Iterator[None]:
    try:
        yield
    except LimitsRefusedError as error:
        raise not_held(jail, _told(error.mismatches)) from error
    except OSError as error:
        raise BackendError(
            f"cannot make a cgroup for jail {jail.name}: {error.strerror}", details=[str(error.filename or "")]
        ) from error


def _told(mismatches: Iterable[Mismatch]) -> list[str]:
    return [f"{key_of(mismatch.setting.limit)}: {mismatch.why}" for mismatch in mismatches]


def not_held(jail: Jail, details: Sequence[str]) -> BackendError:
    """Give the error for limits that the kernel does not show."""
    return BackendError(
        f"cannot run in jail {jail.name}: the kernel does not hold its limits, so nothing was started",
        details=list(details),
        resolution="change the limits, or list their keys under `accept-gaps` in the profile, then " + jail.renewal,
    )


@contextlib.contextmanager
def ways_into(leaf: Group) -> Iterator[tuple[int, ...]]:
    """Open the files through which a child enters a group by writing b"0" to each; none where there is no tree."""
    files = tuple(leaf.open_procs()) if leaf.host.usable else ()
    try:
        yield files
    finally:
        for file in files:
            os.close(file)


def find_init(leaf: Group, ids: tuple[int, int] | None = None) -> Init | None:
    """Give the init of the instance in a group; where groups do not tell, of that name and with these ids."""
    if _told_by_groups(leaf):
        return _init_in(leaf)
    return next((init for _, init in inits(leaf.name, ids)), None)


def _init_in(leaf: Group) -> Init | None:
    pids = leaf.pids()
    depth = len(numbers_of("self")) if pids else 0
    for pid in pids:
        with contextlib.suppress(OSError):  # It has just ended.
            pidfd = os.pidfd_open(pid)
            if is_init(str(pid), depth):
                return Init(pid, pidfd)
            os.close(pidfd)
    return None


def _told_by_groups(group: Group) -> bool:
    """Tell whether cgroups say who is in an instance. An ordinary user's may have none, and those of LXC never have."""
    return superuser() and group.tracker is not None


def processes_of(jail: Jail, group: Group) -> list[int]:
    """Give the processes of a jail, or of one of its instances, by its group."""
    if _told_by_groups(group):
        return group.pids()
    found = []
    for _, init in inits(group.name if group.is_leaf else f"{group.name}/", jail.ids):
        found += inhabitants(init)
        os.close(init.pidfd)
    return found


def names_of(jail: Jail) -> list[str]:
    """Name the instances of a jail, and those of which only the group is left."""
    group = group_of(jail)
    found = set(group.children())
    if not _told_by_groups(group):
        for title, init in inits(f"{group.name}/", jail.ids):
            found.add(title.partition("/")[2])
            os.close(init.pidfd)
    return sorted(found)


def end_politely(jail: Jail, leaf: Group, number: int, timeout: float) -> None:
    """Signal every process of an instance but its init, and wait so many seconds for them to end."""
    init = find_init(leaf, jail.ids)
    if init is None:
        return
    os.close(init.pidfd)
    for pid in processes_of(jail, leaf):
        if pid != init.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
    deadline = time.monotonic() + timeout
    while number != signal.SIGKILL and set(processes_of(jail, leaf)) - {init.pid} and time.monotonic() < deadline:
        time.sleep(_PAUSE)


def init_gone(jail: Jail, leaf: Group) -> BackendError:
    """Give the error for an instance whose init ended before it was of any use."""
    if marks_of(leaf, jail.runtime.limits).oom_kills:
        return BackendError(
            f"cannot enter jail {jail.name}: its limit of memory leaves no room even for its first process",
            resolution=f"raise limits.memory in the profile, then {jail.renewal}",
        )
    return BackendError(f"cannot enter jail {jail.name}: its first process was killed")


def end_init(init: Init) -> None:
    """Kill an init, and so its whole instance; wait for it where it is a child of this process."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(init.pidfd, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PIDFD, init.pidfd, os.WEXITED)


def sweep_groups(patience: float = 0.0) -> None:
    """Kill and remove the instances of commands whose jailkit was killed, whatever their jails, LXC's processes too.

    Only what carries the pid of a process that is no more is touched, and jails' groups with nothing in them.
    """
    host = read_cgroups()
    for name in _jails_in(host):
        group = Group(host, name)
        end_stale(group)
    remove_empty_groups(patience)


def living() -> set[str] | None:
    """Name all instances of all jails that have an init, as JAIL/INSTANCE; None where cgroups do not tell."""
    host = read_cgroups()
    if not _told_by_groups(Group(host, "any")):
        return None
    leafs = [Group(host, name).leaf(child) for name in _jails_in(host) for child in Group(host, name).children()]
    return {leaf.name for leaf in leafs if _has_init(leaf)}


def _has_init(leaf: Group) -> bool:
    init = _init_in(leaf)
    if init is not None:
        os.close(init.pidfd)
    return init is not None


def remove_empty_groups(patience: float = 0.0) -> None:
    """Remove the groups of jails, and of LXC's own processes, that have nothing in them; see `remove_empty`."""
    with contextlib.suppress(OSError):
        if superuser():
            remove_empty((read_cgroups().parent, MONITORS), patience)


@contextlib.contextmanager
def outer_of(init: Init) -> Iterator[int | None]:
    """Open the user namespace from which an ordinary user enters an instance; None for the superuser.

    Raises:
        OSError: the instance has ended.
    """
    if superuser():
        yield None
        return
    outer = parent_of(init.pid)
    try:
        yield outer
    finally:
        os.close(outer)


def end_stale(group: Group) -> None:
    """Kill and remove the instances of a jail's commands whose jailkit was killed, LXC's processes too."""
    # LXC's own process may be killed after the container's group is gone, and leave its own.
    monitors = group._replace(host=group.host._replace(parent=MONITORS))
    for child in sorted({*group.children(), *monitors.children()}):
        if not child.startswith("run-") or _caller_lives(child):
            continue
        if superuser():
            end_groups(tuple(f"{parent}/{group.name}/{child}" for parent in (group.host.parent, MONITORS)))
        else:
            with contextlib.suppress(OSError):
                take_down(group.leaf(child))


def _jails_in(host: Cgroups) -> list[str]:
    parents = (host.parent, MONITORS)
    return sorted({name for tree in host.usable for parent in parents for name in folders(f"{tree.top}/{parent}")})


def _caller_lives(name: str) -> bool:
    return os.path.exists(f"/proc/{name.split('-')[1]}")


def end_instance(jail: Jail, leaf: Group) -> None:
    """Kill an instance, and remove its group.

    Raises:
        OSError: something of it does not end.
    """
    if not _told_by_groups(leaf):
        for _, init in inits(leaf.name, jail.ids):
            ended = end(init)
            os.close(init.pidfd)
            if not ended:
                raise TimeoutError(errno.ETIMEDOUT, "its init does not end")
    take_down(leaf)


def take_down(leaf: Group) -> None:
    """Kill what is left in a group, and remove it.

    Raises:
        OSError: something in it does not end.
    """
    for left in range(_ENTRANTS, -1, -1):
        if leaf.pids():
            leaf.kill()
        try:
            leaf.remove()
        except OSError as error:
            # An init whose caller was killed may have been on its way in, with some of the groups still to join.
            if error.errno != errno.EBUSY or not (left and leaf.pids()):
                raise
        else:
            return


def marks_of(leaf: Group, limits: Limits) -> Marks:
    """Read what explains ends: kills where their victims are, refusals and waiting where the limits are too.

    What no limit of the jail's can have caused is not asked for: each file takes its time, before and after a command.
    """
    whole = leaf.whole
    return Marks(
        leaf.counted("oom_kills") if limits.memory is not None else 0,
        whole.counted("pids_denied") if limits.pids is not None else 0,
        whole.counted("throttled_time") if limits.cpus is not None else 0,
    )
