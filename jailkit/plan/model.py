"""The plan: what will be done, as plain data. Same profile and same host, same plan.

Paths are absolute paths inside the jail, normalized, and no parent of one is a symbolic link of the plan.
What entering a jail needs of it is in `plan.settings`, whose names can be had from here too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jailkit.levels import LevelName
from jailkit.plan.settings import Account, Destination, IoLimit, Isolation, Limits, Mount, Port, Runtime, Smoke

__all__ = [
    "Account",
    "Because",
    "Copy",
    "Destination",
    "Device",
    "Directory",
    "Entry",
    "IoLimit",
    "Isolation",
    "Limits",
    "Mount",
    "Omission",
    "Plan",
    "Port",
    "Reason",
    "Runtime",
    "Smoke",
    "Symlink",
    "Text",
]

Because = Literal[
    "named",
    "base",
    "parent",
    "link",
    "library",
    "variant",
    "interpreter",
    "script-interpreter",
    "package",
    "tree",
    "hidden",
    "account",
    "volume",
    "mount",
]


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a path is in the jail.

    Attributes:
        key: the profile key that started the chain, such as `binaries[2]`, or `base` for what every jail has.
        because: how this path follows from `via` (or from the key itself, when `via` is None).
        via: the path in the jail that wanted this one.
    """

    key: str
    because: Because
    via: str | None = None


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory to make."""

    path: str
    reason: Reason
    mode: int = 0o755
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True)
class Copy:
    """A regular file to copy from `source` on the host. `mode` is what the copy gets, mtime is the source's."""

    path: str
    source: str
    reason: Reason
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    keep_privileges: bool = False


@dataclass(frozen=True, slots=True)
class Text:
    """A small file whose content is known to the plan."""

    path: str
    content: str
    reason: Reason
    mode: int = 0o644
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True)
class Symlink:
    """A symbolic link, its target kept as the host or the profile spells it."""

    path: str
    target: str
    reason: Reason


@dataclass(frozen=True, slots=True)
class Device:
    """A character device node from the short list that a jail may have."""

    path: str
    major: int
    minor: int
    reason: Reason
    mode: int = 0o666
    uid: int = 0
    gid: int = 0


Entry = Directory | Copy | Text | Symlink | Device


@dataclass(frozen=True, slots=True)
class Omission:
    """Something optional that the host does not have, so that the jail goes without it."""

    key: str
    message: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that create will do: entries sorted by path, parents before children.

    `owners` pairs each copied host path with the package that owns it, `packages` each package with its version.
    """

    profile: str
    description: str
    level: LevelName
    entries: tuple[Entry, ...]
    runtime: Runtime
    owners: tuple[tuple[str, str], ...] = ()
    packages: tuple[tuple[str, str], ...] = ()
    omissions: tuple[Omission, ...] = ()
    accept_gaps: tuple[str, ...] = ()
