"""Making jails: profile -> plan -> draft -> jail."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from jailkit.backends import backend_for
from jailkit.backends.base import Gap
from jailkit.errors import GapError, PrivilegeError, StateError, UsageError
from jailkit.host import Host
from jailkit.levels import LADDER, LEVELS, LevelName
from jailkit.lifecycle.destroy import end_all
from jailkit.lifecycle.image import image_for, shares
from jailkit.lifecycle.ownership import ownership
from jailkit.lifecycle.volumes import make_volumes
from jailkit.manifest import Manifest
from jailkit.plan.model import Plan
from jailkit.plan.planner import make_plan
from jailkit.profile import Profile, dump_profile, find_profile, load_profile
from jailkit.realize import Progress, realize
from jailkit.store import Image, Jail, Store, check_name, exists, read_jail, write_text
from jailkit.store.ids import IdRegistry
from jailkit.store.privilege import as_root, superuser


@dataclass(frozen=True, slots=True)
class Order:
    """A profile that was read and planned: what `create` and `update` carry out."""

    profile: Profile
    source: str
    plan: Plan


def order(profile: str, level: str | None = None, host: Host | None = None) -> Order:
    """Read a profile, given by path or by the name of a shipped one, and plan it.

    Raises:
        ProfileError: the profile is wrong or there is none.
        UsageError: there is no such level.
        StateError: the level is none that this version can make.
        PlanError: the host lacks what the profile asks for.
    """
    source = os.path.abspath(find_profile(profile))
    loaded = load_profile(source)
    chosen = check_level(level or loaded.level)
    return Order(loaded, source, make_plan(loaded, chosen, host or Host()))


def check_level(name: str) -> LevelName:
    """Give the level of that name, if this version can make it.

    Raises:
        UsageError: there is no such level.
        StateError: this version cannot.
    """
    level = LEVELS.get(name)
    can = ", ".join(level.name for level in LADDER if level.available)
    if level is None:
        raise UsageError(f"cannot use level {name!r}: there is none of that name", resolution=f"one of {can}")
    if not level.available:
        why = "it is no isolation at all" if name == "host" else "this version of jailkit does not have it"
        raise StateError(f"cannot create at level {name}: {why}", resolution=f"one of {can}")
    return level.name


def check_gaps(plan: Plan, *, accept: bool) -> Sequence[Gap]:
    """Give the gaps that were accepted.

    Raises:
        GapError: a setting would not hold, and neither the profile nor the caller accepts that.
    """
    gaps = backend_for(plan.level).gaps(plan)
    refused = [gap for gap in gaps if not accept and gap.key not in plan.accept_gaps]
    if refused:
        raise GapError(
            f"cannot create at level {plan.level}: {len(refused)} setting{'s' if len(refused) > 1 else ''} "
            "of the profile would not hold",
            details=[f"{gap.key}: {gap.reason}; {gap.remedy}" for gap in refused],
            resolution="another --level, list the keys under `accept-gaps` in the profile, or pass --accept-gaps",
        )
    return gaps


def accept(wanted: Order, *, all_gaps: bool) -> Order:
    """Give the order with every gap that it has under `accept_gaps`, those included that only the caller accepts.

    Raises:
        GapError: as `check_gaps`.
    """
    keys = [gap.key for gap in check_gaps(wanted.plan, accept=all_gaps)]
    accepted = tuple(dict.fromkeys((*wanted.plan.accept_gaps, *keys)))
    return replace(wanted, plan=replace(wanted.plan, accept_gaps=accepted))


def check_privilege(level: LevelName) -> None:
    """Refuse a level that needs root when the caller is not root.

    Raises:
        PrivilegeError: it is not.
    """
    if LEVELS[level].needs_root and not superuser():
        raise PrivilegeError(
            f"cannot create at level {level}: chroot(2) and mknod(2) need root",
            resolution="run it as root, for example with sudo",
        )


def create(
    wanted: Order,
    store: Store,
    *,
    name: str | None = None,
    accept_gaps: bool = False,
    progress: Progress = lambda _: None,
) -> Jail:
    """Make a jail. Killed at any moment, it leaves nothing that looks like one.

    Raises:
        GapError, PrivilegeError: the level cannot hold the profile, or cannot be made by this user.
        StateError: the name is taken or impossible.
        RealizeError: the tree could not be written.
    """
    name = check_name(name or wanted.profile.name)
    wanted = accept(wanted, all_gaps=accept_gaps)
    check_privilege(wanted.plan.level)
    if name in store.names():
        raise exists(name)
    with store.draft(name) as draft:
        build(wanted, draft, store, progress=progress)
        make_volumes(read_jail(draft), store)
        store.publish(draft, name)
    return store.load(name)


def build(wanted: Order, draft: str, store: Store, *, progress: Progress, former: Jail | None = None) -> Manifest:
    """Fill a draft: a tree or an image to stand on, then the records that make it a jail, jail.json last.

    `former` is the jail that it is an update of.
    """
    plan, profile = wanted.plan, dump_profile(wanted.profile)
    jail = _describe(wanted, draft, former)
    if shares(jail):
        # The image is locked until the record names it.
        with image_for(plan, profile, store, progress) as standing:
            _keep_profile(profile, draft, standing.image)
            _write_records(replace(jail, image=standing.image.digest))
        return standing.manifest
    records = as_root(lambda tell: realize(plan, jail.rootfs, tell, jail.shift), progress)
    manifest = Manifest.of(records, plan.packages)
    write_text(f"{draft}/manifest.json", manifest.parts())
    write_text(f"{draft}/profile.json", [profile])
    _write_records(jail)
    return manifest


def _keep_profile(profile: str, draft: str, image: Image) -> None:
    """Keep a profile beside a jail: as a further name of the image's, which takes no room, if that is the same."""
    shared = f"{image.directory}/profile.json"
    try:
        with open(shared, encoding="utf-8") as file:
            if file.read() == profile:
                return os.link(shared, f"{draft}/profile.json")
    except (OSError, UnicodeDecodeError):
        pass  # It is gone or damaged, or has as many names as a file can have.
    return write_text(f"{draft}/profile.json", [profile])


def _describe(wanted: Order, draft: str, former: Jail | None) -> Jail:
    plan = wanted.plan
    owned = ownership(plan.level, draft, former)
    return Jail(
        name=os.path.basename(draft),
        profile=plan.profile,
        source=wanted.source,
        description=plan.description,
        level=plan.level,
        created=time.time(),
        generation=former.generation + 1 if former else 1,
        runtime=replace(plan.runtime, root_accepted="isolation.user" in plan.accept_gaps),
        directory=draft,
        ids=owned.ids,
        shifted=owned.shifted,
        accepted=plan.accept_gaps,
    )


def _write_records(jail: Jail) -> None:
    backend_for(jail.level).create(jail)
    write_text(f"{jail.directory}/jail.json", [jail.dumps()])


@contextlib.contextmanager
def temporary(wanted: Order, store: Store, *, progress: Progress = lambda _: None) -> Iterator[Jail]:
    """Make a jail for one use, and delete it and end what runs in it when that is over.

    A caller who takes gaps that the profile does not has accepted them with `accept`.

    It stays a draft, under a lock that ends with this process: so it is no jail to others, and if this process is
    killed, the next command sweeps it.

    Raises:
        GapError, PrivilegeError, RealizeError: as `create`.
    """
    wanted = accept(wanted, all_gaps=False)
    check_privilege(wanted.plan.level)
    name = f"{wanted.profile.name[:50]}-{os.urandom(4).hex()}"
    try:
        with store.draft(name) as draft:
            build(wanted, draft, store, progress=progress)
            jail = read_jail(draft)
            make_volumes(jail, store)
            try:
                yield jail
            finally:
                end_all(jail)
                backend_for(jail.level).release(jail)
    finally:
        IdRegistry().sweep()  # The folder whose ids they were is gone.
