"""Making an instance, which is namespaces with a PID 1 that only sleeps and a view of its own.

Commands are never PID 1, to which the kernel passes no signal that it has no handler for (pid_namespaces(7)).
"""

from __future__ import annotations

import errno
import fcntl
import os
from functools import cache, partial
from typing import Final, NamedTuple, NoReturn

from jailkit.linux.fork import Child, Failure, above_streams, pipe
from jailkit.linux.hidden import stand_ins
from jailkit.linux.idle import idle_program
from jailkit.linux.initscript import NAME, Outline, init_script
from jailkit.linux.join import TIED, await_whole
from jailkit.linux.libc import (
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    unshare,
)
from jailkit.linux.memory_file import executable_file
from jailkit.linux.script import Script
from jailkit.linux.scripted import Placement, spawn_script
from jailkit.linux.userns import IdMap, Owners
from jailkit.linux.view import View, lower_of

NAMESPACES: Final = {
    "mount": CLONE_NEWNS, "pid": CLONE_NEWPID, "ipc": CLONE_NEWIPC, "uts": CLONE_NEWUTS, "net": CLONE_NEWNET,
    "user": CLONE_NEWUSER, "cgroup": CLONE_NEWCGROUP,
}  # fmt: skip
_READY: Final = b"ready"


class Blueprint(NamedTuple):
    """What an instance is to be.

    Attributes:
        owners: of files and of all that is made.
        maps: of their uids and gids, as the host numbers them.
        title: argument of the init, by which others know it.
        namespaces: CLONE_NEW* flags of those to make besides the user and pid namespaces.
        tasks: descriptors of the files of cgroups through which to join.
        tied: it ends when the calling thread does.
        outer: descriptor of a user namespace in which the caller is as root, where it is not; no mount maps ids then.
        rooted: there is an id 0 inside; else the ids stay what they are.
    """

    view: View
    owners: Owners
    maps: tuple[IdMap, IdMap]
    namespaces: int
    hostname: str
    title: str
    tasks: tuple[int, ...] = ()
    tied: bool = False
    outer: int | None = None
    rooted: bool = True


class Launched:
    """The init of an instance, which may still be making that.

    Args:
        child: itself; in its `failure` is what its script says.
        ready: the pipe for good news.
        script: what it plays.
    """

    __slots__ = ("_script", "_tied", "child", "ready")

    def __init__(self, child: Child, ready: int, script: Script) -> None:
        self.child = child
        self.ready = ready
        self._script = script
        self._tied = False

    def await_tied(self) -> None:
        """Wait until it ends with the caller; before that, no other child is to be made.

        Raises:
            OSError: ECANCELED, it has ended.
        """
        if not self._tied:
            if os.read(self.ready, 1) != TIED:
                raise OSError(errno.ECANCELED, os.strerror(errno.ECANCELED))
            self._tied = True

    def failure(self) -> Failure | None:
        """Wait until the instance is whole, or could not be made: then why. Once."""
        answer = b""
        while part := os.read(self.child.failure, 64):
            answer += part
        if answer:
            return self._script.failure(answer)
        try:
            self.await_tied()
            await_whole(self.ready)
        except OSError:
            return Failure("go on", errno.ECHILD)  # It was killed.
        return None

    def close(self) -> None:
        """Close the pipes."""
        os.close(self.child.failure)
        os.close(self.ready)


def launch(blueprint: Blueprint) -> Launched:
    """Start the init of a new instance, which then makes the rest of it.

    The namespaces are made with the rights of the user namespace, so that what is mounted before it is entered, the
    tree and /proc, stays out of its reach.

    Raises:
        OSError: no process or no descriptor is to be had, no pid namespace, or a part of the view is not there.
    """
    view, mapped = blueprint.view, blueprint.outer is None
    parts = (view.root, *view.grafts) if view.ephemeral else ()
    script = init_script(
        Outline(
            view=view,
            stand_ins=stand_ins(),
            lowers=tuple(lower_of(part, blueprint.maps, mapped=mapped) for part in parts),
            mapped=mapped,
            rooted=blueprint.rooted,
            namespaces=blueprint.namespaces,
            hostname=blueprint.hostname,
            tasks=len(blueprint.tasks),
            tied=blueprint.tied,
        )
    )
    ready, say_so = pipe()
    try:
        handed = (say_so, _idle(), blueprint.owners.everyone, blueprint.owners.all_but_root, *blueprint.tasks)
        enter = partial(unshare, CLONE_NEWPID)
        title = os.fsencode(blueprint.title)
        child = spawn_script(script, Placement(NAME, title, handed, pid_namespace=enter, outer=blueprint.outer))
    except BaseException:
        os.close(ready)
        raise
    finally:
        os.close(say_so)
    return Launched(child, ready, script)


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
        failure = launch(blueprint).failure()
        record = failure.dumps() if failure else _READY
    except OSError as error:
        record = Failure("make its namespaces", error.errno or errno.EIO).dumps()
    finally:
        os.write(report, record)
        os._exit(0)


@cache
def _idle() -> int:
    """Give a descriptor of the program that init becomes: not a path, for it is in no jail.

    Nobody may read it: so nobody in the jail, whose root has init's ids, may write to init's memory, and from there do
    what the filter of system calls, which init has none of, keeps a command from (PR_SET_DUMPABLE(2const)).
    """
    descriptor = above_streams(executable_file("jailkit-init", idle_program(), os.MFD_ALLOW_SEALING))
    os.fchmod(descriptor, 0o111)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)
    return descriptor
