"""What the file system on which a jail lies would keep it from doing."""

from __future__ import annotations

import os
from collections.abc import Iterator

# Flag of statvfs(3), the option to mount without it, and what it does to a jail.
_FLAGS = (
    (os.ST_NOEXEC, "exec", "mounted noexec, so no command of the jail can run"),
    (os.ST_NODEV, "dev", "mounted nodev, so no device of the jail can be opened, /dev/null included"),
)


def hindrances(path: str) -> Iterator[str]:
    """Say what is in a jail's way at `path`, with the remedy; nothing where all is well.

    Raises:
        OSError: there is no such path.
    """
    flags = os.statvfs(path).f_flag
    for flag, option, consequence in _FLAGS:
        if flags & flag:
            point = mount_point(path)
            yield f"{point} is {consequence}: mount -o remount,{option} {point}, or put jails elsewhere with --home"


def mount_point(path: str) -> str:
    """Give the mount point of the file system that holds `path`."""
    point = os.path.realpath(path)
    while not os.path.ismount(point):
        point = os.path.dirname(point)
    return point
