"""Which limit explains how a command ended, by what its cgroup counted meanwhile. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, NamedTuple

from jailkit.backends.base import ExecResult, Outcome

_NOTABLE: Final = 0.1  # of the wall time, spent waiting for a CPU limit; less is the kernel's rounding


class Marks(NamedTuple):
    """What a group has counted: kills for want of memory, forks refused, seconds of waiting for a CPU limit."""

    oom_kills: float = 0
    pids_denied: float = 0
    throttled: float = 0

    def since(self, before: Marks) -> Marks:
        """Give what came to it."""
        return Marks(*(now - then for now, then in zip(self, before, strict=True)))


def explained(result: ExecResult, met: Marks) -> ExecResult:
    """Give the result with the limit that it met as its reason.

    A time-out stays one. What the command was refused and could live with is told too: its exit code says that it did.
    """
    throttled_time = max(0.0, met.throttled)
    result = replace(result, throttled_time=throttled_time)
    if result.reason not in ("exited", "signalled") or (reason := _limit_met(result, met)) is None:
        return result
    return replace(result, reason=reason)


def _limit_met(result: ExecResult, met: Marks) -> Outcome | None:
    if met.oom_kills > 0 and not result.ok:
        return "out-of-memory"
    if met.pids_denied > 0:
        return "pids-limit"
    if met.throttled > _NOTABLE * result.wall_time:
        return "cpu-limit"
    return None
