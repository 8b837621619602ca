"""What an instance is made of, looked for before it is made: what is missing then has a name and a remedy."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from jailkit.backends.census import gone
from jailkit.backends.instance import MOMENT, not_held, read_back
from jailkit.backends.view import allowed_devices, demand_of
from jailkit.errors import BackendError, StateError
from jailkit.linux.cgroup import Cgroups, Demand, disk_of
from jailkit.store.privilege import superuser

if TYPE_CHECKING:
    from jailkit.backends.census import Init
    from jailkit.linux.cgroup import Group
    from jailkit.store import Jail


def check_parts(jail: Jail) -> None:
    """Refuse to make an instance of what is not there.

    Raises:
        StateError: the jail's tree or one of its volumes is gone.
        BackendError: something of the host that the profile mounts is.
    """
    own = {"tree": jail.rootfs} | {f"volume {path}": jail.volume(path) for path in jail.runtime.volumes}
    for what, path in own.items():
        if why := _lacks(path):
            raise StateError(f"cannot enter jail {jail.name}: its {what}, {path}: {why}", resolution=jail.renewal)
    for mount in jail.runtime.mounts:
        if mount.source and (why := _lacks(mount.source)):
            raise BackendError(
                f"cannot enter jail {jail.name}: {mount.source}, which is mounted at {mount.target}: {why}",
                resolution=f"make it, or take it out of `mounts` in the profile, then {jail.renewal}",
            )


def check_enterable(jail: Jail, leaf: Group, init: Init) -> None:
    """Refuse to enter an instance that is frozen, or in which a command from here would not be under its limits.

    The groups of an ordinary user's jails are below the one that the caller was given. So somebody who was given
    another, by another login for example, has no way into them.

    Raises:
        StateError: it is frozen.
        BackendError: the limits would not hold.
    """
    # To kill all at once they are frozen too, but not for long.
    if leaf.frozen() and not gone(init.pidfd, MOMENT) and leaf.frozen():
        raise StateError(f"cannot enter jail {jail.name}: it is frozen", resolution=f"jailkit unfreeze {jail.name}")
    if superuser():
        return
    limits = limits_of(jail, leaf.host)
    wrong = read_back(jail, leaf.whole, limits)
    if not wrong and limits != Demand() and not leaf.exists():
        wrong = [f"{leaf.name} is in a cgroup elsewhere"]
    if wrong:
        raise not_held(jail, [*wrong, "only from the cgroup in which it was started is there a way into its own"])


def limits_of(jail: Jail, host: Cgroups) -> Demand:
    """Give what the cgroup of a jail is to hold on a host.

    Raises:
        BackendError: IO is to be limited on what is no disk.
    """
    limits = jail.runtime.limits
    disks = {}
    for limit in limits.io if "limits.io" not in jail.accepted else ():
        try:
            disks[limit.path] = disk_of(limit.path)
        except OSError as error:
            why = f"limits.io: no disk can be told for {limit.path}: {error.strerror}"
            raise not_held(jail, [why]) from error
    demand = demand_of(limits, disks, jail.accepted)
    tree = host.holding("devices")
    # Version 2 has no such list. But nobody in an instance can make a node, and /dev has only those of the profile.
    listed = superuser() and tree is not None and tree.version == 1 and tree.base is not None
    return demand._replace(devices=allowed_devices(jail.runtime.devices) if listed else None)


def _lacks(path: str) -> str | None:
    try:
        os.stat(path)
    except OSError as error:
        return error.strerror
    return None
