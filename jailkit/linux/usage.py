"""What processes use, summed up from /proc: proc_pid_stat(5), proc_pid_smaps(5), proc_pid_io(5)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Final, NamedTuple

from jailkit.linux.process import read_process

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_KIB: Final = 1024
# After the name in parentheses: utime, stime, cutime, cstime.
_TIMES: Final = slice(11, 15)


class Usage(NamedTuple):
    """What some processes use together.

    Attributes:
        cpu_time: seconds, those of the children that they have waited for included.
        memory: bytes; a page that several processes share counts once (Pss), shares outside of these aside.
        swap: bytes, counted in the same way.
        tasks: threads.
        read_bytes, written_bytes: what block devices had to do for them.
    """

    cpu_time: float = 0.0
    memory: int = 0
    swap: int = 0
    tasks: int = 0
    read_bytes: int = 0
    written_bytes: int = 0


def usage_of(pids: Iterable[int]) -> Usage:
    """Sum up what these processes use; one that ends meanwhile uses nothing, and neither does what cannot be read."""
    each = [_usage(pid) for pid in pids]
    return Usage(
        cpu_time=sum(usage.cpu_time for usage in each),
        memory=sum(usage.memory for usage in each),
        swap=sum(usage.swap for usage in each),
        tasks=sum(usage.tasks for usage in each),
        read_bytes=sum(usage.read_bytes for usage in each),
        written_bytes=sum(usage.written_bytes for usage in each),
    )


def _usage(pid: int) -> Usage:
    process = read_process(pid)
    memory, io = (_numbers(f"/proc/{pid}/{file}") for file in ("smaps_rollup", "io"))
    return Usage(
        cpu_time=_cpu_time(pid),
        memory=memory.get("Pss", 0) * _KIB,
        swap=memory.get("SwapPss", 0) * _KIB,
        tasks=process.threads if process else 0,
        read_bytes=io.get("read_bytes", 0),
        written_bytes=io.get("write_bytes", 0),
    )


def _cpu_time(pid: int) -> float:
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return sum(map(int, fields[_TIMES])) / _TICKS


def _numbers(path: str) -> dict[str, int]:
    """Read lines of the form `Name: 123 kB`."""
    found = {}
    for line in _read(path).splitlines():
        name, _, value = line.partition(":")
        number = value.split()[:1]
        if number and number[0].isdecimal():
            found[name] = int(number[0])
    return found


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:  # It has ended, or belongs to another user.
        return ""
