"""Living instances of a jail, asked of the kernel: found by their cgroups, entered, stopped, frozen, measured.

A jail's group holds its limits. Below it each instance has a group of its own: `main` is what `start` made, and
`run-PID-NUMBER` belongs to one command of the process PID.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import signal
import time
import zlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from jailkit.backends.lxc.groups import end_groups, remove_empty
from jailkit.backends.reasons import Marks
from jailkit.errors import BackendError
from jailkit.linux.cgroup import Cgroups, Doors, Group, LimitsRefusedError, Setting, read_cgroups, settings
from jailkit.linux.cgroup.files import folders

if TYPE_CHECKING:
    from jailkit.linux.cgroup import Demand
    from jailkit.plan.settings import Limits
    from jailkit.store import Jail

MAIN: Final = "main"
MONITORS: Final = "jailkit-monitor"  # the parent of LXC's own processes, which no limit of a jail counts
_PAUSE: Final = 0.005  # seconds between two looks at processes that were asked to end
_numbers = itertools.count()


class Init(NamedTuple):
    """The PID 1 of an instance, as this process's pid namespace numbers it; close `pidfd` after use."""

    pid: int
    pidfd: int


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
    return [_shown(m.setting, m.found, m.refusal) for m in group.read_back(_settings(jail, demand, group.host))]


def _settings(jail: Jail, demand: Demand, host: Cgroups) -> list[Setting]:
    wanted, missing = settings(demand, host)
    if missing:
        raise not_held(jail, [f"limits.{limit.limit}: {limit.why}" for limit in missing])
    return wanted


@contextlib.contextmanager
def _refusals(jail: Jail) -> Iterator[None]:
    try:
        yield
    except LimitsRefusedError as error:
        raise not_held(jail, [_shown(m.setting, m.found, m.refusal) for m in error.mismatches]) from error
    except OSError as error:
        raise BackendError(
            f"cannot make a cgroup for jail {jail.name}: {error.strerror}", details=[str(error.filename or "")]
        ) from error


def _shown(setting: Setting, found: frozenset[str] | None, refusal: str | None) -> str:
    if refusal:
        return f"limits.{setting.limit}: {refusal}"
    now = "is not there" if found is None else f"shows {' '.join(sorted(found)) or 'nothing'}"
    return f"limits.{setting.limit}: {setting.file} {now}, not {' '.join(sorted(setting.shows))}"


def not_held(jail: Jail, details: Sequence[str]) -> BackendError:
    """Give the error for limits that the kernel does not show."""
    return BackendError(
        f"cannot run in jail {jail.name}: the kernel does not hold its limits, so nothing was started",
        details=list(details),
        resolution="change the limits, or list their keys under `accept-gaps` in the profile, then " + jail.renewal,
    )


@contextlib.contextmanager
def doors_of(leaf: Group) -> Iterator[Doors]:
    """Open the ways into a group for a moment; without any tree in which it could be, there are none."""
    doors = leaf.open_doors() if leaf.host.usable else Doors((), None)
    try:
        yield doors
    finally:
        doors.close()


def find_init(leaf: Group) -> Init | None:
    """Give the init of the instance in a group; None when there is none."""
    pids = leaf.pids()
    depth = len(_numbers_of("self")) if pids else 0
    for pid in pids:
        with contextlib.suppress(OSError):  # It has just ended.
            pidfd = os.pidfd_open(pid)
            numbers = _numbers_of(str(pid))
            if len(numbers) == depth + 1 and numbers[-1] == 1:
                return Init(pid, pidfd)
            os.close(pidfd)
    return None


def _numbers_of(process: str) -> tuple[int, ...]:
    """Read by which number each pid namespace knows a process, from ours inwards (NSpid of proc_pid_status(5))."""
    with open(f"/proc/{process}/status", "rb", buffering=0) as file:
        for line in file.read().splitlines():
            if line.startswith(b"NSpid:"):
                return tuple(int(number) for number in line.split()[1:])
    return ()


def end_politely(leaf: Group, init: int, number: int, timeout: float) -> None:
    """Signal every process of an instance but its init, and wait so many seconds for them to end."""
    for pid in leaf.pids():
        if pid != init:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
    deadline = time.monotonic() + timeout
    while number != signal.SIGKILL and set(leaf.pids()) - {init} and time.monotonic() < deadline:
        time.sleep(_PAUSE)


def init_gone(jail: Jail, leaf: Group) -> BackendError:
    """Give the error for an instance whose init ended before it was of any use."""
    if marks_of(leaf, jail.runtime.limits).oom_kills:
        return BackendError(
            f"cannot enter jail {jail.name}: its limit of memory leaves no room even for its first process",
            resolution=f"raise limits.memory in the profile, then {jail.renewal}",
        )
    return BackendError(f"cannot enter jail {jail.name}: its first process was killed")


def has_ended(init: Init, patience: float) -> bool:
    """Tell whether an init has ended, or does within so many seconds."""
    poll = select.poll()
    poll.register(init.pidfd, select.POLLIN)
    return bool(poll.poll(patience * 1000))


def end_init(init: Init) -> None:
    """Kill an init, and so its whole instance; wait for it where it is a child of this process."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(init.pidfd, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PIDFD, init.pidfd, os.WEXITED)


def sweep_groups() -> None:
    """Kill and remove the instances of commands whose jailkit was killed, whatever their jails, LXC's processes too.

    Only what carries the pid of a process that is no more is touched, and groups with nothing in them.
    """
    host = read_cgroups()
    for name in _jails_in(host):
        group = Group(host, name)
        end_stale(group)
    remove_empty_groups()


def living() -> set[str]:
    """Name all instances of all jails that have an init, as JAIL/INSTANCE."""
    host = read_cgroups()
    leafs = [Group(host, name).leaf(child) for name in _jails_in(host) for child in Group(host, name).children()]
    return {leaf.name for leaf in leafs if _has_init(leaf)}


def _has_init(leaf: Group) -> bool:
    init = find_init(leaf)
    if init is not None:
        os.close(init.pidfd)
    return init is not None


def remove_empty_groups() -> None:
    """Remove the groups of jails, and of LXC's own processes, that have nothing in them."""
    with contextlib.suppress(OSError):
        remove_empty((read_cgroups().parent, MONITORS))


def end_stale(group: Group) -> None:
    """Kill and remove the instances of a jail's commands whose jailkit was killed, LXC's processes too."""
    for child in group.children():
        if child.startswith("run-") and not _caller_lives(child):
            end_groups(tuple(f"{parent}/{group.name}/{child}" for parent in (group.host.parent, MONITORS)))


def _jails_in(host: Cgroups) -> list[str]:
    return sorted({name for tree in host.usable for name in folders(f"{tree.top}/{host.parent}")})


def _caller_lives(name: str) -> bool:
    return os.path.exists(f"/proc/{name.split('-')[1]}")


def take_down(leaf: Group) -> None:
    """Kill what is left in a group, and remove it.

    Raises:
        OSError: something in it does not end.
    """
    if leaf.pids():
        leaf.kill()
    leaf.remove()


def marks_of(leaf: Group, limits: Limits) -> Marks:
    """Read what explains ends: kills where their victims are, refusals and waiting where the limits are too.

    What no limit of the jail's can have caused is not asked for: each file takes its time, before and after a command.
    """
    whole = leaf.whole
    return Marks(
        leaf.counted("oom_kills") if limits.memory is not None else 0,
        whole.counted("pids_denied") if limits.pids is not None else 0,
        whole.counted("throttled_seconds") if limits.cpus is not None else 0,
    )
