"""How many jails are, asked at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from jailkit.backends import backend_for
from jailkit.backends.base import Status
from jailkit.errors import BackendError
from jailkit.levels import LEVELS
from jailkit.linux.roots import inhabited
from jailkit.store import Jail


def statuses(jails: Sequence[Jail]) -> list[Status | Literal["unknown"]]:
    """Ask the kernel how each jail is; those at a plain chroot level share one look at all processes."""
    rooted = [jail.rootfs for jail in jails if not LEVELS[jail.level].mount_namespace]
    try:
        lives = dict(zip(rooted, inhabited(rooted) if rooted else (), strict=True))
    except OSError:
        lives = {}
    return [_status(jail, lives) for jail in jails]


def _status(jail: Jail, lives: dict[str, bool]) -> Status | Literal["unknown"]:
    if jail.rootfs in lives:
        return "running" if lives[jail.rootfs] else "stopped"
    try:
        return backend_for(jail.level).status(jail)
    except BackendError:
        return "unknown"
