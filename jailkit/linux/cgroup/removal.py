"""Removing groups: leafs first, and no longer than others need what is above."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import Final

from jailkit.linux.cgroup.files import folders
from jailkit.linux.cgroup.keeping import removing_parents
from jailkit.linux.cgroup.patience import wait
from jailkit.linux.cgroup.spot import Spot

_PATIENCE: Final = 1.0  # seconds in which others make groups; longer than LXC takes for one


def remove(spot: Spot) -> None:
    """Remove a group and all below it, and those above that are empty then; it may be gone in part or whole.

    Raises:
        OSError: EBUSY: there are processes in it; the other trees were gone through all the same.
    """
    failures = []
    for hierarchy in spot.host.usable:
        try:
            _remove_all(spot.path(hierarchy))
            if spot.is_leaf:
                _remove_empty(spot.jail.path(hierarchy))
        except OSError as error:
            failures.append(error)
    _remove_parents(spot, _PATIENCE)
    if failures:
        raise failures[0]


def discard(spot: Spot) -> None:
    """Take back what was just made: a group and those above it, as far as nothing is in them."""
    for hierarchy in spot.host.usable:
        for path in (spot.path(hierarchy), spot.jail.path(hierarchy)):
            _rmdir(path)
    _remove_parents(spot, 0.0)  # This process may be one of those that keep them.


def _remove_parents(spot: Spot, patience: float) -> None:
    """Remove the groups above all jails, where they are empty."""
    parents = [spot.parent(hierarchy) for hierarchy in spot.host.usable]
    empty = [path for path in parents if os.path.isdir(path) and not folders(path)]
    if empty:
        with removing_parents(patience) as free:
            for path in empty if free else ():
                _rmdir(path)


def _remove_all(path: str) -> None:
    if _rmdir(path):
        return
    for name in folders(path):
        _remove_all(f"{path}/{name}")
    try:
        wait(lambda: _rmdir(path), "")
    except TimeoutError as error:
        raise OSError(errno.EBUSY, "cannot be removed: processes are in it", path) from error


def _remove_empty(path: str) -> None:
    """Remove a group unless others are below it: another process may be using it, or make it again at any moment."""
    if _rmdir(path):
        return

    def settled() -> bool:
        return _rmdir(path) or bool(folders(path))

    with contextlib.suppress(TimeoutError):
        wait(settled, "")


def _rmdir(path: str) -> bool:
    """Remove a group; False while there are groups below it or processes in it, be they just ending."""
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False
    return True
