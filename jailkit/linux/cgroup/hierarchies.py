"""Which cgroup trees this host has, and where in each this process may make groups, as the kernel tells."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache
from typing import Final, Literal, NamedTuple

from jailkit.linux.cgroup.files import folders, read

PARENT: Final = "jailkit"  # The only group that jailkit makes in a place that is not its own.

Mode = Literal["v1", "v2", "hybrid", "none"]


class Hierarchy(NamedTuple):
    """One tree.

    Attributes:
        version: 1 or 2.
        controllers: kernel names; version 1 says `blkio` where version 2 says `io`. A tree of version 1 that only has
            a name, and a version 2 tree beside version 1, may have none.
        point: where it is mounted.
        base: the group below which this process may make others, as a path to append to `point`: empty for the
            tree's root; None where it may not.
    """

    version: Literal[1, 2]
    controllers: tuple[str, ...]
    point: str
    base: str | None = None

    @property
    def top(self) -> str:
        """The base as a path; the tree's root where there is no base."""
        return self.point + (self.base or "")


class Cgroups(NamedTuple):
    """All trees of this host.

    Attributes:
        cpus: processors that a group of ours can have, as the kernel lists them: `0-3,6`; empty if it does not tell.
        mems: memory nodes likewise; only version 1 asks for them.
        swap: swap is counted by the memory controller.
        parent: the group above all jails.
    """

    hierarchies: tuple[Hierarchy, ...]
    cpus: str = ""
    mems: str = ""
    swap: bool = False
    parent: str = PARENT

    @property
    def mode(self) -> Mode:
        """`hybrid` has controllers on version 1 and a version 2 tree beside them."""
        old = any(h.version == 1 and h.controllers for h in self.hierarchies)
        new = self.tree is not None
        return "hybrid" if old and new else "v1" if old else "v2" if new else "none"

    @property
    def controllers(self) -> tuple[str, ...]:
        """Every controller of every tree, sorted."""
        return tuple(sorted(name for h in self.hierarchies for name in h.controllers))

    @property
    def tree(self) -> Hierarchy | None:
        """The one of version 2."""
        return next((h for h in self.hierarchies if h.version == 2), None)

    @property
    def usable(self) -> tuple[Hierarchy, ...]:
        """Those in which this process may make groups."""
        return tuple(h for h in self.hierarchies if h.base is not None)

    @property
    def writable(self) -> bool:
        """Tell whether this process may make groups in every tree that has a controller, and in at least one."""
        useful = [h for h in self.hierarchies if h.controllers]
        return bool(useful) and all(h.base is not None for h in useful)

    def holding(self, controller: str) -> Hierarchy | None:
        """Give the tree that has a controller."""
        return next((h for h in self.hierarchies if controller in h.controllers), None)


def read_cgroups(parent: str = PARENT) -> Cgroups:
    """Ask the kernel. Without /proc there is nothing to be seen, and no tree."""
    mounts, own = read("/proc/self/mountinfo"), read("/proc/self/cgroup")
    if mounts is None or own is None:
        return Cgroups((), parent=parent)
    found = find_cgroups(mounts, own, os.geteuid() == 0, lambda path: os.access(path, os.W_OK))
    return found._replace(parent=parent)


def find_cgroups(mounts: str, own: str, root: bool, may_write: Callable[[str], bool]) -> Cgroups:
    """Work it out from the texts of mountinfo and of proc_pid_cgroup(5).

    The superuser uses a tree's root: what holds a jail is its own limit, and no other's. Anybody else uses the deepest
    of the groups around this process that was given to them, so that limits from outside hold for jails too.
    """
    found = []
    for tree in _trees(mounts, own):
        given = root and may_write(tree.point)
        hierarchy = tree._replace(
            base="" if given else _delegated(tree.version, tree.point, tree.base or "", may_write)
        )
        found.append(hierarchy._replace(controllers=_offered(hierarchy)) if tree.version == 2 else hierarchy)
    return _describe(Cgroups(tuple(found)))


@lru_cache(maxsize=1)
def _trees(mounts: str, own: str) -> tuple[Hierarchy, ...]:
    """Read the two texts; the base is the group around this process. Kept, because they hardly ever change."""
    table = [_mount(line) for line in mounts.splitlines()]
    found = []
    for line in own.splitlines():
        _, names, path = line.split(":", 2)
        mount = next((m for m in table if _carries(m, names)), None)
        if mount is not None:
            controllers = tuple(n for n in names.split(",") if n and "=" not in n)
            found.append(Hierarchy(1 if names else 2, controllers, mount.point, _below(path, mount.root)))
    return tuple(found)


class _Mount(NamedTuple):
    root: str
    point: str
    kind: str
    options: frozenset[str]


def _mount(line: str) -> _Mount:
    left, _, right = line.partition(" - ")
    kind, _, rest = right.partition(" ")
    fields = left.split(" ")
    return _Mount(fields[3], fields[4], kind, frozenset(rest.rpartition(" ")[2].split(",")))


def _carries(mount: _Mount, names: str) -> bool:
    """Tell whether a mount shows the tree of these controllers; that of version 2 has no names."""
    if not names:
        return mount.kind == "cgroup2"
    return mount.kind == "cgroup" and mount.options.issuperset(names.split(","))


def _below(path: str, root: str) -> str:
    """Give a group's path below the mount; empty for what lies outside of it, or is its root."""
    inner = path.removeprefix(root.rstrip("/"))
    return "" if inner == "/" or ".." in inner else inner


def _delegated(version: int, point: str, own: str, may_write: Callable[[str], bool]) -> str | None:
    groups = [own]
    while groups[-1]:
        groups.append(groups[-1].rpartition("/")[0])
    if version == 1:
        return next((group for group in groups if may_write(point + group)), None)
    # In version 2 a group with processes cannot give controllers to groups below it: our own comes last. To move a
    # process, its old and new group need a common ancestor whose cgroup.procs may be written.
    needed = ("", "/cgroup.procs", "/cgroup.subtree_control")
    return next((g for g in [*groups[1:], own] if all(may_write(f"{point}{g}{name}") for name in needed)), None)


def _offered(tree: Hierarchy) -> tuple[str, ...]:
    return tuple((read(f"{tree.top}/cgroup.controllers") or "").split())


def _describe(found: Cgroups) -> Cgroups:
    """Add processors, nodes and the counting of swap."""
    cpuset, memory = found.holding("cpuset"), found.holding("memory")
    cpus = mems = ""
    if cpuset:
        names = ("cpuset.effective_cpus", "cpuset.effective_mems")
        if cpuset.version == 2:
            names = ("cpuset.cpus.effective", "cpuset.mems.effective")
        cpus, mems = (read(f"{cpuset.top}/{name}") or "" for name in names)
    return found._replace(cpus=cpus, mems=mems, swap=memory is not None and _counts_swap(memory))


def _counts_swap(memory: Hierarchy) -> bool:
    if memory.version == 1:
        return os.path.exists(f"{memory.top}/memory.memsw.limit_in_bytes")
    # The root group of version 2 has no such file; groups below it have one where the kernel knows swap at all.
    if memory.base:
        return os.path.exists(f"{memory.top}/memory.swap.max")
    groups = [name for name in folders(memory.point) if os.path.exists(f"{memory.point}/{name}/memory.max")]
    if groups:
        return os.path.exists(f"{memory.point}/{groups[0]}/memory.swap.max")
    return os.path.exists("/proc/swaps")
