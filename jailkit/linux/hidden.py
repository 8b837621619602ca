"""What of /proc and /sys tells about the host or drives it, and is covered in a jail. Proc(5), and the kernel's own."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Final

HIDDEN_FILES: Final = (
    "/proc/kallsyms",  # where the kernel's code is
    "/proc/kcore",  # its memory
    "/proc/key-users",  # keyrings are in no namespace
    "/proc/keys",
    "/proc/kmsg",  # its log
    "/proc/kpagecgroup",
    "/proc/kpagecount",  # which pages are shared with whom
    "/proc/kpageflags",
    "/proc/latency_stats",
    "/proc/sched_debug",  # all processes of the host
    "/proc/sysrq-trigger",  # reboots the host
    "/proc/timer_list",  # all processes of the host
    "/proc/timer_stats",
)
HIDDEN_FOLDERS: Final = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/bus",
    "/proc/driver",
    "/proc/fs",
    "/proc/irq",
    "/proc/scsi",
    "/sys/devices/virtual/powercap",  # power consumption tells what others compute
    "/sys/firmware",
)

# Files of lxcfs(8), by what they stand in for: they show what the reader's cgroup may use, where that is installed.
LXCFS: Final = "/var/lib/lxcfs"
LXCFS_FILES: Final = tuple(
    f"/proc/{name}" for name in ("cpuinfo", "diskstats", "loadavg", "meminfo", "stat", "swaps", "uptime")
)


def stand_ins() -> tuple[str, ...]:
    """Give the paths for which lxcfs has a file."""
    return tuple(path for path in LXCFS_FILES if os.path.exists(LXCFS + path))


def present(paths: Iterable[str]) -> tuple[str, ...]:
    """Give those of these paths that this kernel has."""
    return tuple(path for path in paths if os.path.lexists(path))
