"""Making groups, and writing limits into them."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator, Sequence
from typing import Final

from jailkit.linux.cgroup.files import read, write
from jailkit.linux.cgroup.hierarchies import Cgroups, Hierarchy
from jailkit.linux.cgroup.settings import Setting
from jailkit.linux.cgroup.spot import ALWAYS, Spot

# Controllers of version 2 that are passed on for figures where they are on already: turning one on is for the host.
_IF_ON: Final = frozenset({"cpu", "io", "memory", "pids"})


def make(spot: Spot, settings: Sequence[Setting]) -> None:
    """Make a group in all trees that it needs; one that exists already is good.

    Raises:
        FileNotFoundError: of a leaf: its jail's group is not there, and would have no limits if it were made here.
    """
    demanded = {setting.controller for setting in settings}
    needed, tree = demanded | ALWAYS, spot.tree
    for hierarchy in spot.host.usable:
        if hierarchy is tree:
            _make_in_tree(spot, hierarchy, demanded)
        elif hierarchy.version == 1 and not needed.isdisjoint(hierarchy.controllers):
            if not spot.is_leaf:
                _make_parent(spot, hierarchy)
            _mkdir(spot.path(hierarchy))


def apply(spot: Spot, settings: Sequence[Setting]) -> dict[Setting, str]:
    """Write the settings that do not hold yet, and give what the kernel refused.

    Raises:
        OSError: ENOENT or ENODEV: somebody has removed the group.
    """
    refusals: dict[Setting, str] = {}
    if all(shown(spot, setting) == setting.shows for setting in settings):
        return refusals
    with alone(spot, settings):
        for setting in settings:
            if shown(spot, setting) != setting.shows:
                _write(spot, setting, refusals)
    return refusals


@contextlib.contextmanager
def alone(spot: Spot, settings: Sequence[Setting]) -> Iterator[None]:
    """Keep out others who give a group the same settings: some take several writes, and show less between them.

    Raises:
        OSError: as `apply`.
    """
    folder = os.open(_folder(spot, settings[0]), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _write(spot: Spot, setting: Setting, refusals: dict[Setting, str]) -> None:
    folder = _folder(spot, setting)
    try:
        for file, value in setting.writes:
            write(f"{folder}/{file}", value)
    except OSError as error:
        if not os.path.isdir(folder):
            raise
        refusals[setting] = str(error)


def shown(spot: Spot, setting: Setting) -> frozenset[str] | None:
    """Give the lines that the kernel shows for a setting; None where there is no such file."""
    text = read(f"{_folder(spot, setting)}/{setting.file}")
    return None if text is None else frozenset(text.splitlines())


def _folder(spot: Spot, setting: Setting) -> str:
    hierarchy = spot.host.holding(setting.controller)
    if hierarchy is None or hierarchy.base is None:
        raise OSError(errno.EOPNOTSUPP, "no groups of this controller here", setting.controller)
    return spot.path(hierarchy)


def _make_in_tree(spot: Spot, tree: Hierarchy, demanded: set[str]) -> None:
    """Make a group of version 2, where each level must pass the controllers on to the next."""
    on = set((read(f"{tree.top}/cgroup.subtree_control") or "").split())
    wanted = (demanded | (on & _IF_ON)).intersection(tree.controllers)
    _pass_on(tree.top, wanted)
    _mkdir(spot.parent(tree))
    _pass_on(spot.parent(tree), wanted)
    if spot.is_leaf:
        _pass_on(spot.jail.path(tree), wanted)
    _mkdir(spot.path(tree))


def _pass_on(folder: str, controllers: set[str]) -> None:
    """Give controllers to the groups below one."""
    on = (read(f"{folder}/cgroup.subtree_control") or "").split()
    for controller in sorted(controllers.difference(on)):
        write(f"{folder}/cgroup.subtree_control", f"+{controller}")


def _make_parent(spot: Spot, hierarchy: Hierarchy) -> None:
    parent = spot.parent(hierarchy)
    _mkdir(parent)
    if "cpuset" in hierarchy.controllers:
        _fill_cpuset(spot.host, parent)


def _fill_cpuset(host: Cgroups, parent: str) -> None:
    """Give our topmost group of version 1 processors and nodes, for those below to copy: no process enters without."""
    write(f"{parent}/cgroup.clone_children", "1")
    for file, value in (("cpuset.cpus", host.cpus), ("cpuset.mems", host.mems)):
        if not read(f"{parent}/{file}"):
            write(f"{parent}/{file}", value)


def _mkdir(path: str) -> None:
    try:
        os.mkdir(path)
    except FileExistsError:
        return
