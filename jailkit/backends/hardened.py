"""The level `chroot-hardened`: the tree of a plain chroot, with namespaces, a filter and a cgroup, and no helper."""

from __future__ import annotations

import errno
import os
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, Final

from jailkit.backends.accounts import find_account
from jailkit.backends.census import Init
from jailkit.backends.instance import end_init, find_init, init_gone, ways_into
from jailkit.backends.namespaced import Namespaced
from jailkit.backends.view import namespaces_of, view_of
from jailkit.errors import BackendError, StateError
from jailkit.levels import BackendName
from jailkit.linux.launch import Blueprint, Launched, launch, launch_apart
from jailkit.linux.userns import IdMap, Owners, make_owners
from jailkit.store.privilege import outer_namespace

if TYPE_CHECKING:
    from jailkit.linux.cgroup import Group
    from jailkit.linux.fork import Failure
    from jailkit.store import Jail

# What to do about an errno of one of the steps to an instance.
_REMEDIES: Final = {
    errno.EOPNOTSUPP: "keep it on a file system that can map ids, such as ext4, xfs, btrfs or tmpfs",
    errno.ENOENT: "jailkit verify {jail.name} tells what its tree lacks; {jail.renewal}",
    errno.EPERM: "run it as root with all its capabilities",
}
_KEPT: Final = 16  # jails whose user namespaces a process keeps at hand


class HardenedBackend(Namespaced):
    """Makes namespaces by itself."""

    name: ClassVar[BackendName] = "chroot"

    def launch(self, jail: Jail, leaf: Group, *, transient: bool, ephemeral: bool) -> Init:
        """Start the init of an instance. It makes that by itself; who is to do something to it, waits here until then.

        Raises:
            BackendError: it could not be made.
        """
        try:
            with ways_into(leaf) as ways:
                outer = outer_namespace()
                blueprint = Blueprint(
                    view=view_of(jail, ephemeral=ephemeral),
                    owners=_owners_of(jail, outer),
                    maps=_maps_of(jail, (os.geteuid(), os.getegid())),
                    namespaces=namespaces_of(jail.runtime.isolation, user=False),
                    hostname=jail.name,
                    title=leaf.name,
                    tasks=ways,
                    tied=transient,
                    outer=outer,
                    rooted=not jail.has_one_id,
                )
                return self._launched(jail, blueprint, leaf) if transient else _launched_apart(jail, blueprint, leaf)
        except OSError as error:
            raise BackendError(f"cannot make namespaces for jail {jail.name}: {error.strerror}") from error

    def _launched(self, jail: Jail, blueprint: Blueprint, leaf: Group) -> Init:
        launched = launch(blueprint)
        init = Init(launched.child.pid, launched.child.pidfd, launched)
        # An ordinary user enters from the user namespace above that of the init, which has to be there then.
        if blueprint.outer is None and jail.runtime.isolation.network != "bridge":
            return init
        if why := self.unmade(jail, leaf, launched):
            end_init(init)
            init.close()
            raise why
        return init

    def unmade(self, jail: Jail, leaf: Group, launched: Launched) -> BackendError | None:
        """Wait for an instance that is being made, and say why that failed, if it did."""
        failure = launched.failure()
        return _not_made(jail, leaf, failure) if failure else None


def _launched_apart(jail: Jail, blueprint: Blueprint, leaf: Group) -> Init:
    if failure := launch_apart(blueprint):
        raise _not_made(jail, leaf, failure)
    init = find_init(leaf, jail.ids)
    if init is None:
        raise init_gone(jail, leaf)
    return init


def _not_made(jail: Jail, leaf: Group, failure: Failure) -> BackendError:
    if failure.number == errno.ECHILD:
        return init_gone(jail, leaf)
    thing = f"{failure.thing}: " if failure.thing else ""
    return BackendError(
        f"cannot enter jail {jail.name}: cannot {failure.step}: {thing}{os.strerror(failure.number)}",
        resolution=_REMEDIES.get(failure.number, "").format(jail=jail) or None,
    )


def _range_of(jail: Jail) -> tuple[int, int]:
    if jail.ids is None:
        raise StateError(f"cannot start jail {jail.name}: it has no range of ids of its own", resolution=jail.renewal)
    return jail.ids


def _owners_of(jail: Jail, outer: int | None) -> Owners:
    if outer is None:
        return _owners(_range_of(jail))
    return _owners_within(outer, *_maps_of(jail, (0, 0)))  # The caller is 0 out there.


def _maps_of(jail: Jail, caller: tuple[int, int]) -> tuple[IdMap, IdMap]:
    """Give the maps of the jail's uids and gids, where the caller has those."""
    if jail.has_one_id:
        account = find_account(jail, None)
        return IdMap(account.uid, caller[0], 1), IdMap(account.gid, caller[1], 1)
    base, size = _range_of(jail)
    return IdMap(0, base, size), IdMap(0, base, size)


@lru_cache(maxsize=_KEPT)
def _owners(ids: tuple[int, int]) -> Owners:
    return make_owners(*ids)


@lru_cache(maxsize=_KEPT)
def _owners_within(outer: int, uids: IdMap, gids: IdMap) -> Owners:
    from jailkit.linux.outer import make_inner

    inner = make_inner(outer, [uids], [gids])
    return Owners(inner, inner)  # No mount maps ids there, so that one is enough.
