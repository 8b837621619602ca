"""Which trees are the root of some process, for many trees in one look at /proc."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence


def inhabited(paths: Sequence[str]) -> list[bool]:
    """Tell for each directory whether a process has its root in it or below it, as /proc shows it at one moment.

    A look only: what starts or ends meanwhile may be missed. `linux.process` is for those who must be sure. What is no
    directory is inhabited by nobody.

    Raises:
        FileNotFoundError: there is no /proc.
    """
    inodes, roots = set(), set()
    for name in os.listdir("/proc"):
        if name.isdecimal():
            with contextlib.suppress(OSError):  # It has ended, or belongs to another user.
                status = os.stat(f"/proc/{name}/root")
                # Device and inode hold even where another mount namespace gives the tree another path.
                inodes.add((status.st_dev, status.st_ino))
                roots.add(os.readlink(f"/proc/{name}/root"))
    return [_is_among(path, inodes, roots) for path in paths]


def _is_among(path: str, inodes: set[tuple[int, int]], roots: set[str]) -> bool:
    try:
        status = os.stat(path)
    except OSError:
        return False
    below = f"{os.path.realpath(path)}/"
    return (status.st_dev, status.st_ino) in inodes or any(root.startswith(below) for root in roots)
