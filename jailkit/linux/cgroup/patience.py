"""Waiting for what the kernel does in its own time."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from typing import Final

_PATIENCE: Final = 5.0  # seconds
_PAUSE: Final = 0.0005  # seconds before the second look; then twice as long each time, up to the longest
_LONGEST_PAUSE: Final = 0.02


def wait(reached: Callable[[], bool], complaint: str) -> None:
    """Look again and again until something is reached.

    Raises:
        TimeoutError: with the complaint.
    """
    deadline, pause = time.monotonic() + _PATIENCE, _PAUSE
    while not reached():
        if time.monotonic() > deadline:
            raise TimeoutError(errno.ETIMEDOUT, complaint)
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
