"""Starting a child that gets into a jail, and learning why when it does not."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import gc
import itertools
import os
import signal
import stat
import time
from collections.abc import Sequence
from functools import partial
from typing import Final, NamedTuple, NoReturn

from jailkit.linux.enter import Entering, Step, steps
from jailkit.linux.libc import ALL_SIGNALS, NO_SIGNALS, close_range, set_signal_mask
from jailkit.linux.terminal import in_foreground

_EXECUTE: Final = "execute the command"
_FIRST: Final = 3  # after the standard streams
_HEAD: Final = 4096  # bytes of a refused program: enough for a #! line or an ELF's program headers
_FROM_TERMINAL: Final = (signal.SIGINT, signal.SIGQUIT, signal.SIGWINCH)
_LAST: Final = 0xFFFFFFFF
_LONGEST: Final = 4096  # bytes of a path in a record: PATH_MAX, while the words of a command may be longer

# What becomes descriptors 0 to 2; None passes the caller's own on.
Streams = tuple[int | None, int | None, int | None]
INHERITED: Final[Streams] = (None, None, None)


class Failure(NamedTuple):
    """Why a child never became the command.

    Attributes:
        step: what it was doing, as the end of "cannot ...".
        number: the errno.
        thing: the path that was refused; empty when there is none, or when no program was found.
        head: the first bytes of a program that was refused.
    """

    step: str
    number: int
    thing: str = ""
    head: bytes = b""

    @property
    def executing(self) -> bool:
        """True when the jail was entered and it was execve(2) that failed."""
        return self.step == _EXECUTE

    def dumps(self) -> bytes:
        """Write the record that goes through the pipe."""
        step, thing = (os.fsencode(text)[:_LONGEST] for text in (self.step, self.thing))
        return b"\0".join((step, b"%d" % self.number, thing, self.head))

    @classmethod
    def loads(cls, record: bytes) -> Failure:
        """Read the record."""
        step, number, thing, head = record.split(b"\0", 3)
        return cls(os.fsdecode(step), int(number), os.fsdecode(thing), head)


class Child(NamedTuple):
    """A child that was forked and not waited for yet.

    Attributes:
        failure: read end of the pipe for its Failure; end of file means that it became the command.
        started: time.monotonic() before the fork.
    """

    pid: int
    pidfd: int
    failure: int
    started: float
    own_session: bool

    def send(self, number: int) -> None:
        """Signal the command's process group; without one of its own, the command alone.

        A command in the caller's group gets what the terminal sends by itself, and not from here again.
        """
        if self.own_session:
            with contextlib.suppress(ProcessLookupError):  # It has not come to setsid(2) yet.
                os.killpg(self.pid, number)
                return
        elif number in _FROM_TERMINAL and in_foreground():
            return
        with contextlib.suppress(ProcessLookupError):  # It has ended.
            signal.pidfd_send_signal(self.pidfd, number)


class _Program(NamedTuple):
    """The arguments of execve(2), encoded before the fork."""

    paths: tuple[bytes, ...]
    argv: tuple[bytes, ...]
    environment: dict[bytes, bytes]


def spawn(entering: Entering, root: int, streams: Streams) -> Child:
    """Fork a child that enters the tree of the descriptor `root` and becomes the command.

    Nothing here needs the main thread. At a level with care the child is killed when the calling thread ends.

    Raises:
        ChildProcessError: the child is gone unseen, because this process ignores SIGCHLD.
        OSError: no process or no descriptor is to be had.
        ValueError: something that the kernel has no way to take: a NUL byte, `=` in a variable's name.
    """
    program = _encode(entering)
    read, write = pipe()
    started = time.monotonic()
    try:
        care = entering.confinement is not None
        pid = _fork(program, _all_steps(entering, root, streams, write), write, care)
        return Child(pid, _open_pidfd(pid), read, started, entering.own_session)
    except BaseException:
        os.close(read)
        raise
    finally:
        os.close(write)


def pipe() -> tuple[int, int]:
    """Make a pipe, close-on-exec, whose ends are no standard streams even where the caller has closed those."""
    read, write = os.pipe()
    return above_streams(read), above_streams(write)


def above_streams(descriptor: int) -> int:
    """Move a descriptor out of the way of 0 to 2."""
    if descriptor >= _FIRST:
        return descriptor
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _FIRST)
    os.close(descriptor)
    return moved


def _encode(entering: Entering) -> _Program:
    _check(entering)
    environment = {os.fsencode(name): os.fsencode(value) for name, value in entering.environment}
    argv = tuple(os.fsencode(word) for word in entering.argv)
    if not argv[0] or b"/" in argv[0]:
        # No path at all for an empty word, which Python's execve would refuse before the kernel does.
        return _Program((argv[0],) if argv[0] else (), argv, environment)
    folders = environment.get(b"PATH", b"/usr/bin:/bin").split(b":")
    return _Program(tuple((folder or b".") + b"/" + argv[0] for folder in folders), argv, environment)


def _check(entering: Entering) -> None:
    for name, _ in entering.environment:
        if not name or "=" in name:
            raise ValueError(f"{name!r} cannot be the name of a variable")
    for text in (*entering.argv, entering.workdir, *itertools.chain.from_iterable(entering.environment)):
        if "\0" in text:
            raise ValueError(f"a NUL byte in {text!r}")


def _all_steps(entering: Entering, root: int, streams: Streams, report: int) -> list[Step]:
    """Put the descriptors in order around what enters the jail."""
    place: Step = ("place the standard streams", partial(_place, streams))
    if not entering.confinement:
        return [place, *steps(entering, root)]
    return [
        place,
        ("open /dev/null for a closed standard stream", _fill_streams),
        ("pass on what standard input, output or error is", _check_streams),
        *steps(entering, root),
        ("close descriptors", partial(_close_others, report)),
    ]


def _place(streams: Streams) -> None:
    for number, stream in enumerate(streams):
        if stream == number:
            os.set_inheritable(number, True)  # dup2(2) would leave it as it is.
        elif stream is not None:
            os.dup2(stream, number)


def _fill_streams() -> None:
    """Open what the caller has closed, or the first file that the command opens would be its standard stream."""
    for number in range(_FIRST):
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
    for number in range(_FIRST):
        if stat.S_ISDIR(os.fstat(number).st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if fcntl.fcntl(number, fcntl.F_GETFL) & os.O_PATH:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))


def _close_others(report: int) -> None:
    if report > _FIRST:
        close_range(_FIRST, report - 1)
    close_range(report + 1, _LAST)


def _fork(program: _Program, plan: Sequence[Step], report: int, care: bool) -> int:
    """Fork with all signals blocked, so that no handler of the caller's ever runs in the child."""
    mask = set_signal_mask(ALL_SIGNALS)
    try:
        pid = os.fork()
        if pid == 0:
            _become(program, plan, NO_SIGNALS if care else mask, report)
    finally:
        set_signal_mask(mask)
    return pid


def _open_pidfd(pid: int) -> int:
    try:
        return above_streams(os.pidfd_open(pid))
    except ProcessLookupError as error:
        # It has ended and is not to be had: only a child that nobody waits for goes like that.
        raise ChildProcessError(errno.ECHILD, os.strerror(errno.ECHILD)) from error
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


def _become(program: _Program, plan: Sequence[Step], mask: bytes, report: int) -> NoReturn:
    """Take the steps and become the command; never return into the caller's program."""
    step = ""
    try:
        # A collection would touch, and so copy, every page of the caller's objects.
        gc.disable()
        for step, act in plan:  # noqa: B007 - read by the handlers below
            act()
        step = _EXECUTE
        set_signal_mask(mask)
        _execute(program)
    except OSError as error:
        _report(report, step, error)
    except BaseException as error:
        # A number that fits no C type, for example.
        number = errno.ENOMEM if isinstance(error, MemoryError) else errno.EINVAL
        _report(report, f"{step} ({error})", OSError(number, ""))
    finally:
        os._exit(125)


def _execute(program: _Program) -> NoReturn:
    """Try the paths as execvp(3) does, but stop at a file that is there and lacks its interpreter.

    Raises:
        OSError: none could be executed; its `filename` is the one that was refused, None if there was no file.
    """
    refused = OSError(errno.ENOENT, "")
    for path in program.paths:
        try:
            os.execve(path, program.argv, program.environment)  # noqa: S606 - no shell is wanted
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR) and not os.path.exists(path):
                continue
            error.filename = path
            refused = error
            if error.errno != errno.EACCES:
                break
    raise refused


def _report(pipe: int, step: str, error: OSError) -> None:
    thing = error.filename if isinstance(error.filename, str | bytes) else ""
    head = _head(thing) if step == _EXECUTE and thing else b""
    os.write(pipe, Failure(step, error.errno or 0, os.fsdecode(thing), head).dumps())


def _head(path: str | bytes) -> bytes:
    """Read how a refused program begins, with the rights of the jail's user."""
    try:
        # Not blocking, because it may be a FIFO.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        return os.read(descriptor, _HEAD)
    except OSError:
        return b""
