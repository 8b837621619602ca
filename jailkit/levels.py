"""The ladder of isolation levels: one row each, weakest first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LevelName = Literal["host", "chroot-root", "chroot", "chroot-hardened", "lxc-privileged", "lxc"]
BackendName = Literal["host", "chroot", "lxc"]


@dataclass(frozen=True, slots=True)
class Level:
    """One rung. The booleans say what the rung does by itself, before a profile refines it.

    `confines` is False for a rung that enters the tree and takes no further care: the identity, descriptors,
    session and environment of the caller go in with the command.
    """

    name: LevelName
    backend: BackendName
    summary: str
    needs_root: bool
    confines: bool
    mount_namespace: bool
    user_namespace: bool
    available: bool


LADDER: tuple[Level, ...] = (
    Level(
        "host",
        "host",
        "no isolation: the baseline of a comparison, never a target of create",
        needs_root=False,
        confines=False,
        mount_namespace=False,
        user_namespace=False,
        available=False,
    ),
    Level(
        "chroot-root",
        "chroot",
        "chroot(2) and nothing else, uid 0 inside; root walks out of it",
        needs_root=True,
        confines=False,
        mount_namespace=False,
        user_namespace=False,
        available=True,
    ),
    Level(
        "chroot",
        "chroot",
        "chroot(2), ordinary user, no capabilities, no_new_privs, three descriptors, own session",
        needs_root=True,
        confines=True,
        mount_namespace=False,
        user_namespace=False,
        available=True,
    ),
    Level(
        "chroot-hardened",
        "chroot",
        "the same tree with its own namespaces, seccomp, rlimits and cgroup",
        needs_root=False,
        confines=True,
        mount_namespace=True,
        user_namespace=True,
        available=True,
    ),
    Level(
        "lxc-privileged",
        "lxc",
        "an LXC container without a user namespace, cgroup limits",
        needs_root=True,
        confines=True,
        mount_namespace=True,
        user_namespace=False,
        available=True,
    ),
    Level(
        "lxc",
        "lxc",
        "an LXC container with its own id range, seccomp, no capabilities, cgroup limits",
        needs_root=False,
        confines=True,
        mount_namespace=True,
        user_namespace=True,
        available=True,
    ),
)

LEVELS: dict[str, Level] = {level.name: level for level in LADDER}
DEFAULT_LEVEL: LevelName = "chroot"
