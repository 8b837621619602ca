"""A lock that keeps the groups above others while somebody makes those: LXC makes each level once, and does not retry.

Ours is a file that no other user can lock: whoever holds a lock makes others wait.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from typing import Final

_RUN: Final = "/run/jailkit"
_LOCK: Final = f"{_RUN}/groups.lock"
_PAUSE: Final = 0.005  # seconds


@contextlib.contextmanager
def keeping_parents() -> Iterator[None]:
    """Let nobody remove a group above those that are made meanwhile."""
    with _opened() as lock:
        if lock is not None:
            fcntl.flock(lock, fcntl.LOCK_SH)
        yield


@contextlib.contextmanager
def removing_parents(patience: float) -> Iterator[bool]:
    """Tell whether groups above others may be removed now; False when somebody makes some for so many seconds."""
    with _opened() as lock:
        yield lock is None or _lock(lock, patience)


def _lock(descriptor: int, patience: float) -> bool:
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_PAUSE)
        else:
            return True


@contextlib.contextmanager
def _opened() -> Iterator[int | None]:
    """Open the lock; None for an ordinary user, who has groups of their own and no LXC in them, or without /run."""
    try:
        os.makedirs(_RUN, mode=0o755, exist_ok=True)
        descriptor = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError:
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)
