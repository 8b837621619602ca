"""Where a group of ours is in each tree, by its name."""

from __future__ import annotations

import errno
import os
from typing import Final, NamedTuple

from jailkit.linux.cgroup.hierarchies import Cgroups, Hierarchy

# Version 1 does not hold these limits for groups below the one that has them: processes live in the jail's own group.
_FLAT: Final = frozenset({"blkio", "cpuset"})
# Controllers of version 1 in whose trees every group is made: for its figures, for freezing, and to find its processes.
ALWAYS: Final = frozenset({"memory", "pids", "cpuacct", "blkio", "freezer"})

# What version 2 may have to give; others, such as hugetlb, are never asked for.
_OURS: Final = frozenset({"cpu", "cpuset", "io", "memory", "pids"})


class Spot(NamedTuple):
    """A group by its name below the parent: `JAIL`, or `JAIL/LEAF`. It need not exist."""

    host: Cgroups
    name: str

    @property
    def is_leaf(self) -> bool:
        """Tell the group of an instance from that of a jail."""
        return "/" in self.name

    @property
    def jail(self) -> Spot:
        """The group that holds the limits."""
        return Spot(self.host, self.name.partition("/")[0])

    def parent(self, hierarchy: Hierarchy) -> str:
        """Give the path of the group above all jails."""
        return f"{hierarchy.top}/{self.host.parent}"

    def path(self, hierarchy: Hierarchy) -> str:
        """Give the path of this group in a tree.

        Raises:
            OSError: EINVAL for a name that would lead elsewhere.
        """
        parts = self.name.split("/")
        if len(parts) > 2 or not all(part and not part.startswith(".") for part in parts):
            raise OSError(errno.EINVAL, "not a name for a group of ours", self.name)
        return f"{self.parent(hierarchy)}/{self.name}"

    def home(self, hierarchy: Hierarchy) -> str:
        """Give the path of the group in which the processes of this one live: in a flat tree that of the jail."""
        flat = hierarchy.version == 1 and not _FLAT.isdisjoint(hierarchy.controllers)
        return self.jail.path(hierarchy) if flat else self.path(hierarchy)

    def files(self, controller: str) -> tuple[int, str] | None:
        """Find version and folder of a controller's files, by its name in version 1; None where there are none."""
        hierarchy = self.host.holding(controller)
        if hierarchy is None:  # Version 2 names one differently, and counts CPU time without any controller.
            hierarchy = self.host.holding("io") if controller == "blkio" else self.host.tree
        if hierarchy is None or hierarchy.base is None:
            return None
        home = self.home(hierarchy)
        return (hierarchy.version, home) if os.path.isdir(home) else None

    @property
    def tracker(self) -> Hierarchy | None:
        """The tree that finds and freezes processes; None where this user may use none.

        The freezer of version 1 where there is one: children enter version 2 at a price (see `Group.open_procs`). A
        user who was given neither still finds processes, and cannot freeze them.
        """
        usable = self.host.usable
        ranked = (
            *(h for h in usable if "freezer" in h.controllers),
            *(h for h in usable if h.version == 2),
            *(h for h in usable if not ALWAYS.isdisjoint(h.controllers)),
        )
        return ranked[0] if ranked else None

    @property
    def tree(self) -> Hierarchy | None:
        """The tree of version 2, if processes have to be in it: beside version 1 it often has nothing to give."""
        tree = self.host.tree
        needed = tree and tree.base is not None and (tree is self.tracker or not _OURS.isdisjoint(tree.controllers))
        return tree if needed else None
