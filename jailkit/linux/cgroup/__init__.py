"""Control groups of version 1, version 2 and both at once, behind one interface (cgroups(7)).

`read_cgroups` tells what this host has, `settings` translates limits to files and values, and a `Group` makes,
checks, freezes, kills, measures and removes. A jail has a group that holds its limits and no process,
`PARENT/JAIL`, and below it one a living instance, `PARENT/JAIL/LEAF`.
"""

from __future__ import annotations

from jailkit.linux.cgroup.disks import disk_of
from jailkit.linux.cgroup.group import Group, LimitsRefusedError, Mismatch
from jailkit.linux.cgroup.hierarchies import Cgroups, Hierarchy, read_cgroups
from jailkit.linux.cgroup.settings import Demand, Io, Missing, Setting, settings
from jailkit.linux.figures import Stats

__all__ = [
    "Cgroups",
    "Demand",
    "Group",
    "Hierarchy",
    "Io",
    "LimitsRefusedError",
    "Mismatch",
    "Missing",
    "Setting",
    "Stats",
    "disk_of",
    "read_cgroups",
    "settings",
]
