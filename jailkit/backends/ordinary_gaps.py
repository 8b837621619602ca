"""What a level with namespaces cannot enforce for who is not root, apart from limits."""

from __future__ import annotations

import os
from collections.abc import Iterator

from jailkit.backends.base import Gap
from jailkit.linux.outer import find_mapper
from jailkit.plan.model import Plan
from jailkit.store import Jail
from jailkit.store.ids import IdRegistry, gets_one_id


def ordinary_gaps(plan: Plan | Jail) -> Iterator[Gap]:
    """Name every setting of `plan` that does not hold for the calling user, who is not root."""
    if plan.runtime.isolation.network == "bridge":
        yield Gap("isolation.network", "only root may make a bridge", "network `none` or `host`, or run as root")
    one = gets_one_id(plan.level)
    if one:
        yield _one_id()
    for mount in plan.runtime.mounts:
        if mount.type == "bind" and not mount.read_only and not one:
            reason = (
                f"no id of the jail is that of whoever owns {mount.source}, and only root can have ids mapped there: "
                "users of the jail may write what everybody may"
            )
            yield Gap("mounts", reason, "`volumes`, which are the jail's own, or run as root")
            return


def _one_id() -> Gap:
    reason = (
        f"with no ids but {os.geteuid()} everything in the jail belongs to its own user, who may change all of it, "
        "has the groups of whoever runs jailkit, and cannot become another"
    )
    remedy = "apt install uidmap" if find_mapper() is None else f"as root: {IdRegistry().remedy()}"
    return Gap("users", reason, remedy)
