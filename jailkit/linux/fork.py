"""Forking a child that takes steps and becomes a program, and learning why when it does not."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import gc
import itertools
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Final, NamedTuple, NoReturn

from jailkit.linux.between import fork_between
from jailkit.linux.libc import ALL_SIGNALS, CLONE_NEWPID, NO_SIGNALS, close_range, set_signal_mask, setns
from jailkit.linux.terminal import in_foreground

FIRST: Final = 3  # descriptor after the standard streams
EXECUTE: Final = "execute the command"
_HEAD: Final = 4096  # bytes of a refused program: enough for a #! line or an ELF's program headers
_FROM_TERMINAL: Final = (signal.SIGINT, signal.SIGQUIT, signal.SIGWINCH)
_LAST: Final = 0xFFFFFFFF
_LONGEST: Final = 4096  # bytes of a path in a record: PATH_MAX, while the words of a command may be longer

# What the step does, as the end of "cannot ...", and the step.
Step = tuple[str, Callable[[], object]]


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
        return self.step == EXECUTE

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
        loads: reads the Failure.
    """

    pid: int
    pidfd: int
    failure: int
    started: float
    own_session: bool
    loads: Callable[[bytes], Failure] = Failure.loads

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


class Program(NamedTuple):
    """The arguments of execve(2), encoded before the fork."""

    paths: tuple[bytes, ...]
    argv: tuple[bytes, ...]
    environment: dict[bytes, bytes]


class Birth(NamedTuple):
    """How a child comes to be a program.

    Attributes:
        plan: gives the steps that it takes, told the descriptor of its report, which stays open until execve(2).
        care: no signal is blocked in it; else those that are in the caller.
        own_session: a step makes it the leader of a session and of a process group.
        pid_namespace: moves this thread's future children into another pid namespace; None leaves them in this one.
        outer: a user namespace in which the child is born, and whose rights `pid_namespace` needs.
    """

    program: Program
    plan: Callable[[int], Sequence[Step]]
    care: bool
    own_session: bool
    pid_namespace: Callable[[], None] | None = None
    outer: int | None = None


def fork(birth: Birth) -> Child:
    """Fork a child that takes the steps and becomes the program.

    Raises:
        ChildProcessError: the child is gone unseen, because this process ignores SIGCHLD.
        OSError: no process or no descriptor is to be had.
    """
    read, write = pipe()
    started = time.monotonic()
    try:
        plan = birth.plan(write)
        pid = _beget(birth, plan, write)
        return Child(pid, open_pidfd(pid), read, started, birth.own_session)
    except BaseException:
        os.close(read)
        raise
    finally:
        os.close(write)


@contextlib.contextmanager
def children_in(enter: Callable[[], None] | None) -> Iterator[None]:
    """Let the children of this thread, and of no other, be born in another pid namespace (pid_namespaces(7))."""
    if enter is None:
        yield
        return
    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        enter()
        try:
            yield
        finally:
            setns(own, CLONE_NEWPID)
    finally:
        os.close(own)


def pipe() -> tuple[int, int]:
    """Make a pipe, close-on-exec, whose ends are no standard streams even where the caller has closed those."""
    read, write = os.pipe()
    return above_streams(read), above_streams(write)


def above_streams(descriptor: int) -> int:
    """Move a descriptor out of the way of 0 to 2."""
    if descriptor >= FIRST:
        return descriptor
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, FIRST)
    os.close(descriptor)
    return moved


def encode(argv: Sequence[str], variables: Iterable[tuple[str, str]]) -> Program:
    """Encode a command, and look up where on the PATH of its environment it may be.

    Raises:
        ValueError: something that the kernel has no way to take: a NUL byte, `=` in a variable's name.
    """
    pairs = tuple(variables)
    for name, _ in pairs:
        if not name or "=" in name:
            raise ValueError(f"{name!r} cannot be the name of a variable")
    for text in (*argv, *itertools.chain.from_iterable(pairs)):
        refuse_nul(text)
    environment = {os.fsencode(name): os.fsencode(value) for name, value in pairs}
    words = tuple(os.fsencode(word) for word in argv)
    if not words[0] or b"/" in words[0]:
        # No path at all for an empty word, which Python's execve would refuse before the kernel does.
        return Program((words[0],) if words[0] else (), words, environment)
    folders = environment.get(b"PATH", b"/usr/bin:/bin").split(b":")
    return Program(tuple((folder or b".") + b"/" + words[0] for folder in folders), words, environment)


def refuse_nul(text: str) -> None:
    """Refuse what C would cut short.

    Raises:
        ValueError: there is a NUL byte in it.
    """
    if "\0" in text:
        raise ValueError(f"a NUL byte in {text!r}")


def close_others(*kept: int) -> None:
    """Close all descriptors but the standard streams and those that are `kept`."""
    first = FIRST
    for descriptor in sorted(kept):
        if descriptor > first:
            close_range(first, descriptor - 1)
        first = descriptor + 1
    close_range(first, _LAST)


def _beget(birth: Birth, plan: Sequence[Step], report: int) -> int:
    """Fork with all signals blocked, so that no handler of the caller's ever runs in the child."""
    mask = set_signal_mask(ALL_SIGNALS)
    become = partial(_become, birth.program, plan, NO_SIGNALS if birth.care else mask, report)
    try:
        if birth.outer is not None:
            return fork_between(birth.outer, birth.pid_namespace, become)
        with children_in(birth.pid_namespace):
            pid = os.fork()
            if pid == 0:
                become()
            return pid
    finally:
        set_signal_mask(mask)


def open_pidfd(pid: int) -> int:
    """Give a pidfd of a child that was just made, or else end that.

    Raises:
        ChildProcessError: the child is gone unseen, because this process ignores SIGCHLD.
        OSError: no descriptor is to be had.
    """
    try:
        return above_streams(os.pidfd_open(pid))
    except ProcessLookupError as error:
        # It has ended and is not to be had: only a child that nobody waits for goes like that.
        raise ChildProcessError(errno.ECHILD, os.strerror(errno.ECHILD)) from error
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


def _become(program: Program, plan: Sequence[Step], mask: bytes, report: int) -> NoReturn:
    """Take the steps and become the command; never return into the caller's program."""
    step = ""
    try:
        # A collection would touch, and so copy, every page of the caller's objects.
        gc.disable()
        for step, act in plan:  # noqa: B007 - read by the handlers below
            act()
        step = EXECUTE
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


def _execute(program: Program) -> NoReturn:
    """Try the paths as execvp(3) does, but stop at a file that is there and lacks its interpreter.

    Raises:
        OSError: none could be executed; its `filename` is the one that was refused, None if there was no file.
    """
    refused = OSError(errno.ENOENT, "")
    for path in program.paths:
        try:
            os.execve(path, program.argv, program.environment)
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
    head = _head(thing) if step == EXECUTE and thing else b""
    os.write(pipe, Failure(step, error.errno or 0, os.fsdecode(thing), head).dumps())


def _head(path: str | bytes) -> bytes:
    """Read how a refused program begins, with the rights of the jail's user."""
    try:
        # Not blocking, because it may be a FIFO.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        return os.read(descriptor, _HEAD)
    except OSError:
        return b""
