"""A policy as plain data: which system calls are refused, when, with what, and why."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Masked:
    """True for a call whose `argument`, from 0 to 5, is `value` in the bits of `mask`."""

    argument: int
    mask: int
    value: int


@dataclass(frozen=True, slots=True)
class Above:
    """True for a call whose whole `argument`, from 0 to 5, is an unsigned number greater than `value`."""

    argument: int
    value: int


Condition = Masked | Above


@dataclass(frozen=True, slots=True)
class Rule:
    """Calls that are refused.

    Attributes:
        calls: their names, as the kernel's tables have them.
        errno: the number that a refused call fails with.
        alternatives: a call is refused when all conditions of one of these hold. One without conditions always holds.
        reason: why, in a sentence.
    """

    calls: tuple[str, ...]
    errno: int
    alternatives: tuple[tuple[Condition, ...], ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Policy:
    """A filter of system calls that allows whatever no rule refuses.

    Attributes:
        newest_call: later ones in the kernel's table fail with ENOSYS: nobody has weighed them yet.
    """

    name: str
    description: str
    newest_call: str
    rules: tuple[Rule, ...]
