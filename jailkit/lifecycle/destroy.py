"""Deleting jails without ever deleting anything else."""

from __future__ import annotations

import signal

from jailkit.backends import backend_for
from jailkit.errors import StateError
from jailkit.levels import LEVELS
from jailkit.lifecycle.stop import end, refuse_supervised, running
from jailkit.linux.mountinfo import mounts_below
from jailkit.store import Jail, Store, is_marked, read_jail
from jailkit.store.ids import IdRegistry
from jailkit.store.subids import IdRange
from jailkit.text import counted

PATIENCE = 5.0  # seconds that the callers of killed processes get to let go of the lock


def destroy(name: str, store: Store, *, force: bool = False) -> None:
    """Delete a jail and what it was before its last update.

    With `force`, processes inside are killed first, and a jail with a damaged record is deleted too.

    Raises:
        StateError: there is no such jail, it is in use, something is mounted below it, it does not carry jailkit's
            marker, or something in it could not be deleted.
        BackendError: what runs in it cannot be told.
    """
    if force:
        end_processes(name, store)
    else:
        refuse_supervised(name, store, "destroy")
    with store.locked(name, exclusive=True, patience=PATIENCE if force else 0.0) as directory:
        jail = _check(name, directory, store, force=force)
        if jail:
            backend_for(jail.level).release(jail)
        failures = store.discard(name)
    if jail and jail.ids:
        IdRegistry().release(IdRange(*jail.ids), jail.directory)
    if failures:
        raise StateError(
            f"cannot delete all of jail {name}: {counted(len(failures), 'path')} left in {store.home}/trash",
            details=failures[:20],
            resolution="mend the reason (lsattr shows immutable files) and run any jailkit command again",
        )


def _check(name: str, directory: str, store: Store, *, force: bool) -> Jail | None:
    """Refuse to delete what is no jail or is in use. Gives the jail, None for one with a damaged record."""
    if not is_marked(directory):
        raise StateError(
            f"cannot destroy {directory}: it does not carry jailkit's marker",
            resolution="if it is yours, delete it by hand",
        )
    check_mounts(name, store)
    try:
        jail = read_jail(directory)
    except (OSError, StateError) as error:
        if not force:
            raise StateError(
                f"cannot destroy jail {name}: its record is damaged",
                resolution=f"jailkit destroy --force {name}",
            ) from error
        return None
    check_idle(jail, "destroy")
    return jail


def check_mounts(name: str, store: Store) -> None:
    """Refuse to touch a jail in which, in whose earlier tree or in whose volumes something is mounted.

    It may be somebody's data.

    Raises:
        StateError: something is.
    """
    folders = [f"{store.home}/{folder}/{name}" for folder in ("jails", "previous", "volumes")]
    try:
        mounts = [point for folder in folders for point in mounts_below(folder)]
    except OSError as error:
        raise StateError(
            f"cannot change jail {name}: it cannot be told whether something is mounted below it: {error.strerror}",
            resolution="mount -t proc proc /proc",
        ) from error
    if mounts:
        raise StateError(
            f"cannot change jail {name}: {counted(len(mounts), 'mount')} below it",
            details=mounts,
            resolution=f"umount {mounts[-1]}",
        )


def check_idle(jail: Jail, verb: str) -> None:
    """Refuse while a jail runs or processes live in it; `verb` is the command that would end them with --force.

    Raises:
        StateError: it does, or some do.
    """
    backend = backend_for(jail.level)
    # Without namespaces a jail runs while processes live in it, and which ones says more.
    if LEVELS[jail.level].mount_namespace and backend.status(jail) != "stopped":
        raise running(jail.name, verb)
    pids = backend.processes(jail)
    if pids:
        raise StateError(
            f"cannot {verb} jail {jail.name}: {counted(len(pids), 'process')} in it",
            details=[f"pid {pid}" for pid in pids[:20]],
            resolution=f"end them, or jailkit {verb} --force {jail.name}",
        )


def end_processes(name: str, store: Store) -> None:
    """Stop the jail `name` at once, and kill every process in it.

    With a damaged record none is looked for before its tree is deleted.

    Raises:
        StateError, BackendError: as `end_all`.
    """
    directory = f"{store.home}/jails/{name}"
    try:
        jail = read_jail(directory)
    except (OSError, StateError):
        return  # A damaged record: `destroy` decides.
    end(jail, signal.SIGKILL, 0.0)
    end_all(jail)


def end_all(jail: Jail) -> None:
    """Kill every process in a jail and wait until they are gone.

    Raises:
        StateError: some are still there after some seconds.
        BackendError: new ones may be there, because processes come and go so fast.
    """
    pids = backend_for(jail.level).kill(jail)
    if pids:
        raise StateError(f"cannot end the processes of jail {jail.name}", details=[f"pid {pid}" for pid in pids[:20]])
