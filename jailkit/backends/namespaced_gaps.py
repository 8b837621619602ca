"""What a level with namespaces cannot enforce on this host, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Final

from jailkit.backends.base import Gap
from jailkit.backends.ordinary_gaps import ordinary_gaps
from jailkit.backends.view import demand_of, key_of
from jailkit.linux.cgroup import Cgroups, disk_of, read_cgroups, settings
from jailkit.linux.launch import NAMESPACES
from jailkit.plan.model import Plan
from jailkit.plan.settings import Isolation, Limits
from jailkit.store import Jail
from jailkit.store.privilege import superuser

_BRIDGE_LIBRARIES: Final = {"pyroute2": "pip install pyroute2", "nftables": "apt install python3-nftables"}


def namespaced_gaps(plan: Plan | Jail) -> list[Gap]:
    """Name every setting of `plan` that does not hold here, at a level with namespaces."""
    return [
        *_limit_gaps(plan.runtime.limits, read_cgroups()),
        *_isolation_gaps(plan.runtime.isolation),
        *([] if superuser() else ordinary_gaps(plan)),
    ]


def _limit_gaps(limits: Limits, host: Cgroups) -> Iterator[Gap]:
    disks: dict[str, tuple[int, int]] = {}
    told: tuple[str, ...] = ()
    for limit in limits.io:
        try:
            disks[limit.path] = disk_of(limit.path)
        except OSError as error:
            reason = f"no disk can be told for {limit.path}: {error.strerror}"
            yield Gap("limits.io", reason, "name a path on a block device, or remove the limit")
            told = ("limits.io",)
            break
    _, missing = settings(demand_of(limits, disks, told), host)
    for limit_missing in missing:
        key = key_of(limit_missing.limit)
        yield Gap(key, limit_missing.why, f"remove {key} from the profile, or list it under `accept-gaps`")


def _isolation_gaps(isolation: Isolation) -> Iterator[Gap]:
    unknown = set(isolation.namespaces or ()) - set(NAMESPACES)
    if unknown:
        names = ", ".join(sorted(unknown))
        yield Gap("isolation.namespaces", f"no level makes namespaces of {names}", "remove it from the list")
    if isolation.network == "bridge" and superuser():
        for library, remedy in _BRIDGE_LIBRARIES.items():
            if find_spec(library) is None:
                yield Gap("isolation.network", f"the Python module {library} is not there", remedy)
                return
