"""Everything jailkit raises on purpose, in one tree.

JailkitError
├── UsageError          the call itself is wrong                       exit 2
├── ProfileError        the profile is wrong: all faults at once       exit 2
├── PrivilegeError      needs root, or a capability
├── ElfError            a file is not an ELF that a loader would take
├── PlanError           the host cannot give what the profile asks for
├── GapError            a level cannot enforce what the profile asks for
├── StateError          a jail is not in the state that the verb needs
├── RealizeError        a tree could not be written
└── BackendError        a mechanism of isolation failed

An error that is none of these is a bug of jailkit and keeps its traceback.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self


class JailkitError(Exception):
    """Something failed that a user, a profile, a file or a host can cause.

    Args:
        brief: one line, "cannot <verb> <object>" and why.
        details: further lines, one fact each.
        resolution: what the user can do about it; a command where one exists.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, brief: str, *, details: Sequence[str] = (), resolution: str | None = None) -> None:
        super().__init__(brief)
        self.brief = brief
        self.details = tuple(details)
        self.resolution = resolution

    def __str__(self) -> str:
        """Give the three parts, a line each, as a terminal shows them."""
        lines = [self.brief, *(f"  {line}" for line in self.details)]
        if self.resolution:
            lines.append(f"  Try: {self.resolution}")
        return "\n".join(lines)


class UsageError(JailkitError):
    """The arguments of a command or of an API call make no sense."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a profile. `line` and `column` count from 1; 0 is unknown."""

    file: str
    line: int
    column: int
    key: str
    message: str
    suggestion: str | None = None

    def __str__(self) -> str:
        """Give `file:line:column: key: message`, the form that editors jump to."""
        where = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        key = f" {self.key}:" if self.key else ""
        hint = f" (did you mean `{self.suggestion}`?)" if self.suggestion else ""
        return f"{where}:{key} {self.message}{hint}"


class ProfileError(JailkitError):
    """A profile is wrong. `faults` holds everything that is wrong with it, in file order."""

    exit_code = 2

    def __init__(self, faults: Sequence[Fault], *, resolution: str | None = None) -> None:
        self.faults = tuple(faults)
        count = f"{len(faults)} fault{'s' if len(faults) != 1 else ''}"
        files = ", ".join(dict.fromkeys(fault.file for fault in faults))
        super().__init__(
            f"cannot use profile {files}: {count}",
            details=[str(fault) for fault in faults],
            resolution=resolution,
        )


class PrivilegeError(JailkitError):
    """The caller lacks a privilege that the kernel demands for this."""


class ElfError(JailkitError):
    """A file is not an ELF object, or is one that no loader would accept."""


class PlanError(JailkitError):
    """The host does not have what the profile asks for, or the profile asks for two things at once."""


class GapError(JailkitError):
    """Settings of the profile would not hold at this level on this host."""


class StateError(JailkitError):
    """A jail exists, is missing, is busy or is damaged, and the verb needs it otherwise."""


class RealizeError(JailkitError):
    """A file operation below a root failed."""

    @classmethod
    def because(cls, brief: str, error: OSError) -> Self:
        """Give the error for a system call that failed; `brief` lacks only the reason."""
        return cls(f"{brief}: {error.strerror or error}", resolution=_REMEDIES.get(error.errno or 0))


_SPACE = "free some space where the jails are, or put them on another file system with --home"
_CHANGED = "the host changed meanwhile: run the command again"
_REMEDIES = {
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: _SPACE,
    errno.EPERM: "run as root; a file system or container that forbids this needs another --home",
    errno.EACCES: "run as root, or take the file out of the profile",
    errno.EROFS: "name a writable folder with --home",
    errno.ENOENT: _CHANGED,
    errno.ESTALE: _CHANGED,
}


class BackendError(JailkitError):
    """The kernel or a container library refused a step of entering or leaving a jail."""
