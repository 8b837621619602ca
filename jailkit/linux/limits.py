"""A limit of the kernel's own, and those that a caller may set for a child without any privilege."""

from __future__ import annotations

import resource
from collections.abc import Iterable
from typing import Final

MAX_LINKS: Final = 40  # symbolic links followed for one path (path_resolution(7))


def within_present(limits: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Lower pairs of an RLIMIT_* number and a value to the hard limits of this process (getrlimit(2)).

    Raising those takes a capability, and nobody asked for more.
    """
    result = []
    for number, value in limits:
        hard = resource.getrlimit(number)[1]
        result.append((number, value if hard == resource.RLIM_INFINITY else min(value, hard)))
    return result
