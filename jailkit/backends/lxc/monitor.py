"""The program that becomes a container's monitor."""

from __future__ import annotations

import os
from typing import Final

_PROGRAMS: Final = ("/usr/bin/lxc-start", "/usr/local/bin/lxc-start")


def find_monitor() -> str | None:
    """Give the path of lxc-start; never from the caller's PATH, since it may run as root."""
    return next((path for path in _PROGRAMS if os.access(path, os.X_OK)), None)
