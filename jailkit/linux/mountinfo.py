"""What is mounted where, as the kernel tells this process."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Final

_DEVICE: Final = 2
_MOUNT_POINT: Final = 4  # proc_pid_mountinfo(5): id, parent, major:minor, root, mount point, ...
_ESCAPE: Final = re.compile(rb"\\([0-7]{3})")


def mounts_below(path: str) -> list[str]:
    """Give the mount points at or below `path`, in the order of mounting, links in `path` resolved.

    A bind mount may share its st_dev with the directory around it, so that only mountinfo can tell.

    Raises:
        OSError: /proc is not mounted.
    """
    with open("/proc/self/mountinfo", "rb") as lines:
        return select_mounts(lines.read(), os.path.realpath(path))


def select_mounts(table: bytes, path: str) -> list[str]:
    """Give the mount points of a mountinfo `table` that are the absolute `path` or lie below it."""
    root = path.rstrip("/")
    points = (_decode(line.split(b" ")[_MOUNT_POINT]) for line in table.splitlines())
    return [point for point in points if point == (root or "/") or point.startswith(f"{root}/")]


def cgroup_mounts() -> list[str]:
    """Give where each hierarchy of cgroups is mounted, each once, those without a controller too.

    Raises:
        OSError: /proc is not mounted.
    """
    with open("/proc/self/mountinfo", "rb") as lines:
        return select_cgroups(lines.read())


def select_cgroups(table: bytes) -> list[str]:
    """Give the mount points of hierarchies of a mountinfo `table`; of the same hierarchy only the first."""
    found: dict[bytes, str] = {}
    for line in table.splitlines():
        left, _, right = line.partition(b" - ")
        fields = left.split(b" ")
        if right.split(b" ")[0] in (b"cgroup", b"cgroup2"):
            found.setdefault(fields[_DEVICE], _decode(fields[_MOUNT_POINT]))
    return list(found.values())


def controller_mount(name: str) -> str | None:
    """Give where the hierarchy of version 1 with a controller is mounted; None where there is none.

    Raises:
        OSError: /proc is not mounted.
    """
    return _first_mount(lambda kind, options: kind == b"cgroup" and name.encode() in options)


def tree_mount() -> str | None:
    """Give where the hierarchy of version 2 is mounted; None where it is not.

    Raises:
        OSError: /proc is not mounted.
    """
    return _first_mount(lambda kind, _options: kind == b"cgroup2")


def _first_mount(wanted: Callable[[bytes, list[bytes]], bool]) -> str | None:
    """Give where the first mount is of which kind and options are `wanted`."""
    with open("/proc/self/mountinfo", "rb") as lines:
        for line in lines:
            left, _, right = line.partition(b" - ")
            kind, _, options = right.rstrip(b"\n").split(b" ", 2)
            if wanted(kind, options.split(b",")):
                return _decode(left.split(b" ")[_MOUNT_POINT])
    return None


def _decode(field: bytes) -> str:
    """Undo the octal escapes that mountinfo writes for space, tab, newline and backslash."""
    return os.fsdecode(_ESCAPE.sub(lambda match: bytes([int(match[1], 8)]), field))
