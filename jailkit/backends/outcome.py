"""From how a child ended to what a caller is told. Pure."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from jailkit.backends.base import ExecResult
from jailkit.linux.wait import Reader

if TYPE_CHECKING:
    from jailkit.linux.enter import Entering
    from jailkit.linux.fork import Failure
    from jailkit.linux.wait import Ended, Writer
    from jailkit.store import Jail


def result_of(jail: Jail, entering: Entering, ended: Ended, ends: Mapping[str, Reader | Writer]) -> ExecResult:
    """Give the result of a command that ended, or never began, as `ended` tells."""
    outputs = {name: end for name, end in ends.items() if isinstance(end, Reader)}
    common: dict[str, Any] = {
        "wall_time": ended.wall_time,
        "cpu_time": ended.cpu_time,
        "peak_memory": ended.peak_memory,
        "truncated": any(output.truncated for output in outputs.values()),
        **{name: output.data for name, output in outputs.items()},
    }
    if ended.failure:
        return _failed(jail, entering, ended.failure, common)
    if os.WIFSIGNALED(ended.status):
        return ExecResult("timeout" if ended.timed_out else "signalled", signal=os.WTERMSIG(ended.status), **common)
    return ExecResult("exited", exit_code=os.WEXITSTATUS(ended.status), **common)


def _failed(jail: Jail, entering: Entering, failure: Failure, common: dict[str, Any]) -> ExecResult:
    if not failure.executing:
        return ExecResult("setup-failed", message=_setup_message(jail, entering, failure), **common)
    if not failure.thing:
        return ExecResult("not-found", message=_missing_message(jail, entering), **common)
    return ExecResult("not-executable", message=_refused_message(jail, failure), **common)


def _setup_message(jail: Jail, entering: Entering, failure: Failure) -> str:
    brief = f"cannot enter jail {jail.name}: cannot {failure.step}: {os.strerror(failure.number)}"
    if failure.thing == entering.workdir:
        make = f", or add {entering.workdir} to `directories`" if failure.number == errno.ENOENT else ""
        return f"{brief}\n  Try: another --workdir{make}"
    if failure.number == errno.EISDIR:
        return f"{brief}, and would lead out of the jail\n  Try: redirect to or from a file, a pipe or a terminal"
    if failure.number == errno.EPERM:
        return f"{brief}\n  Try: run it as root with all its capabilities"
    return brief


def _missing_message(jail: Jail, entering: Entering) -> str:
    word = entering.argv[0]
    if "/" in word:
        where = "" if word.startswith("/") else f" below {entering.workdir}"
        brief = f"cannot find {word} in jail {jail.name}{where}"
    else:
        path = dict(entering.environment).get("PATH", "")
        brief = f"cannot find {word} in jail {jail.name}: it is in no directory of its PATH, {path}"
    return brief + _add_to_binaries(jail, word)


def _add_to_binaries(jail: Jail, word: str) -> str:
    """Say how to bring a program in; nothing for a relative path, which no profile takes."""
    if "/" in word and not word.startswith("/"):
        return ""
    return f"\n  Try: add `{word}` to `binaries` in the profile, then {jail.renewal}"


def _refused_message(jail: Jail, failure: Failure) -> str:
    brief = f"cannot execute {failure.thing} in jail {jail.name}"
    if failure.number in (errno.ENOENT, errno.ELIBBAD):
        from jailkit.backends.interpreter import interpreter_of  # Not for every command that ends.

        needs = interpreter_of(failure.head)
        if needs:
            missing = f"its interpreter {needs}, or what that one needs, is not"
            return f"{brief}: the file is there, but {missing}{_add_to_binaries(jail, needs)}"
        return f"{brief}: the file is there, but its interpreter is not"
    if failure.number == errno.ENOEXEC:
        return (
            f"{brief}: it is neither a script with a #! line nor a program for this machine"
            f"\n  Try: name its interpreter, as in: sh {failure.thing}"
        )
    if failure.number == errno.EACCES:
        return (
            f"{brief}: {os.strerror(failure.number)}; it is a directory or not executable for this user"
            "\n  Try: check its mode and owner, those of the directories above it, and that no noexec is on their mount"
        )
    return f"{brief}: {os.strerror(failure.number)}"
