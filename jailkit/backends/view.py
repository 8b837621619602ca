"""From a jail to what its instances see, in which namespaces, under which limits. Pure."""

from __future__ import annotations

import stat
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Final, TypeVar

from jailkit.linux.cgroup import Demand, Io
from jailkit.linux.devices import DEVICES
from jailkit.linux.launch import NAMESPACES
from jailkit.linux.view import Graft, Memory, View

if TYPE_CHECKING:
    from jailkit.plan.settings import Isolation, Limits
    from jailkit.store import Jail

_TMP: Final = "/tmp"  # noqa: S108 - where the jail has its own; nothing is written to the host's
TMP_SIZE: Final = 64 << 20  # bytes of a /tmp that no mount of the profile covers
_TMPFS_SIZE: Final = 64 << 20  # bytes of a tmpfs for which the profile says nothing
_Value = TypeVar("_Value")
_OPEN_MODE: Final = stat.S_ISVTX | 0o777


def view_of(jail: Jail, *, ephemeral: bool = False) -> View:
    """Describe what the instances of a jail see."""
    runtime = jail.runtime
    grafts = [Graft(jail.volume(path), path, False, own=True, shifted=jail.shifted) for path in runtime.volumes]
    memory = []
    for mount in runtime.mounts:
        if mount.type == "bind" and mount.source is not None:
            grafts.append(Graft(mount.source, mount.target, mount.read_only, own=False))
        else:
            memory.append(Memory(mount.target, mount.size or _TMPFS_SIZE, _OPEN_MODE))
    covered = {graft.target for graft in grafts} | {part.target for part in memory}
    if _TMP not in covered:
        memory.append(Memory(_TMP, TMP_SIZE, _OPEN_MODE))
    return View(
        root=Graft(jail.rootfs, "/", runtime.read_only_root, own=True, shifted=jail.shifted),
        grafts=tuple(sorted(grafts, key=lambda graft: graft.target)),
        memory=tuple(sorted(memory)),
        devices=runtime.devices,
        ephemeral=ephemeral,
        setuid=runtime.isolation.no_new_privileges is False,
    )


def namespaces_of(isolation: Isolation, *, user: bool) -> int:
    """Give the CLONE_NEW* flags; those of mounts and processes, without which no instance is one, are always there."""
    wanted = NAMESPACES if isolation.namespaces is None else isolation.namespaces
    names = {"mount", "pid", *wanted} - ({"net"} if isolation.network == "host" else set())
    names = names | {"user"} if user else names - {"user"}
    return sum(flag for name, flag in NAMESPACES.items() if name in names)


def key_of(limit: str) -> str:
    """Give the key in the profile of a field of Demand."""
    return f"limits.{limit.replace('_', '-')}"


def demand_of(limits: Limits, disks: Mapping[str, tuple[int, int]], accepted: Collection[str]) -> Demand:
    """Give what a cgroup is to hold. `disks` are the numbers of the disks behind the paths of `io`.

    What was accepted not to hold is not asked for.
    """
    io = tuple(
        Io(*disks[limit.path], limit.read_bps, limit.write_bps, limit.read_iops, limit.write_iops)
        for limit in limits.io
        if "limits.io" not in accepted
    )

    def asked(key: str, value: _Value) -> _Value | None:
        return None if f"limits.{key}" in accepted else value

    return Demand(
        memory=asked("memory", limits.memory),
        swap=asked("swap", limits.swap),
        cpus=asked("cpus", limits.cpus),
        cpu_weight=asked("cpu-weight", limits.cpu_weight),
        cpuset=asked("cpuset", limits.cpuset),
        pids=asked("pids", limits.pids),
        io=io,
    )


def allowed_devices(names: Collection[str]) -> tuple[tuple[int, int | None], ...]:
    """Give the numbers of all that may be opened: the listed nodes, and terminals of the instance's own devpts."""
    terminals: tuple[tuple[int, int | None], ...] = ((5, 2), (136, None))
    return (*(DEVICES[name] for name in names), *terminals)
