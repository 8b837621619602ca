"""A question to the host and its answer."""

from __future__ import annotations

import os
from dataclasses import dataclass

from jailkit.levels import LADDER, LevelName

ALL: tuple[LevelName, ...] = tuple(level.name for level in LADDER if level.name != "host")
CHROOTS: tuple[LevelName, ...] = ("chroot-root", "chroot")
AS_ROOT = "run as root, for example with sudo"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that this host has or lacks.

    Attributes:
        name: a word or two.
        works: it was tried, or read from the kernel, and it is there.
        evidence: what was seen.
        remedy: for a no, what to do about it.
        needed_by: the levels that do not work without it. None for something that is only better to have.
    """

    name: str
    works: bool
    evidence: str
    remedy: str | None = None
    needed_by: tuple[LevelName, ...] = ()


def from_attempt(
    name: str, error: OSError | None, evidence: str, remedy: str, needed_by: tuple[LevelName, ...]
) -> Check:
    """Make the check of something tried: `evidence` for when it came through, `remedy` for when it did not."""
    if error is None:
        return Check(name, True, evidence, None, needed_by)
    return Check(name, False, explain(error), remedy, needed_by)


def explain(error: OSError) -> str:
    """Say an error in words; those of the caller come before the system's."""
    return error.strerror or (os.strerror(error.errno) if error.errno else str(error))
