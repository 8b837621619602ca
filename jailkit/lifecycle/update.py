"""Rebuilding a jail from its profile and the host as they are now, in one exchange of folders."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from jailkit.backends.base import Gap
from jailkit.errors import RealizeError, StateError
from jailkit.host import Host
from jailkit.levels import LEVELS
from jailkit.lifecycle.carry import Carried, carry
from jailkit.lifecycle.create import Order, accept, build, check_gaps, check_level, check_privilege, order
from jailkit.lifecycle.destroy import PATIENCE, check_idle, check_mounts, end_processes
from jailkit.lifecycle.drift import drifts
from jailkit.lifecycle.runs import LOGS
from jailkit.lifecycle.stop import refuse_supervised
from jailkit.lifecycle.verify import read_manifest
from jailkit.lifecycle.volumes import make_volumes
from jailkit.linux.paths import Tree
from jailkit.manifest import Manifest, Record
from jailkit.plan.model import Omission
from jailkit.plan.planner import make_plan
from jailkit.profile import restore_profile
from jailkit.profile.paths import is_below
from jailkit.realize import Progress
from jailkit.store import Jail, Store, read_jail
from jailkit.store.privilege import as_root


@dataclass(frozen=True, slots=True)
class Update:
    """What an update changed: paths of the tree, and what became of the jail's own changes.

    `from_file` tells whether the profile's file was read again; if it is gone, the copy beside the jail is used.
    `omissions` and `gaps` are what the new plan goes without; `left` is what could not be deleted of the tree from
    before the update before.
    """

    name: str
    generation: int
    from_file: bool
    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    carried: Carried = field(default_factory=Carried)
    omissions: Sequence[Omission] = ()
    gaps: Sequence[Gap] = ()
    left: Sequence[str] = ()


def update(
    name: str,
    store: Store,
    *,
    accept_gaps: bool = False,
    force: bool = False,
    progress: Progress = lambda _: None,
) -> Update:
    """Plan the jail's profile again and exchange the jail's tree for a new one.

    Interrupted at any point, the jail is the old one or the new one. The old tree stays for `rollback`.

    Raises:
        StateError: there is no such jail, it is busy, or something is mounted below it.
        ProfileError, PlanError, GapError, RealizeError: as for create; the jail is then what it was.
    """
    with _held(name, store, force=force) as jail:
        wanted, from_file = replan(jail)
        wanted = accept(wanted, all_gaps=accept_gaps)
        old = _old_manifest(jail)
        with store.draft(name) as draft:
            new = build(wanted, draft, store, progress=progress, former=jail)
            carried = as_root(lambda _: _carry(jail, read_jail(draft), old))
            make_volumes(read_jail(draft), store, jail)
            left = store.swap(draft, name)
            _bring_logs(name, store)
    added, removed, changed = _differences(old, new)
    return Update(
        name,
        jail.generation + 1,
        from_file,
        added,
        removed,
        changed,
        carried,
        wanted.plan.omissions,
        check_gaps(wanted.plan, accept=True),
        left,
    )


@contextlib.contextmanager
def _held(name: str, store: Store, *, force: bool) -> Iterator[Jail]:
    """Hold a jail in which nothing runs and nothing is mounted; with `force` its processes are killed first."""
    if force:
        end_processes(name, store)
    else:
        refuse_supervised(name, store, "update")
    with store.locked(name, exclusive=True, patience=PATIENCE if force else 0.0) as directory:
        jail = read_jail(directory)
        check_privilege(jail.level)
        check_mounts(name, store)
        check_idle(jail, "update")
        yield jail


def replan(jail: Jail) -> tuple[Order, bool]:
    """Plan a jail again at its own level: from its profile's file, or from the copy kept when that is gone.

    Raises:
        StateError: both are gone.
        ProfileError, PlanError: as for create.
    """
    if os.path.exists(jail.source):
        return order(jail.source, jail.level), True
    try:
        with open(f"{jail.directory}/profile.json", encoding="utf-8") as file:
            profile = restore_profile(file.read())
    except (OSError, UnicodeDecodeError) as error:
        raise StateError(
            f"cannot plan jail {jail.name} again: neither {jail.source} nor the copy beside the jail can be read",
            resolution=f"put the profile back at {jail.source}",
        ) from error
    return Order(profile, jail.source, make_plan(profile, check_level(jail.level), Host())), False


def _old_manifest(jail: Jail) -> Manifest:
    """Read what was made. In an image nothing is the jail's own, so that one which is gone or damaged stops nothing."""
    try:
        return read_manifest(jail)
    except StateError:
        if jail.image is None:
            raise
        return Manifest.of([])


def _carry(jail: Jail, new_jail: Jail, manifest: Manifest) -> Carried:
    if jail.image is not None or not os.path.isdir(jail.rootfs):
        return Carried()  # Nothing in it was the jail's own, or the tree is gone: an update is what brings it back.
    try:
        with Tree(jail.rootfs) as old:
            if new_jail.image is not None:
                return Carried(dropped=[(path, _SHARED) for path in _own_paths(old, manifest, new_jail)])
            with Tree(new_jail.rootfs) as new:
                return carry(old, new, manifest, by_root=not LEVELS[jail.level].confines, shift=jail.shift)
    except OSError as error:
        raise RealizeError(
            f"cannot carry the changes of jail {jail.name} over: {error.strerror}",
            resolution="the jail is as it was; mend that and run the command again",
        ) from error


_SHARED = "the new tree is shared with other jails; `volumes` are each jail's own"


def _own_paths(old: Tree, manifest: Manifest, new: Jail) -> list[str]:
    """Give what a jail added or changed, apart from what goes into its volumes."""
    paths = {drift.path for drift in drifts(old, manifest) if drift.status is not None}
    return sorted(path for path in paths if not any(is_below(path, volume) for volume in new.runtime.volumes))


def rollback(name: str, store: Store, *, force: bool = False) -> Jail:
    """Go back to the tree from before the last update; a second rollback goes forward again.

    Raises:
        StateError: there is no such jail or no earlier tree, or the jail is busy.
    """
    with _held(name, store, force=force):
        store.rollback(name)
        _bring_logs(name, store)
    return store.load(name)


def _bring_logs(name: str, store: Store) -> None:
    """Let the logs stay with the name when the trees are exchanged; if they cannot, they stay with the tree."""
    before = f"{store.home}/previous/{name}/{LOGS}"
    if os.path.isdir(before):
        with contextlib.suppress(OSError):
            os.rename(before, f"{store.home}/jails/{name}/{LOGS}")


def _differences(old: Manifest, new: Manifest) -> tuple[list[str], list[str], list[str]]:
    added = [path for path in new.records if path not in old.records]
    removed = [path for path in old.records if path not in new.records]
    changed = [
        path for path in new.records if path in old.records and _what(new.records[path]) != _what(old.records[path])
    ]
    return added, removed, changed


def _what(record: Record) -> tuple[object, ...]:
    return (record.kind, record.mode, record.uid, record.gid, record.sha256, record.target, record.device)
