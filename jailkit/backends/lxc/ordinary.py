"""LXC's own processes where no cgroup names them: they are told by the configuration that they were started with."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import Final

from jailkit.backends.census import gone

_LONGEST: Final = 1 << 14  # bytes of a command line with some paths in it


def end_monitors(configuration: str, patience: float) -> list[int]:
    """Let the monitors of an instance clean up behind it, kill those that take too long, and give what does not end."""
    left = []
    for pid in monitors_with(configuration):
        with contextlib.suppress(ProcessLookupError):  # It has ended.
            monitor = os.pidfd_open(pid)
            if not gone(monitor, patience):
                signal.pidfd_send_signal(monitor, signal.SIGKILL)
                if not gone(monitor, patience):
                    left.append(pid)
            os.close(monitor)
    return left


def monitors_with(configuration: str) -> list[int]:
    """Give the pids of those that were started with a file of configuration."""
    return [int(name) for name in os.listdir("/proc") if name.isdecimal() and _has(name, os.fsencode(configuration))]


def _has(process: str, configuration: bytes) -> bool:
    try:
        with open(f"/proc/{process}/cmdline", "rb", buffering=0) as file:
            words = file.read(_LONGEST).split(b"\0")
    except OSError:
        return False
    return os.path.basename(words[0]) == b"lxc-start" and configuration in words
