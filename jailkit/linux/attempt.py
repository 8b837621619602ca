"""Doing in a child, which ends right after, what cannot be undone or may have no end."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable


def attempt(action: Callable[[], object]) -> OSError | None:
    """Run `action` in a forked child: None when it came through, else the OSError that it met.

    Raises:
        OSError: no child could be made.
        RuntimeError: the child died of something else than an OSError.
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
        raise RuntimeError(f"a trial died with wait status {status}")
    return OSError(int(number), message)


def answer(question: Callable[[], bool], seconds: int) -> bool | None:
    """Ask in a forked child: None when that takes more than so many seconds of CPU, or fails.

    Raises:
        OSError: no child could be made.
    """
    child = os.fork()
    if child == 0:
        code = 2
        try:
            # The kernel's own bound: it holds even when this child's parent is killed.
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
            code = 0 if question() else 1
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return {0: True, 1: False}.get(os.waitstatus_to_exitcode(status))


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
