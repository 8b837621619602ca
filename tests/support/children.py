"""Parts of a test in a child process: another user, another umask, private mounts, or a violent end."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

from jailkit.linux.libc import CLONE_NEWNS, unshare
from jailkit.linux.mounting import MS_PRIVATE, MS_REC, mount

NOBODY = 65534


class ChildFailedError(AssertionError):
    """What the child raised, as text."""


def in_child(function: Callable[[], Any], *, uid: int | None = None, private_mounts: bool = False) -> Any:
    """Run `function` in a forked child and give what it returns; what it raises, raises here.

    With `private_mounts` nothing that is mounted in it is seen outside, and all of it ends with the child.

    Raises:
        ChildFailedError: with the child's traceback.
    """
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        _report(write, function, uid=uid, private_mounts=private_mounts)
    os.close(write)
    with open(read, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(pid, 0)
    if not answer:
        raise ChildFailedError(f"the child ended with {os.waitstatus_to_exitcode(status)} and said nothing")
    good, value = pickle.loads(answer)
    if not good:
        raise ChildFailedError(value)
    return value


def _report(pipe: int, function: Callable[[], Any], *, uid: int | None, private_mounts: bool) -> None:
    try:
        if private_mounts:
            unshare(CLONE_NEWNS)
            mount("none", "/", "none", MS_REC | MS_PRIVATE)
        if uid is not None:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
        answer = pickle.dumps((True, function()))
    except BaseException:
        answer = pickle.dumps((False, traceback.format_exc()))
    with open(pipe, "wb") as file:
        file.write(answer)
    sys.stdout.flush()
    os._exit(0)


def together(*functions: Callable[[], Any]) -> list[Any]:
    """Run functions in a child each, all let go at the same moment, and give what they return, in order.

    Raises:
        ChildFailedError: with the traceback of the first that raised.
    """
    gate, let_go = os.pipe()
    running = []
    for function in functions:
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(let_go)
            os.close(read)
            os.read(gate, 1)
            _report(write, function, uid=None, private_mounts=False)
        os.close(write)
        running.append((pid, read))
    os.close(gate)
    os.close(let_go)
    answers = []
    for pid, read in running:
        with open(read, "rb") as pipe:
            answers.append(pickle.loads(pipe.read() or pickle.dumps((False, "it said nothing"))))
        os.waitpid(pid, 0)
    if failed := [text for good, text in answers if not good]:
        raise ChildFailedError(failed[0])
    return [value for _, value in answers]


def start(function: Callable[[], Any]) -> int:
    """Run `function` in a forked child and give its pid. Its exit code is 0, or 1 when the function raised."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            function()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return pid


def end(pid: int) -> int:
    """Wait for a child and give its exit code, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# Calls that change nothing on disk: dying before one of them is dying before the next that does.
_HARMLESS = frozenset(
    {
        "WIFSTOPPED", "_path_normpath", "access", "close", "cpu_count", "dup", "fchdir", "fsdecode", "fsencode",
        "fspath", "fstat", "fstatvfs", "get_inheritable", "getcwd", "getegid", "geteuid", "getgid", "getpid",
        "getppid", "getuid", "getxattr", "isatty", "listdir", "lseek", "lstat", "major", "makedev", "minor",
        "open", "pipe", "pipe2", "pread", "read", "readlink", "readv", "register_at_fork", "scandir",
        "set_inheritable", "stat", "strerror", "sysconf", "times", "umask", "uname", "urandom", "waitpid",
        "waitstatus_to_exitcode",
    }
)  # fmt: skip


def kill(pid: int) -> int:
    """Kill a child that may have ended already, and give what `end` gives."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return end(pid)


def killed_at(number: int, function: Callable[[], Any]) -> bool:
    """Run `function` in a child that is killed just before its system call number `number` that changes something.

    Every call into `posix` and `fcntl` counts but those that only look, and so do writes of file objects and the
    calls that jailkit makes through ctypes. True when the function came to its end before that.
    """
    code = end(start(lambda: _doomed(number, function)))
    if code not in (0, -signal.SIGKILL):
        raise ChildFailedError(f"ended with {code} instead of being killed at call {number}")
    return code == 0


def _doomed(number: int, function: Callable[[], Any]) -> None:
    left = number
    real_open = os.open

    def step() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(frame: Any, event: str, argument: Any) -> None:
        if (event == "c_call" and _changes(argument)) or (event == "call" and frame.f_code.co_name == "renameat2"):
            step()

    def open_counted(path: Any, flags: int, *rest: Any, **options: Any) -> int:
        if flags & (os.O_CREAT | os.O_TRUNC):
            step()
        return real_open(path, flags, *rest, **options)

    os.open = open_counted
    sys.setprofile(watch)
    try:
        function()
    finally:
        sys.setprofile(None)


def _changes(function: Any) -> bool:
    name = function.__name__
    if getattr(function, "__module__", None) in ("posix", "fcntl", "_posixsubprocess"):
        return name not in _HARMLESS
    return type(getattr(function, "__self__", None)).__module__ == "_io" and name in ("write", "flush")
