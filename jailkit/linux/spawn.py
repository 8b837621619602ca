"""Starting a child that gets into a jail, and learning why when it does not."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import stat
from functools import partial
from typing import Final

from jailkit.linux.enter import Entering, Way, filter_steps, steps
from jailkit.linux.enterscript import enter_script
from jailkit.linux.fork import FIRST, Birth, Child, Program, Step, close_others, encode, fork, pipe, refuse_nul
from jailkit.linux.script import Script
from jailkit.linux.scripted import NULL, Placement, spawn_script

# What becomes descriptors 0 to 2; None passes the caller's own on.
Streams = tuple[int | None, int | None, int | None]
_LONGEST: Final = 64  # bytes of what a script says
_PATIENCE: Final = 5.0  # seconds in which a program is executed, unless it is on a file system that hangs
INHERITED: Final[Streams] = (None, None, None)


def spawn(entering: Entering, way: Way, streams: Streams) -> Child:
    """Start a child that takes the way into a jail and becomes the command.

    Nothing here needs the main thread. At a level with care the child is killed when the calling thread ends.

    Raises:
        ChildProcessError: the child is gone unseen, because this process ignores SIGCHLD.
        OSError: no process or no descriptor is to be had.
        ValueError: something that the kernel has no way to take: a NUL byte, `=` in a variable's name.
    """
    refuse_nul(entering.workdir)
    program = encode(entering.argv, entering.environment)
    if entering.confinement and way.outer is None and (child := _by_script(entering, way, streams, program)):
        return child
    care = entering.confinement is not None
    plan = partial(_all_steps, entering, way, streams)
    return fork(Birth(program, plan, care, entering.own_session, way.pid_namespace, way.outer))


def _by_script(entering: Entering, way: Way, streams: Streams, program: Program) -> Child | None:
    """Take the way by a script, which is several times as quick as a fork.

    None when it comes to nothing that a forked child, which is asked then, would not do or tell better: what a standard
    stream must not be, a program that cannot be executed.
    """
    placed = _placed(streams)
    prepared = enter_script(_steps_within(entering, way), program) if placed else None
    if placed is None or prepared is None:
        return None
    try:
        placement = Placement(b"jailkit-enter", b"", prepared.handed, placed, way.pid_namespace)
        child = spawn_script(prepared.script, placement)
    except OSError as error:
        # No /proc; no files in memory that may be executed, or none of this size.
        if error.errno in (errno.ENOENT, errno.EACCES, errno.EPERM, errno.EFBIG):
            return None
        raise
    return _confirmed(child, prepared.script)


def _confirmed(child: Child, script: Script) -> Child | None:
    """Wait for a script to become the program; None when that could not be executed. Does not wait for ever."""
    try:
        poll = select.poll()
        poll.register(child.failure, select.POLLIN)
        if not poll.poll(_PATIENCE * 1000):
            return child._replace(loads=script.failure)
        answer = os.read(child.failure, _LONGEST)
        if not answer:
            return child
        failure = script.failure(answer)
        if not failure.executing:
            return child._replace(failure=_said(failure.dumps(), child.failure))
        os.waitpid(child.pid, 0)
    except BaseException:
        os.kill(child.pid, signal.SIGKILL)
        os.waitpid(child.pid, 0)
        os.close(child.pidfd)
        os.close(child.failure)
        raise
    os.close(child.pidfd)
    os.close(child.failure)
    return None


def _said(record: bytes, former: int) -> int:
    """Give the read end of a pipe with a record in it, in place of another that is closed."""
    read, write = pipe()
    os.write(write, record)
    os.close(write)
    os.close(former)
    return read


def _placed(streams: Streams) -> Streams | None:
    """Say what the standard streams become, NULL those that are closed; None if one of them must not be passed on."""
    found: list[int | None] = []
    for number, stream in enumerate(streams):
        if stream is None and not _stays_open(number):
            found.append(NULL)
            continue
        if _is_refused(number if stream is None else stream):
            return None
        found.append(stream)
    return (found[0], found[1], found[2])


def _all_steps(entering: Entering, way: Way, streams: Streams, report: int) -> list[Step]:
    """Put the descriptors in order around what enters the jail."""
    place: Step = ("place the standard streams", partial(_place, streams))
    if not entering.confinement:
        return [place, *steps(entering, way)]
    return [
        place,
        ("open /dev/null for a closed standard stream", _fill_streams),
        ("pass on what standard input, output or error is", _check_streams),
        *_steps_within(entering, way, report),
    ]


def _steps_within(entering: Entering, way: Way, *report: int) -> list[Step]:
    return [
        *steps(entering, way),
        ("close descriptors", partial(close_others, *report)),
        *filter_steps(entering.confinement, privileged=False),
    ]


def _place(streams: Streams) -> None:
    for number, stream in enumerate(streams):
        if stream == number:
            os.set_inheritable(number, True)  # dup2(2) would leave it as it is.
        elif stream is not None:
            os.dup2(stream, number)


def _fill_streams() -> None:
    """Open what the caller has closed, or the first file that the command opens would be its standard stream."""
    for number in range(FIRST):
        if not _stays_open(number):
            null = os.open(os.devnull, os.O_RDWR)
            if null == number:
                os.set_inheritable(null, True)
            else:
                os.dup2(null, number)
                os.close(null)


def _stays_open(number: int) -> bool:
    """Tell whether a descriptor is open after execve(2); a lock of ours may have taken the place of a closed one."""
    try:
        return os.get_inheritable(number)
    except OSError:
        return False


def _check_streams() -> None:
    """Refuse a directory, by which any user walks out of a chroot (fchdir(2)), and what only names a file.

    Raises:
        OSError: EISDIR, or EBADF for what was opened with O_PATH.
    """
    for number in range(FIRST):
        if error := _is_refused(number):
            raise OSError(error, os.strerror(error))


def _is_refused(descriptor: int) -> int:
    """Give why a descriptor must not be passed on; 0 for one that may be."""
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):
        return errno.EISDIR
    return errno.EBADF if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_PATH else 0
