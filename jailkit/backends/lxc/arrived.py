"""What the kernel says about a container's first process, compared with what was ordered.

A configuration that liblxc holds is no proof: it takes "keep no capability" and "nothing said" for the same when asked.
"""

from __future__ import annotations

import os
from typing import Final, NamedTuple

from jailkit.backends.lxc.order import LaunchOrder
from jailkit.linux.apparmor import profile_of
from jailkit.linux.bpf import device_programs
from jailkit.linux.capabilities import capability_mask
from jailkit.linux.mountinfo import controller_mount, tree_mount

_ALWAYS_OWN: Final = ("cgroup", "ipc", "mnt", "pid", "uts")
_FILTERED: Final = "2"  # SECCOMP_MODE_FILTER


class Arrived(NamedTuple):
    """What the kernel tells of a process.

    Attributes:
        status: /proc/PID/status by its keys.
        uid_map, gid_map: the words of its maps.
        own: names of the namespaces that are not this process's.
        apparmor: the profile it is under; empty without AppArmor.
        devices: lines of devices.list of its cgroup, None where no hierarchy of version 1 has that controller.
        device_programs: how many decide on devices in its cgroup of version 2; None where version 1 does.
    """

    status: dict[str, str]
    uid_map: tuple[str, ...]
    gid_map: tuple[str, ...]
    own: frozenset[str]
    apparmor: str
    devices: tuple[str, ...] | None
    device_programs: int | None = None


def read_arrived(pid: int) -> Arrived:
    """Ask the kernel about a process.

    Raises:
        OSError: it is gone, or /proc is not mounted.
    """
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
        status = {key: value.strip() for key, _, value in (line.partition(":") for line in file)}
    names = os.listdir(f"/proc/{pid}/ns")
    own = frozenset(n for n in names if os.readlink(f"/proc/{pid}/ns/{n}") != os.readlink(f"/proc/self/ns/{n}"))
    devices = _devices(pid)
    programs = _device_programs(pid) if devices is None else None
    return Arrived(status, _map(pid, "uid"), _map(pid, "gid"), own, profile_of(pid), devices, programs)


def _map(pid: int, kind: str) -> tuple[str, ...]:
    with open(f"/proc/{pid}/{kind}_map", encoding="ascii") as file:
        return tuple(file.read().split())


def _devices(pid: int) -> tuple[str, ...] | None:
    point = controller_mount("devices")
    if point is None:
        return None
    with open(f"{point}{_group(pid, 'devices')}/devices.list", encoding="ascii") as file:
        return tuple(file.read().splitlines())


def _device_programs(pid: int) -> int:
    point = tree_mount()
    try:
        return device_programs(f"{point}{_group(pid, '')}") if point else 0
    except OSError:
        return 0  # Where nobody may ask, nobody can say that there are any.


def _group(pid: int, controller: str) -> str:
    """Give the path of a process's cgroup in the hierarchy of a controller, or without one in that of version 2."""
    with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="surrogateescape") as file:
        lines = [line.rstrip("\n").split(":", 2) for line in file]
    return next(path for _, names, path in lines if controller in names.split(","))


def shortfalls(order: LaunchOrder, arrived: Arrived) -> list[str]:
    """Name what was ordered and is not so."""
    found = []
    wanted = {*_ALWAYS_OWN, *(["net"] if order.network != "host" else []), *(["user"] if order.ids else [])}
    if missing := sorted(wanted - arrived.own):
        found.append(f"shares with the host the namespaces {' '.join(missing)}")
    if order.ids:
        ids = ("0", *map(str, order.ids))
        found += [
            f"its map of {kind}s is {' '.join(got)}, not {' '.join(ids)}"
            for kind, got in (("uid", arrived.uid_map), ("gid", arrived.gid_map))
            if got != ids
        ]
    extra = int(arrived.status.get("CapBnd", "f" * 16), 16) & ~capability_mask(order.capabilities)
    if extra:
        found.append(f"its bounding set has the capabilities {extra:#x} too many")
    if order.no_new_privileges and arrived.status.get("NoNewPrivs") != "1":
        found.append("no_new_privs is not set")
    if order.seccomp and arrived.status.get("Seccomp") != _FILTERED:
        found.append("no seccomp filter is loaded")
    if order.apparmor and arrived.apparmor != order.apparmor:
        found.append(f"its AppArmor profile is {arrived.apparmor or 'none'}, not {order.apparmor}")
    return found + _device_shortfalls(order, arrived)


def _device_shortfalls(order: LaunchOrder, arrived: Arrived) -> list[str]:
    """LXC ignores rules for the other version of cgroups in silence."""
    devices = arrived.devices
    if order.device_rules == 1 and (devices is None or any(line.startswith("a") for line in devices)):
        return ["its cgroup allows all devices"]
    if order.device_rules == 2 and devices is not None:
        return ["the devices controller is of version 1, the rules are for version 2"]
    if order.device_rules == 2 and not arrived.device_programs:
        return ["its cgroup has no program that decides on devices"]
    return []
