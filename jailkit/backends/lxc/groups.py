"""Taking away the cgroups that LXC made: it makes them in every hierarchy there is, in named ones too."""

from __future__ import annotations

import errno
import os
import time
from typing import Final

from jailkit.linux.mountinfo import cgroup_mounts

_PAUSE: Final = 0.005  # seconds


def remove_groups(names: tuple[str, ...], patience: float = 2.0) -> list[str]:
    """Take away groups in which nothing is, in all hierarchies; give the paths of those that stay.

    A group above them is never touched, because it holds limits. One that is gone already is no matter, and one
    that is busy is tried for so many seconds: it is until the last process in it has been reaped.

    Raises:
        OSError: /proc is not mounted, or this process may not.
    """
    left = [f"{point}/{name}" for point in cgroup_mounts() for name in names]
    deadline = time.monotonic() + patience
    while (left := [path for path in left if not _remove(path)]) and time.monotonic() < deadline:
        time.sleep(_PAUSE)
    return left


def _remove(path: str) -> bool:
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno in (errno.EBUSY, errno.ENOTEMPTY):
            return False
        raise
    return True
