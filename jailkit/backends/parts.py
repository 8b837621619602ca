"""What an instance is made of, looked for before it is made: what is missing then has a name and a remedy."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from jailkit.backends.instance import group_of, not_held
from jailkit.backends.view import allowed_devices, demand_of
from jailkit.errors import BackendError, StateError
from jailkit.linux.cgroup import Demand, disk_of

if TYPE_CHECKING:
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


def limits_of(jail: Jail) -> Demand:
    """Give what the cgroup of a jail is to hold.

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
    tree = group_of(jail).host.holding("devices")
    # Version 2 has no such list. But nobody in an instance can make a node, and /dev has only those of the profile.
    listed = tree is not None and tree.version == 1 and tree.base is not None
    return demand._replace(devices=allowed_devices(jail.runtime.devices) if listed else None)


def _lacks(path: str) -> str | None:
    try:
        os.stat(path)
    except OSError as error:
        return error.strerror
    return None
