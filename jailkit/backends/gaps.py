"""What the two plain chroot levels cannot enforce, and what to do about it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from jailkit.backends.base import Gap
from jailkit.levels import LADDER, LEVELS
from jailkit.plan.model import Plan
from jailkit.plan.settings import Isolation, Limits
from jailkit.store import Jail

_NO_CGROUP: Final = {
    "memory": "plain chroot has no cgroup, and RLIMIT_AS counts address space of each process by itself",
    "swap": "plain chroot has no cgroup to count swap",
    "cpus": "plain chroot has no cgroup to share out processors",
    "cpu-weight": "plain chroot has no cgroup to give a share of the processors",
    "cpuset": "plain chroot has no cgroup to bind to processors",
    "pids": "plain chroot has no cgroup, and RLIMIT_NPROC counts all processes of a uid on the host",
    "io": "plain chroot has no cgroup to throttle devices",
}
_ROOT_LIFTS: Final = {
    "open-files": "uid 0 with all capabilities can raise its own limits",
    "file-size": "uid 0 with all capabilities can raise its own limits",
    "wall-time": "uid 0 with all capabilities can detach a process, or kill the one that keeps the time",
}


def chroot_gaps(plan: Plan | Jail) -> list[Gap]:
    """Name every setting of `plan` that does not hold at its level, `chroot` or `chroot-root`."""
    confines = LEVELS[plan.level].confines
    runtime = plan.runtime
    found = [*_limit_gaps(runtime.limits, confines), *_isolation_gaps(runtime.isolation)]
    if confines:
        found += _uid_gaps(plan)
    else:
        found += _privilege_gaps(runtime.isolation)
    if runtime.mounts:
        found.append(("mounts", "plain chroot has no mount namespace, so a mount would be the host's"))
    if runtime.read_only_root:
        found.append(("read-only-root", "plain chroot has no mount namespace in which its root could be read-only"))
    return [Gap(key, reason, _remedy(key)) for key, reason in found]


def _limit_gaps(limits: Limits, confines: bool) -> Iterator[tuple[str, str]]:
    reasons = _NO_CGROUP if confines else _NO_CGROUP | _ROOT_LIFTS
    for key, reason in reasons.items():
        if getattr(limits, key.replace("-", "_")) not in (None, ()):
            yield f"limits.{key}", reason


def _isolation_gaps(isolation: Isolation) -> Iterator[tuple[str, str]]:
    if isolation.namespaces:
        yield "isolation.namespaces", "plain chroot shares every namespace with the host"
    if isolation.network in ("none", "bridge"):
        yield "isolation.network", "plain chroot shares the host's network"
    if isolation.ports:
        yield "isolation.ports", "plain chroot has no network namespace to publish ports of"
    if isolation.allow is not None:
        yield "isolation.allow", "plain chroot has no network namespace to keep from other destinations"
    if isolation.seccomp not in (None, "none"):
        yield "isolation.seccomp", "plain chroot filters no system calls"


def _uid_gaps(plan: Plan | Jail) -> Iterator[tuple[str, str]]:
    runtime = plan.runtime
    roots = {"0", *(account.name for account in runtime.accounts if account.uid == 0)}
    if roots & {runtime.user, *(smoke.user for smoke in runtime.smoke)}:
        yield "isolation.user", "the host's processes are in sight, and uid 0 may signal those of the host's root"


def _privilege_gaps(isolation: Isolation) -> Iterator[tuple[str, str]]:
    if isolation.capabilities:
        yield "isolation.capabilities", "this level takes no capability away"
    if isolation.no_new_privileges:
        yield "isolation.no-new-privileges", "this level does nothing beyond chroot(2)"


def _remedy(key: str) -> str:
    """Name the level to go to when there is one, else how to live with it."""
    better = [level.name for level in LADDER if level.mount_namespace and level.available]
    drop = f"remove {key} from the profile, or list it under `accept-gaps`"
    return f"--level {better[-1]}, or {drop}" if better else drop
