"""Terminals: who is in front of one."""

from __future__ import annotations

import os


def in_foreground() -> bool:
    """Tell whether this process is in the foreground group of its terminal, which gets Ctrl-C from the kernel."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False  # No terminal controls this process.
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
