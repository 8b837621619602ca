"""What is told of the processes of a jail, however it was found out."""

from __future__ import annotations

from typing import NamedTuple


class Stats(NamedTuple):
    """What a jail uses and has used since it was started; None is unknown at its level or on this host.

    Attributes:
        cpu_time: seconds of processors.
        throttled_time: seconds for which its limit of CPUs kept it waiting.
        memory, memory_peak, swap: bytes now, at most, and swapped out now.
        pids, pids_peak: tasks, threads counted each (cgroups count them so).
        read_bytes, written_bytes, read_operations, write_operations: on block devices.
        oom_kills: processes that the kernel killed because the limit of memory was reached.
        pids_denied: forks that the limit of pids refused.
    """

    cpu_time: float | None = None
    throttled_time: float | None = None
    memory: int | None = None
    memory_peak: int | None = None
    swap: int | None = None
    pids: int | None = None
    pids_peak: int | None = None
    read_bytes: int | None = None
    written_bytes: int | None = None
    read_operations: int | None = None
    write_operations: int | None = None
    oom_kills: int | None = None
    pids_denied: int | None = None
