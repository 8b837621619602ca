"""What the kernel says about a container's first process, compared with what was ordered.

A configuration that liblxc holds is no proof: it takes "keep no capability" and "nothing said" for the same when asked.
"""

from __future__ import annotations

import os
from typing import Final, NamedTuple

from jailkit.backends.lxc.order import LaunchOrder
from jailkit.linux.capabilities import capability_mask
from jailkit.linux.mountinfo import controller_mount

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
    """

    status: dict[str, str]
    uid_map: tuple[str, ...]
    gid_map: tuple[str, ...]
    own: frozenset[str]
    apparmor: str
    devices: tuple[str, ...] | None


def read_arrived(pid: int) -> Arrived:
    """Ask the kernel about a process.

    Raises:
        OSError: it is gone, or /proc is not mounted.
    """
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
        status = {key: value.strip() for key, _, value in (line.partition(":") for line in file)}
    names = os.listdir(f"/proc/{pid}/ns")
    own = frozenset(n for n in names if os.readlink(f"/proc/{pid}/ns/{n}") != os.readlink(f"/proc/self/ns/{n}"))
    return Arrived(status, _map(pid, "uid"), _map(pid, "gid"), own, _apparmor(pid), _devices(pid))


def _map(pid: int, kind: str) -> tuple[str, ...]:
    with open(f"/proc/{pid}/{kind}_map", encoding="ascii") as file:
        return tuple(file.read().split())


def _apparmor(pid: int) -> str:
    for name in ("attr/apparmor/current", "attr/current"):
        try:
            with open(f"/proc/{pid}/{name}", encoding="utf-8") as file:
                return file.read().strip("\0\n").split(" (")[0]  # PROFILE (MODE)
        except OSError:
            continue  # No such file, or EINVAL where no security module answers.
    return ""


def _devices(pid: int) -> tuple[str, ...] | None:
    point = controller_mount("devices")
    if point is None:
        return None
    with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="surrogateescape") as file:
        paths = [path.rstrip("\n") for _, names, path in (line.split(":", 2) for line in file) if "devices" in names]
    with open(f"{point}{paths[0]}/devices.list", encoding="ascii") as file:
        return tuple(file.read().splitlines())


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
    return found + _device_shortfalls(order, arrived.devices)


def _device_shortfalls(order: LaunchOrder, devices: tuple[str, ...] | None) -> list[str]:
    """LXC ignores rules for the other version of cgroups in silence."""
    if order.device_rules == 1 and (devices is None or any(line.startswith("a") for line in devices)):
        return ["its cgroup allows all devices"]
    if order.device_rules == 2 and devices is not None:
        return ["the devices controller is of version 1, the rules are for version 2"]
    return []
