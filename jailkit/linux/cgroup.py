"""Which cgroup hierarchies this host has, as the kernel tells (cgroups(7))."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Mode = Literal["v1", "v2", "hybrid", "none"]


@dataclass(frozen=True, slots=True)
class Cgroups:
    """What is mounted.

    Attributes:
        mode: `hybrid` has controllers on version 1 and a version 2 tree beside them.
        controllers: kernel names; version 1 says `blkio` where version 2 says `io`.
        points: where each controller's tree, or the unified one, is mounted.
    """

    mode: Mode
    controllers: tuple[str, ...]
    points: tuple[str, ...]


def read_cgroups() -> Cgroups:
    """Ask the kernel. Without /proc there is nothing to be seen, and the mode is `none`."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
        known = Path("/proc/cgroups").read_text(encoding="ascii")
    except OSError:
        return Cgroups("none", (), ())
    return find_cgroups(mounts, known, _unified_controllers)


def _unified_controllers(point: str) -> str:
    try:
        return Path(point, "cgroup.controllers").read_text(encoding="ascii")
    except OSError:
        return ""


def find_cgroups(mounts: str, known: str, unified: Callable[[str], str]) -> Cgroups:
    """Work it out from the texts of mountinfo and /proc/cgroups; `unified` reads a cgroup.controllers."""
    names = {line.split()[0] for line in known.splitlines() if line and not line.startswith("#")}
    found: dict[str, str] = {}
    trees: list[str] = []
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        point = left.split(" ")[4]
        if kind == "cgroup":
            found |= {name: point for name in options.split(",") if name in names}
        elif kind == "cgroup2":
            trees.append(point)
    version_1 = bool(found)
    for tree in trees:
        found |= dict.fromkeys(unified(tree).split(), tree)
    mode: Mode = "hybrid" if version_1 and trees else "v1" if version_1 else "v2" if trees else "none"
    return Cgroups(mode, tuple(sorted(found)), tuple(dict.fromkeys([*found.values(), *trees])))


def writable(cgroups: Cgroups) -> bool:
    """Tell whether this process may make cgroups below every mounted tree."""
    return bool(cgroups.points) and all(os.access(point, os.W_OK) for point in cgroups.points)
