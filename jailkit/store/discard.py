"""Deleting folders of jails, and what commands that died left behind."""

from __future__ import annotations

import fcntl
import os
from typing import Final

from jailkit.errors import StateError
from jailkit.linux.process import end_rooted_in
from jailkit.linux.remove import remove_tree
from jailkit.store.jail import MARKER, is_marked
from jailkit.store.privilege import as_root

_PATIENCE: Final = 2.0  # seconds that killed processes get to be gone


def check_marked(path: str) -> None:
    """Refuse to delete what is not jailkit's; nothing there is fine.

    Raises:
        StateError: it does not carry the marker.
    """
    if os.path.lexists(path) and not is_marked(path):
        raise StateError(
            f"cannot delete {path}: it does not carry jailkit's marker {MARKER}",
            resolution="if it is yours, delete it by hand",
        )


def sweep_one(path: str) -> None:
    """Delete a folder in drafts/ or trash/, unless somebody holds it or it was never ours."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if is_marked(path):
            remove_folder(path)
        else:
            # Made, or emptied, by a command that died that very moment. Anything more was never ours.
            os.rmdir(path)
    except OSError:
        pass  # Its builder lives, or it stays for the next sweep.
    finally:
        os.close(descriptor)


def remove_locked(doomed: tuple[str, int]) -> list[str]:
    """Do what `remove_folder` does with a folder whose lock is a descriptor, and close that."""
    path, descriptor = doomed
    try:
        return remove_folder(path)
    finally:
        os.close(descriptor)


def remove_folder(path: str) -> list[str]:
    """Delete a folder of ours, its marker last, so that what an interruption leaves is known as ours.

    What still lives in it belonged to a command that died, or that gave the folder up: it is killed before, for a tree
    must not be taken apart around a process. If that cannot be done, all of it stays. Gives what could not be deleted.
    """
    root = f"{path}/rootfs"
    try:
        left = end_rooted_in(root, _PATIENCE) if os.path.isdir(root) else []
    except OSError as error:
        return [f"rootfs: what runs in it cannot be told: {error.strerror}"]
    return [f"rootfs: process {pid} in it cannot be ended" for pid in left] or as_root(
        lambda _: remove_tree(path, last=MARKER)
    )
