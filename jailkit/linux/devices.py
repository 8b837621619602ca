"""The numbers of the device nodes that a jail may have (Documentation/admin-guide/devices.txt of the kernel)."""

from __future__ import annotations

from typing import Final

# name -> (major, minor). Nothing else is ever made in a jail.
DEVICES: Final[dict[str, tuple[int, int]]] = {
    "null": (1, 3),
    "zero": (1, 5),
    "full": (1, 7),
    "random": (1, 8),
    "urandom": (1, 9),
    "tty": (5, 0),
}
