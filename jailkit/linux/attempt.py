"""Doing in a child, which ends right after, what cannot be undone or may have no end."""

from __future__ import annotations

import errno
import os
import resource
import signal
from collections.abc import Callable
from typing import Final

from jailkit.linux.limits import within_present

# What ends a process at RLIMIT_CPU: at the soft limit, or at the hard one (setrlimit(2)).
_STOPPED: Final = (-signal.SIGXCPU, -signal.SIGKILL)


def attempt(action: Callable[[], object]) -> OSError | None:
    """Run `action` in a forked child: None when it came through, else the OSError that it met.

    That is EIO when the child died of something else.

    Raises:
        OSError: no child could be made.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _report(action, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        record = pipe.read().decode("utf-8", "replace")
    _, status = os.waitpid(child, 0)
    if status == 0:
        return None
    number, separator, message = record.partition(" ")
    if not separator:
        return _died("trial", status)
    return OSError(int(number), message)


def answer(question: Callable[[], bool], seconds: int) -> bool | None:
    """Ask in a forked child: None when that takes more than so many seconds of CPU, or than the caller may have.

    Raises:
        OSError: no child could be made; EIO: the question raised something.
    """
    child = os.fork()
    if child == 0:
        code = 2
        try:
            # The kernel's own bound: it holds even when this child's parent is killed.
            for number, value in within_present(((resource.RLIMIT_CORE, 0), (resource.RLIMIT_CPU, seconds))):
                resource.setrlimit(number, (value, value))
            code = 0 if question() else 1
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code in _STOPPED:
        return None
    if code not in (0, 1):
        raise _died("question", status)
    return code == 0


def _died(what: str, status: int) -> OSError:
    return OSError(errno.EIO, f"a {what} died with wait status {status}")


def _report(action: Callable[[], object], writer: int) -> None:
    """Run the action and end this process, whatever happens: it must never return into the caller's code."""
    code = 1
    try:
        action()
        code = 0
    except OSError as error:
        os.write(writer, f"{error.errno or 0} {error.strerror or error}".encode())
    finally:
        os._exit(code)
