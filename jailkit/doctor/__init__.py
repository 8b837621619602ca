"""What this host can do, level by level, found by trying."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jailkit.doctor.containers import container_checks
from jailkit.doctor.home import home_checks
from jailkit.doctor.model import Check
from jailkit.doctor.privileges import privilege_checks
from jailkit.levels import DEFAULT_LEVEL, LADDER, Level
from jailkit.store import Store

__all__ = ["Check", "Diagnosis", "Verdict", "examine", "judge"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a level works here; `lacks` names the checks in its way, `reason` says it in a line."""

    level: Level
    works: bool
    lacks: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Everything that was tried, and what follows from it."""

    home: str
    checks: tuple[Check, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def works(self) -> bool:
        """True when the level that profiles get by default works here."""
        return any(verdict.works for verdict in self.verdicts if verdict.level.name == DEFAULT_LEVEL)


def examine(home: str | None = None) -> Diagnosis:
    """Try everything, for jails in `home` or in the default place. Changes nothing that stays."""
    place = Store(home).home
    checks = (*privilege_checks(), *home_checks(place), *container_checks())
    return Diagnosis(place, checks, tuple(judge(level, checks) for level in LADDER))


def judge(level: Level, checks: Sequence[Check]) -> Verdict:
    """Decide about one level from the checks that it needs."""
    lacks = tuple(check.name for check in checks if level.name in check.needed_by and not check.works)
    if level.backend == "host":
        return Verdict(level, True, (), "the host itself")
    if not level.available:
        ready = f"this host lacks {', '.join(lacks)}" if lacks else "this host is ready for it"
        return Verdict(level, False, lacks, f"not in this version; {ready}")
    if "root" in lacks:
        return Verdict(level, False, lacks, "needs root; `sudo jailkit doctor` tells whether root can")
    if lacks:
        return Verdict(level, False, lacks, f"lacks {', '.join(lacks)}")
    return Verdict(level, True, (), "works here")
