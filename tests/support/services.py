"""Jails with a command to start, and looking at what became of it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jailkit.lifecycle.runs import logs_of
from jailkit.store import Jail
from support.jails import make_jail
from support.leftovers import supervisors

LOOP = ("sh", "-c", "echo begun; while :; do sleep 0.05; done")
DEAF = ("sh", "-c", "trap '' TERM; echo begun; while :; do sleep 0.05; done")


def make_service(home: Path, *command: str, name: str = "box", level: str = "chroot", **runtime: Any) -> Jail:
    """Make a small jail whose profile names a command."""
    folder = home / "jails" / name
    folder.mkdir(parents=True)
    return make_jail(folder, level, command=command or LOOP, serves=True, **runtime)


def written(jail: Jail) -> str:
    """Give what the log has now."""
    path = Path(logs_of(jail), "output.log")
    return path.read_text() if path.exists() else ""


def eventually(condition: Callable[[], Any], *, patience: float = 10.0) -> None:
    """Wait for a condition.

    Raises:
        AssertionError: it did not come about.
    """
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.01)


def supervisor(jail: Jail) -> int:
    """Give the pid of the one supervisor of a jail."""
    (pid,) = supervisors(jail.directory)
    return pid


def descriptors(pid: int) -> list[str]:
    """Give what a process has open."""
    return sorted(os.readlink(f"/proc/{pid}/fd/{number}") for number in os.listdir(f"/proc/{pid}/fd"))
