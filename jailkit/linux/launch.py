"""Making an instance, which is namespaces with a PID 1 that only sleeps and a view of its own; and joining one.

Commands are never PID 1, to which the kernel passes no signal that it has no handler for (pid_namespaces(7)).
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import select
import signal
import struct
from collections.abc import Sequence
from functools import cache, partial
from typing import Final, NamedTuple, NoReturn

from jailkit.linux.capabilities import limit_bounding_set, limit_capabilities
from jailkit.linux.enter import Way, leave_keys
from jailkit.linux.fork import Birth, Child, Failure, Program, Step, above_streams, close_others, fork, pipe
from jailkit.linux.idle import idle_program
from jailkit.linux.libc import (
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    PR_SET_DUMPABLE,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
    prctl,
    sethostname,
    setns,
    socket,
    unshare,
)
from jailkit.linux.mounting import MS_PRIVATE, MS_REC, mount
from jailkit.linux.userns import Owners
from jailkit.linux.view import Trees, View

NAMESPACES: Final = {
    "mount": CLONE_NEWNS, "pid": CLONE_NEWPID, "ipc": CLONE_NEWIPC, "uts": CLONE_NEWUTS, "net": CLONE_NEWNET,
    "user": CLONE_NEWUSER, "cgroup": CLONE_NEWCGROUP,
}  # fmt: skip
_PLACE: Final = "/proc"  # a directory that every host has, covered by the jail's tree until that is the root
_READY: Final = b"ready"
_AF_INET: Final = 2
_SOCK_DGRAM: Final = 2
_SIOCGIFFLAGS: Final = 0x8913
_SIOCSIFFLAGS: Final = 0x8914
_IFF_UP: Final = 1
_IFREQ: Final = "16sh14x"


class Blueprint(NamedTuple):
    """What an instance is to be.

    Attributes:
        owners: of files and of all that is made; None stays in the caller's user namespace.
        title: argument of the init, by which others know it.
        namespaces: CLONE_NEW* flags of those to make besides the user and pid namespaces.
        tasks: descriptors of the files of cgroups through which to join.
        tied: it ends when the calling thread does.
        outer: descriptor of a user namespace in which the caller is as root, where it is not; no mount maps ids then.
        rooted: there is an id 0 inside; else the ids stay what they are.
    """

    view: View
    owners: Owners | None
    namespaces: int
    hostname: str
    title: str
    tasks: tuple[int, ...] = ()
    tied: bool = False
    outer: int | None = None
    rooted: bool = True


def launch(blueprint: Blueprint) -> Child:
    """Fork the init of a new instance; `failure_of` tells when it is ready, and whether.

    The namespaces are made with the rights of the user namespace, so that what is mounted before it is entered, the
    tree and /proc, stays out of its reach.

    Raises:
        OSError: no process or no descriptor is to be had, or no pid namespace.
    """
    idle = _idle()  # Two threads that come first may each have one of their own.
    program = Program((idle,), (b"jailkit-init", os.fsencode(blueprint.title)), {})
    trees = Trees(blueprint.view, blueprint.owners if blueprint.outer is None else None)
    plan = partial(_init_steps, blueprint, idle, trees)
    return fork(Birth(program, plan, True, True, partial(unshare, CLONE_NEWPID), blueprint.outer))


def launch_apart(blueprint: Blueprint) -> Failure | None:
    """Launch an instance that is no child of this process, which so need not wait for it; give why it failed.

    Raises:
        OSError: as `launch`.
    """
    read, write = pipe()
    between = os.fork()
    if between == 0:
        _launch_and_report(blueprint, write)
    os.close(write)
    with os.fdopen(read, "rb") as file:
        record = file.read()
    os.waitpid(between, 0)
    if not record:
        return Failure("launch it", errno.EIO)
    return Failure.loads(record) if record != _READY else None


def _launch_and_report(blueprint: Blueprint, report: int) -> NoReturn:
    record = b""
    try:
        failure = failure_of(launch(blueprint))
        record = failure.dumps() if failure else _READY
    except OSError as error:
        record = Failure("make its namespaces", error.errno or errno.EIO).dumps()
    finally:
        os.write(report, record)
        os._exit(0)


def failure_of(child: Child) -> Failure | None:
    """Wait until a child has become its program, or has failed to; closes its pipe."""
    with os.fdopen(child.failure, "rb") as file:
        record = file.read()
    return Failure.loads(record) if record else None


def by_joining(pidfd: int, namespaces: int, tasks: Sequence[int]) -> Way:
    """Enter the namespaces of the process behind a pidfd, and cgroups by descriptors of their files."""
    return Way(
        (
            _unseen(),
            ("join the jail's cgroup", partial(_join, tasks)),
            ("enter the jail's namespaces", partial(setns, pidfd, namespaces & ~CLONE_NEWPID)),
        ),
        partial(setns, pidfd, CLONE_NEWPID),
    )


def _unseen() -> Step:
    """Keep the jail's processes from looking into the caller's memory and descriptors, until execve(2)."""
    return "be closed to the jail's processes", partial(prctl, PR_SET_DUMPABLE, 0)


def _join(tasks: Sequence[int]) -> None:
    for descriptor in tasks:
        os.write(descriptor, b"0")


@cache
def _idle() -> int:
    """Give a descriptor of the program that init becomes: not a path, for it is in no jail."""
    descriptor = above_streams(os.memfd_create("jailkit-init", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING))
    os.write(descriptor, idle_program())
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)
    return descriptor


def _init_steps(blueprint: Blueprint, idle: int, trees: Trees, report: int) -> list[Step]:
    owners, namespaces = blueprint.owners, blueprint.namespaces
    return [
        ("start a session", os.setsid),
        ("open /dev/null", _null_streams),
        _unseen(),
        ("join the jail's cgroup", partial(_join, blueprint.tasks)),
        # What is opened there is beyond the jail's root, as its namespaces are below those of an outer one.
        *([("make a mount namespace", _own_mounts)] if blueprint.outer is not None else []),
        ("open the jail's tree and its mounts", trees.open),
        ("make a /proc", trees.make_proc),
        *([("enter the user namespace", partial(_enter, owners.everyone, blueprint.rooted))] if owners else []),
        ("make namespaces", partial(unshare, namespaces)),
        *([("set the host name", partial(sethostname, blueprint.hostname))] if namespaces & CLONE_NEWUTS else []),
        *([("bring up the loopback interface", _loopback_up)] if namespaces & CLONE_NEWNET else []),
        ("keep its mounts to itself", _keep_mounts),
        ("put the jail's tree and its mounts together", partial(trees.assemble, _PLACE)),
        ("make /dev and /proc", trees.furnish),
        ("enter the jail's tree", trees.enter),
        *_harmless_steps(),
        ("close descriptors", partial(close_others, report, idle)),
        *([("tie the jail to its caller", partial(_die_with_reader, report))] if blueprint.tied else []),
    ]


def _null_streams() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    if null >= 3:
        os.close(null)


def _own_mounts() -> None:
    unshare(CLONE_NEWNS)
    _keep_mounts()


def _keep_mounts() -> None:
    mount("none", "/", "none", MS_REC | MS_PRIVATE)


def _enter(userns: int, rooted: bool) -> None:
    setns(userns, CLONE_NEWUSER)
    if rooted:
        os.setgroups([])
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)


def _loopback_up() -> None:
    """Bring up `lo` (netdevice(7))."""
    control = socket(_AF_INET, _SOCK_DGRAM)
    try:
        answer = fcntl.ioctl(control, _SIOCGIFFLAGS, struct.pack(_IFREQ, b"lo", 0))
        flags = struct.unpack(_IFREQ, answer)[1]
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack(_IFREQ, b"lo", flags | _IFF_UP))
    finally:
        os.close(control)


def _harmless_steps() -> list[Step]:
    """Take from a process that only sleeps all that another could make use of."""
    return [
        ("leave the caller's keys", leave_keys),
        ("limit the bounding set", partial(limit_bounding_set, 0)),
        ("limit the capabilities", partial(limit_capabilities, 0)),
        ("set no_new_privs", partial(prctl, PR_SET_NO_NEW_PRIVS, 1)),
        ("set a resource limit", partial(resource.setrlimit, resource.RLIMIT_CORE, (0, 0))),
    ]


def _die_with_reader(report: int) -> None:
    """End with the thread that made this process, also where that was over before this call.

    Its own parent's number, 0, does not tell an init that; but the pipe has lost its reader then.
    """
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    poll = select.poll()
    poll.register(report, 0)
    if poll.poll(0):
        os._exit(128 + signal.SIGKILL)
