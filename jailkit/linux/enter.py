"""What a child does between fork(2) and execve(2) to get into a jail: described as data, made a list of steps.

The steps are made before the fork. After it the child calls them one by one and nothing else: no import, no
path to encode, no lock that a thread of the parent may have held at the moment of the fork.
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import signal
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple

from jailkit.linux.capabilities import limit_bounding_set, limit_capabilities
from jailkit.linux.fork import Step
from jailkit.linux.libc import (
    PR_SET_KEEPCAPS,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
    default_signal,
    join_session_keyring,
    prctl,
)
from jailkit.linux.limits import within_present

TIOCSCTTY: Final = 0x540E  # asm-generic/ioctls.h, ioctl_tty(2)
_EVERY_SIGNAL: Final = range(1, signal.NSIG)
_IGNORED_BY_PYTHON: Final = (int(signal.SIGPIPE), int(signal.SIGXFSZ))


class Fd(int):
    """A descriptor, where it is an argument of a step."""


class Identity(NamedTuple):
    """Whom the command runs as: numbers, supplementary groups included; None where those cannot be changed."""

    uid: int
    gid: int
    groups: tuple[int, ...] | None = ()


class Confinement(NamedTuple):
    """The care that a level takes beyond chroot(2).

    Attributes:
        capabilities: bit mask of those that the command keeps.
        no_new_privileges: set no_new_privs (PR_SET_NO_NEW_PRIVS(2const)).
        limits: pairs of an RLIMIT_* number and its hard and soft value.
        load_filter: lays a filter over the system calls, prepared before the fork (seccomp(2)).
    """

    capabilities: int = 0
    no_new_privileges: bool = True
    limits: tuple[tuple[int, int], ...] = ()
    load_filter: Callable[[], object] | None = None


class Way(NamedTuple):
    """How a child gets from the caller's view of the system to the jail's.

    Attributes:
        steps: taken while it still has the caller's rights.
        pid_namespace: as in Birth; its parent is then in another pid namespace than the command.
        outer: as in Birth.
    """

    steps: tuple[Step, ...]
    pid_namespace: Callable[[], None] | None = None
    outer: int | None = None


def by_chroot(root: int) -> Way:
    """Enter the tree of a descriptor with chroot(2)."""
    return Way(
        (
            # The descriptor was opened once, so that no rename meanwhile leads to another tree (chroot(2)).
            ("enter the jail's tree", partial(os.fchdir, Fd(root))),
            ("change the root to the jail's tree", partial(os.chroot, ".")),
            ("change to the jail's /", partial(os.chdir, "/")),
        )
    )


class Entering(NamedTuple):
    """One command on its way into a jail.

    Attributes:
        argv: the command; argv[0] is a path in the jail or a name to look for on the PATH of `environment`.
        identity: None keeps the caller's.
        confinement: None takes no care: the caller's descriptors, session, signals and limits go in.
        at_home: `workdir` is nobody's wish but where a user starts; if it cannot be entered, the command starts in /.
        terminal: the standard input becomes the controlling terminal of a session of its own.
    """

    argv: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    workdir: str
    identity: Identity | None = None
    confinement: Confinement | None = None
    at_home: bool = False
    terminal: bool = False

    @property
    def own_session(self) -> bool:
        """True when the command leads a session and a process group of its own."""
        return self.terminal or self.confinement is not None


def steps(entering: Entering, way: Way) -> list[Step]:
    """List what a child does to get into a jail, in order.

    The standard streams are in their places before the first step; other descriptors are closed after the last.
    """
    parent = 0 if way.pid_namespace else os.getpid()
    return [
        *_session_steps(entering),
        *way.steps,
        *filter_steps(entering.confinement, privileged=True),
        *_identity_steps(entering.identity, entering.confinement),
        *_care_steps(entering.confinement, parent),
        # As the user of the jail, so that a directory closed to that user is refused.
        (
            f"change to the directory {entering.workdir}",
            partial(go_home if entering.at_home else os.chdir, os.fsencode(entering.workdir)),
        ),
        *_signal_steps(entering.confinement),
    ]


def _session_steps(entering: Entering) -> list[Step]:
    """Leave the caller's session, or a command could put input into its terminal (TIOCSTI, ioctl_tty(2))."""
    result: list[Step] = []
    if entering.own_session:
        result.append(("start a session", os.setsid))
    if entering.terminal:
        result.append(("take the terminal", partial(fcntl.ioctl, 0, TIOCSCTTY, 0)))
    if entering.confinement:
        # Whoever holds a session keyring may use the keys in it, whatever the uid (keyrings(7), possession).
        # While still root, because a user may own few keyrings.
        result.append(("leave the caller's keys", leave_keys))
    return result


def leave_keys() -> None:
    """Join a session keyring of its own, where the kernel has such."""
    try:
        join_session_keyring()
    except OSError as error:
        # No keys in this kernel; or a filter that a container lays over this process and all its children.
        if error.errno not in (errno.ENOSYS, errno.EPERM):
            raise


def _identity_steps(identity: Identity | None, confinement: Confinement | None) -> list[Step]:
    """Become the user. Groups and bounding set first: both take capabilities that the new uid lacks."""
    result: list[Step] = []
    if identity and identity.groups is not None:
        result.append(("set the supplementary groups", partial(os.setgroups, identity.groups)))
    if confinement:
        keep = confinement.capabilities
        result.append(("limit the bounding set", partial(limit_bounding_set, keep)))
        if keep:
            result.append(("keep capabilities", partial(prctl, PR_SET_KEEPCAPS, 1)))
    if identity:
        result.append((f"become group {identity.gid}", partial(os.setresgid, *(identity.gid,) * 3)))
        result.append((f"become user {identity.uid}", partial(os.setresuid, *(identity.uid,) * 3)))
    if confinement:
        result.append(("limit the capabilities", partial(limit_capabilities, confinement.capabilities)))
    return result


def _care_steps(confinement: Confinement | None, parent: int) -> list[Step]:
    if not confinement:
        return []
    result: list[Step] = [("set the umask", partial(os.umask, 0o022))]
    if confinement.no_new_privileges:
        result.append(("set no_new_privs", partial(prctl, PR_SET_NO_NEW_PRIVS, 1)))
    for number, value in within_present((*confinement.limits, (resource.RLIMIT_CORE, 0))):
        result.append(("set a resource limit", partial(resource.setrlimit, number, (value, value))))
    # After the credentials, because their change clears it (PR_SET_PDEATHSIG(2const)).
    result.append(("tie the command to its caller", partial(die_with, parent)))
    return result


def filter_steps(confinement: Confinement | None, *, privileged: bool) -> list[Step]:
    """Load the filter: last of all, or where no_new_privs is not wanted, while the child is still `privileged` to."""
    if not confinement or not confinement.load_filter or confinement.no_new_privileges is privileged:
        return []
    return [("filter the system calls", confinement.load_filter)]


def go_home(path: bytes) -> None:
    """Change to a user's home; one that is absent or closed to the user leaves the command in /, as with login(1)."""
    try:
        os.chdir(path)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.EACCES):
            raise


def die_with(parent: int) -> None:
    """End with the thread that made this process, whose parent is to have this number here."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(128 + signal.SIGKILL)  # It ended before the call above, so no signal will come.


def _signal_steps(confinement: Confinement | None) -> list[Step]:
    """Give back dispositions: all of them, or without care only the two that Python itself changed."""
    numbers = _EVERY_SIGNAL if confinement else _IGNORED_BY_PYTHON
    return [("reset the signals", partial(reset_signals, numbers))]


def reset_signals(numbers: Sequence[int]) -> None:
    """Give signals their default dispositions."""
    for number in numbers:
        default_signal(number)
