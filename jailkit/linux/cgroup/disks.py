"""Which disk holds a path: the kernel throttles whole disks, and refuses the number of a partition."""

from __future__ import annotations

import errno
import os

from jailkit.linux.cgroup.files import read


def disk_of(path: str, sysfs: str = "/sys/dev/block") -> tuple[int, int]:
    """Give major and minor number of the whole disk on which `path` lies.

    Raises:
        OSError: ENOTBLK where no block device stands below the file system, as for tmpfs or overlay; else what
            stat(2) says.
    """
    device = os.stat(path).st_dev
    place = f"{sysfs}/{os.major(device)}:{os.minor(device)}"
    if not os.path.exists(place):
        raise OSError(errno.ENOTBLK, "no disk of its own: the kernel cannot throttle it", path)
    # A partition's folder in sysfs lies in that of its disk (sysfs-block of the kernel's ABI documents).
    whole = os.path.dirname(os.path.realpath(place)) if os.path.exists(f"{place}/partition") else place
    major, _, minor = (read(f"{whole}/dev") or "").partition(":")
    return int(major), int(minor)
