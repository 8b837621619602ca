"""What the kernel says about a container's first process, compared with what was ordered.

A configuration that liblxc holds is no proof: it takes "keep no capability" and "nothing said" for the same when asked.
"""

from __future__ import annotations

import os
from typing import Final, NamedTuple

from jailkit.backends.lxc.order import LaunchOrder
from jailkit.linux.capabilities import capability_mask

_ALWAYS_OWN: Final = ("cgroup", "ipc", "mnt", "pid", "uts")
_FILTERED: Final = "2"  # SECCOMP_MODE_FILTER


class Arrived(NamedTuple):
    """What /proc tells of a process: `status` by its keys, both id maps, and the namespaces that are not the host's."""

    status: dict[str, str]
    uid_map: tuple[str, ...]
    gid_map: tuple[str, ...]
    own: frozenset[str]


def read_arrived(pid: int) -> Arrived:
    """Ask the kernel about a process.

    Raises:
        OSError: it is gone, or /proc is not mounted.
    """
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
        status = {key: value.strip() for key, _, value in (line.partition(":") for line in file)}
    names = os.listdir(f"/proc/{pid}/ns")
    own = frozenset(n for n in names if os.readlink(f"/proc/{pid}/ns/{n}") != os.readlink(f"/proc/self/ns/{n}"))
    return Arrived(status, _map(pid, "uid"), _map(pid, "gid"), own)


def _map(pid: int, kind: str) -> tuple[str, ...]:
    with open(f"/proc/{pid}/{kind}_map", encoding="ascii") as file:
        return tuple(file.read().split())


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
    return found
