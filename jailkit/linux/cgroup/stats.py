"""What the processes of a group have used, from the files of either version."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jailkit.linux.cgroup.files import field, folders, number, read
from jailkit.linux.figures import Stats


def read_stats(files: Callable[[str], tuple[int, str] | None]) -> Stats:
    """Read all that can be known.

    Args:
        files: gives the version and the folder of a controller's files, by its name in version 1.
    """
    found: _Found = {}
    for controller, versions in _READERS.items():
        if place := files(controller):
            version, folder = place
            found |= versions[version - 1](folder)
    return Stats(**found)


_Found = dict[str, Any]  # floats for seconds, else ints, and None
_Counter = Callable[[str], float | int | None]


def read_count(name: str, files: Callable[[str], tuple[int, str] | None]) -> float:
    """Read one of the counters `oom_kills`, `pids_denied` and `throttled_time` alone; 0 where there is none.

    `files` is as for `read_stats`.
    """
    controller, versions = _COUNTERS[name]
    place = files(controller)
    return (versions[place[0] - 1](place[1]) if place else None) or 0


def _scaled(value: int | None, unit: float) -> float | None:
    return None if value is None else value / unit


def _cpuacct_1(folder: str) -> _Found:
    return {"cpu_time": _scaled(number(read(f"{folder}/cpuacct.usage")), 1e9)}


def _cpuacct_2(folder: str) -> _Found:
    # Every group of version 2 counts its time, with or without the controller.
    return {"cpu_time": _scaled(field(read(f"{folder}/cpu.stat"), "usage_usec"), 1e6)}


def _throttled_1(folder: str) -> float | None:
    return _scaled(field(read(f"{folder}/cpu.stat"), "throttled_time"), 1e9)


def _throttled_2(folder: str) -> float | None:
    return _scaled(field(read(f"{folder}/cpu.stat"), "throttled_usec"), 1e6)


def _oom_kills_1(folder: str) -> int | None:
    # A kill is counted in the victim's own group alone.
    return _everywhere(folder, "memory.oom_control", "oom_kill")


def _oom_kills_2(folder: str) -> int | None:
    return field(read(f"{folder}/memory.events"), "oom_kill")


def _pids_denied(folder: str) -> int | None:
    # Version 1, and version 2 before Linux 6.11, count in the group of the process that forks; later kernels in the
    # one whose limit it was. Limits are on the jail's group and forks in the leafs: never are both counted.
    return _everywhere(folder, "pids.events", "max")


def _cpu_1(folder: str) -> _Found:
    return {"throttled_time": _throttled_1(folder)}


def _cpu_2(folder: str) -> _Found:
    return {"throttled_time": _throttled_2(folder)}


def _memory_1(folder: str) -> _Found:
    return {
        "memory": number(read(f"{folder}/memory.usage_in_bytes")),
        "memory_peak": number(read(f"{folder}/memory.max_usage_in_bytes")),
        "swap": field(read(f"{folder}/memory.stat"), "total_swap"),
        "oom_kills": _oom_kills_1(folder),
    }


def _memory_2(folder: str) -> _Found:
    return {
        "memory": number(read(f"{folder}/memory.current")),
        "memory_peak": number(read(f"{folder}/memory.peak")),
        "swap": number(read(f"{folder}/memory.swap.current")),
        "oom_kills": _oom_kills_2(folder),
    }


def _pids(folder: str) -> _Found:
    return {
        "pids": number(read(f"{folder}/pids.current")),
        "pids_peak": number(read(f"{folder}/pids.peak")),
        "pids_denied": _pids_denied(folder),
    }


def _io_1(folder: str) -> _Found:
    sizes = _per_operation(read(f"{folder}/blkio.throttle.io_service_bytes_recursive"))
    counts = _per_operation(read(f"{folder}/blkio.throttle.io_serviced_recursive"))
    return {
        "read_bytes": sizes.get("Read", 0),
        "written_bytes": sizes.get("Write", 0),
        "read_operations": counts.get("Read", 0),
        "write_operations": counts.get("Write", 0),
    }


def _per_operation(text: str | None) -> dict[str, int]:
    """Add up lines of `major:minor operation number` over all disks."""
    sums: dict[str, int] = {}
    for line in (text or "").splitlines():
        words = line.split()
        if len(words) == 3:
            sums[words[1]] = sums.get(words[1], 0) + int(words[2])
    return sums


def _io_2(folder: str) -> _Found:
    text = read(f"{folder}/io.stat")
    if text is None:
        return {}
    sums = dict.fromkeys(("rbytes", "wbytes", "rios", "wios"), 0)
    for word in text.split():
        key, _, value = word.partition("=")
        if key in sums:
            sums[key] += int(value)
    names = ("read_bytes", "written_bytes", "read_operations", "write_operations")
    return dict(zip(names, sums.values(), strict=True))


def _everywhere(folder: str, file: str, name: str) -> int | None:
    """Add up a counter over a group and all below it; None where there is none."""
    here = field(read(f"{folder}/{file}"), name)
    below = [_everywhere(f"{folder}/{group}", file, name) for group in folders(folder)]
    counted = [count for count in (here, *below) if count is not None]
    return sum(counted) if counted else None


_READERS: dict[str, tuple[Callable[[str], _Found], Callable[[str], _Found]]] = {
    "cpuacct": (_cpuacct_1, _cpuacct_2),
    "cpu": (_cpu_1, _cpu_2),
    "memory": (_memory_1, _memory_2),
    "pids": (_pids, _pids),
    "blkio": (_io_1, _io_2),
}
_COUNTERS: dict[str, tuple[str, tuple[_Counter, _Counter]]] = {
    "oom_kills": ("memory", (_oom_kills_1, _oom_kills_2)),
    "pids_denied": ("pids", (_pids_denied, _pids_denied)),
    "throttled_time": ("cpu", (_throttled_1, _throttled_2)),
}
