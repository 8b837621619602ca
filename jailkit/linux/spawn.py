"""Starting a child that gets into a jail, and learning why when it does not."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from functools import partial
from typing import Final

from jailkit.linux.enter import Entering, Way, filter_steps, steps
from jailkit.linux.fork import FIRST, Birth, Child, Step, close_others, encode, fork, refuse_nul

# What becomes descriptors 0 to 2; None passes the caller's own on.
Streams = tuple[int | None, int | None, int | None]
INHERITED: Final[Streams] = (None, None, None)


def spawn(entering: Entering, way: Way, streams: Streams) -> Child:
    """Fork a child that takes the way into a jail and becomes the command.

    Nothing here needs the main thread. At a level with care the child is killed when the calling thread ends.

    Raises:
        ChildProcessError: the child is gone unseen, because this process ignores SIGCHLD.
        OSError: no process or no descriptor is to be had.
        ValueError: something that the kernel has no way to take: a NUL byte, `=` in a variable's name.
    """
    refuse_nul(entering.workdir)
    program = encode(entering.argv, entering.environment)
    care = entering.confinement is not None
    plan = partial(_all_steps, entering, way, streams)
    return fork(Birth(program, plan, care, entering.own_session, way.pid_namespace, way.outer))


def _all_steps(entering: Entering, way: Way, streams: Streams, report: int) -> list[Step]:
    """Put the descriptors in order around what enters the jail."""
    place: Step = ("place the standard streams", partial(_place, streams))
    if not entering.confinement:
        return [place, *steps(entering, way)]
    return [
        place,
        ("open /dev/null for a closed standard stream", _fill_streams),
        ("pass on what standard input, output or error is", _check_streams),
        *steps(entering, way),
        ("close descriptors", partial(close_others, report)),
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
        if stat.S_ISDIR(os.fstat(number).st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if fcntl.fcntl(number, fcntl.F_GETFL) & os.O_PATH:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
