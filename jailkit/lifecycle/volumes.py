"""Volumes: directories of a jail that are mounted over its tree, so that what is in them outlasts the tree."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from jailkit.errors import RealizeError, StateError
from jailkit.levels import LEVELS
from jailkit.lifecycle.carry import carry_folder
from jailkit.linux.paths import Tree
from jailkit.linux.remove import remove_tree
from jailkit.store import Jail, Store
from jailkit.store.privilege import as_root

_STAGE = "volumes"


def make_volumes(jail: Jail, store: Store, former: Jail | None = None) -> None:
    """Make the volumes that a jail in a draft does not have yet, with what its tree has at their places.

    `former` is the jail that it is an update of. What that one had in a tree of its own, and the new one shares its
    tree with others, goes into the volume in place of what the new tree has.

    Raises:
        StateError: the volumes of a new jail are there already.
        RealizeError: one could not be made.
    """
    if not LEVELS[jail.level].mount_namespace:
        return  # A volume is a directory of the tree there.
    missing = [path for path in jail.runtime.volumes if not os.path.lexists(jail.volume(path))]
    if former is None and os.path.lexists(jail.volumes):
        raise StateError(
            f"cannot make the volumes of jail {jail.name}: {jail.volumes} is in the way",
            resolution="if it is yours, move it elsewhere; what is mounted below it keeps it from being deleted",
        )
    roots = [former.rootfs] if former and former.image is None and jail.image else []
    if missing:
        as_root(lambda _: _make_all(jail, missing, store, (*roots, jail.rootfs)))


def _make_all(jail: Jail, missing: Sequence[str], store: Store, roots: tuple[str, ...]) -> None:
    try:
        for path in missing:
            _make(jail, path, store, roots)
        remove_tree(f"{jail.directory}/{_STAGE}")  # Nothing is left in it but the way to the volumes.
    except OSError as error:
        raise RealizeError.because(f"cannot make the volumes of jail {jail.name}", error) from error


def _make(jail: Jail, path: str, store: Store, roots: tuple[str, ...]) -> None:
    """Copy a directory from the first tree that has it, then put it in its place in one step."""
    stage = f"{jail.directory}/{_STAGE}"
    os.makedirs(stage, mode=0o700, exist_ok=True)
    root = next(_with_directory(path, roots), jail.rootfs)
    with Tree(root) as old, Tree(stage) as new:
        carry_folder(old, new, path)
    store.keep_volume(stage + path, jail, path)


def _with_directory(path: str, roots: tuple[str, ...]) -> Iterator[str]:
    for root in roots:
        try:
            with Tree(root) as tree:
                os.close(tree.open(path, os.O_PATH | os.O_DIRECTORY))
        except OSError:
            continue
        yield root
