"""From limits to the kernel's files and values, for both versions: pure, so that it can be read as a table.

Sources: the kernel's Documentation/admin-guide/cgroup-v2.rst and Documentation/admin-guide/cgroup-v1/.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from jailkit.linux.cgroup.hierarchies import Cgroups, Hierarchy

_PAGE: Final = mmap.PAGESIZE
_MOST: Final = (2**63 - 1) // _PAGE * _PAGE  # bytes: what a page counter takes for no limit
_PERIOD: Final = 100_000  # microseconds: the kernel's own
_LONG_PERIOD: Final = 1_000_000  # microseconds: the longest
_LEAST_QUOTA: Final = 1_000  # microseconds: the kernel refuses less
_SHARES: Final = range(2, 262_145)  # MIN_SHARES to MAX_SHARES of kernel/sched/sched.h


class Io(NamedTuple):
    """Bytes and operations a second on the disk `major`:`minor`; None is unlimited.

    Version 1 holds back reads and direct I/O. What is written through the page cache reaches the disk by threads of the
    kernel, which are in no group of ours; version 2 charges it to the group where memory is limited as well.
    """

    major: int
    minor: int
    read_bps: int | None = None
    write_bps: int | None = None
    read_iops: int | None = None
    write_iops: int | None = None


class Demand(NamedTuple):
    """What a jail may use, as a whole; None leaves a resource unlimited.

    Attributes:
        memory: bytes.
        swap: bytes besides memory. With `memory` and without `swap` there is none: else a memory limit would only push
            the jail out to the host's swap.
        cpus: CPU time, in processors.
        cpu_weight: share of contended processors among jails, 1 to 10000; by default 100.
        cpuset: processors to run on: `0-1,3`.
        pids: processes and threads, the first process of each instance among them.
        devices: major and minor (None for all) of the character devices that may be used; no other may.
    """

    memory: int | None = None
    swap: int | None = None
    cpus: float | None = None
    cpu_weight: int | None = None
    cpuset: str | None = None
    pids: int | None = None
    io: tuple[Io, ...] = ()
    devices: tuple[tuple[int, int | None], ...] | None = None


class Setting(NamedTuple):
    """One limit in one file of a group.

    Attributes:
        limit: the field of `Demand`.
        controller: whose tree has the file.
        file: the file that shows what holds.
        writes: files and values to write, in this order.
        shows: the lines that `file` must show afterwards, in any order: the kernel rounds, sorts and merges.
    """

    limit: str
    controller: str
    file: str
    writes: tuple[tuple[str, str], ...]
    shows: frozenset[str]


class Missing(NamedTuple):
    """A limit that this host cannot hold; `limit` is the field of `Demand`."""

    limit: str
    why: str


class _UnheldError(Exception):
    """This host cannot hold the limit; the text says why."""


def settings(demand: Demand, host: Cgroups) -> tuple[list[Setting], list[Missing]]:
    """Translate what is demanded, each limit for the version that its controller has here."""
    made: list[Setting] = []
    missing: list[Missing] = []
    for limit, make in _TRANSLATIONS.items():
        if getattr(demand, limit) is None:
            continue
        try:
            made += make(demand, host)
        except _UnheldError as error:
            missing.append(Missing(limit, str(error)))
    return made, missing


def cpu_numbers(text: str) -> frozenset[int]:
    """Read a list of processors: `0-1,3`."""
    numbers: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        numbers.update(range(int(first), int(last or first) + 1))
    return frozenset(numbers)


def cpu_list(numbers: Iterable[int]) -> str:
    """Write a list of processors as the kernel does: sorted, neighbours as a range."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def _tree(host: Cgroups, *controllers: str) -> Hierarchy:
    for controller in controllers:
        tree = host.holding(controller)
        if tree and tree.base is not None:
            return tree
        if tree:
            raise _UnheldError(f"the {controller} controller is not delegated to this user (jailkit doctor says more)")
    raise _UnheldError(f"this host has no {controllers[-1]} controller")


def _simple(limit: str, controller: str, file: str, value: str, shows: str | None = None) -> Setting:
    return Setting(limit, controller, file, ((file, value),), frozenset({value if shows is None else shows}))


def _bytes(limit: str, file: str, value: int, version: int) -> Setting:
    """The memory controller counts pages, and rounds down."""
    shown = min(value, _MOST) // _PAGE * _PAGE
    return _simple(limit, "memory", file, str(value), "max" if version == 2 and shown == _MOST else str(shown))


def _memory(demand: Demand, host: Cgroups) -> list[Setting]:
    tree, memory = _tree(host, "memory"), demand.memory or 0
    if tree.version == 2:
        made = [_bytes("memory", "memory.max", memory, 2)]
        return made + ([_bytes("memory", "memory.swap.max", 0, 2)] if demand.swap is None and host.swap else [])
    made = [_bytes("memory", "memory.limit_in_bytes", memory, 1)]
    if demand.swap is not None:
        return made
    if host.swap:
        return [*made, _bytes("memory", "memory.memsw.limit_in_bytes", memory, 1)]
    # Without swap accounting: the memory controller does not swap at all for a group whose swappiness is 0.
    return [*made, _simple("memory", "memory", "memory.swappiness", "0")]


def _swap(demand: Demand, host: Cgroups) -> list[Setting]:
    tree, swap = _tree(host, "memory"), demand.swap or 0
    if not host.swap:
        raise _UnheldError("this kernel does not count swap (swapaccount=1 on its command line)")
    if tree.version == 2:
        return [_bytes("swap", "memory.swap.max", swap, 2)]
    if demand.memory is None:
        raise _UnheldError("version 1 of cgroups counts swap together with memory only: limit the memory too")
    return [_bytes("swap", "memory.memsw.limit_in_bytes", demand.memory + swap, 1)]


def _cpus(demand: Demand, host: Cgroups) -> list[Setting]:
    tree, cpus = _tree(host, "cpu"), demand.cpus or 0.0
    period = _PERIOD if cpus * _PERIOD >= _LEAST_QUOTA else _LONG_PERIOD
    quota = max(round(cpus * period), _LEAST_QUOTA)
    if tree.version == 2:
        return [_simple("cpus", "cpu", "cpu.max", f"{quota} {period}")]
    return [
        _simple("cpus", "cpu", "cpu.cfs_period_us", str(period)),
        _simple("cpus", "cpu", "cpu.cfs_quota_us", str(quota)),
    ]


def _cpu_weight(demand: Demand, host: Cgroups) -> list[Setting]:
    tree, weight = _tree(host, "cpu"), demand.cpu_weight or 0
    if tree.version == 2:
        return [_simple("cpu_weight", "cpu", "cpu.weight", str(weight))]
    # What the kernel makes of a weight of version 2 (sched_weight_from_cgroup): 100 is the 1024 that groups have.
    shares = (weight * 1024 + 50) // 100
    return [_simple("cpu_weight", "cpu", "cpu.shares", str(min(max(shares, _SHARES[0]), _SHARES[-1])))]


def _cpuset(demand: Demand, host: Cgroups) -> list[Setting]:
    tree, wanted = _tree(host, "cpuset"), cpu_numbers(demand.cpuset or "")
    if not wanted <= cpu_numbers(host.cpus):
        raise _UnheldError(f"there are processors {host.cpus or 'that the kernel does not name'}")
    cpus = cpu_list(wanted)
    # What was written stays to be read even where the group may not have those: only the effective list tells.
    shown = "cpuset.effective_cpus" if tree.version == 1 else "cpuset.cpus.effective"
    return [Setting("cpuset", "cpuset", shown, (("cpuset.cpus", cpus),), frozenset({cpus}))]


def _pids(demand: Demand, host: Cgroups) -> list[Setting]:
    _tree(host, "pids")
    return [_simple("pids", "pids", "pids.max", str(demand.pids))]


_IO_FIELDS: Final = ("read_bps", "write_bps", "read_iops", "write_iops")
_IO_KEYS: Final = ("rbps", "wbps", "riops", "wiops")


def _io(demand: Demand, host: Cgroups) -> list[Setting]:
    disks = _strictest(demand.io)
    if not disks:
        return []
    tree = _tree(host, "blkio", "io")
    if tree.version == 1:
        return [made for field in _IO_FIELDS for made in _throttle(field, disks)]
    lines = [
        f"{disk.major}:{disk.minor} "
        + " ".join(f"{key}={'max' if value is None else value}" for key, value in zip(_IO_KEYS, disk[2:], strict=True))
        for disk in disks
    ]
    return [Setting("io", "io", "io.max", tuple(("io.max", line) for line in lines), frozenset(lines))]


def _throttle(field: str, disks: Sequence[Io]) -> list[Setting]:
    file = f"blkio.throttle.{field}_device"
    lines = [f"{d.major}:{d.minor} {getattr(d, field)}" for d in disks if getattr(d, field) is not None]
    return [Setting("io", "blkio", file, tuple((file, line) for line in lines), frozenset(lines))] if lines else []


def _strictest(limits: Iterable[Io]) -> list[Io]:
    """Merge limits on one disk, which several paths may share, to the least of each; drop what limits nothing."""
    disks: dict[tuple[int, int], Io] = {}
    for limit in limits:
        key = (limit.major, limit.minor)
        rates = zip(limit[2:], disks.get(key, Io(*key))[2:], strict=True)
        disks[key] = Io(*key, *(min((r for r in pair if r is not None), default=None) for pair in rates))
    return [disk for _, disk in sorted(disks.items()) if any(rate is not None for rate in disk[2:])]


def _devices(demand: Demand, host: Cgroups) -> list[Setting]:
    if host.holding("devices") is None and host.tree:
        raise _UnheldError("version 2 of cgroups has no device list, only programs (eBPF) that others load")
    _tree(host, "devices")
    lines = [f"c {major}:{'*' if minor is None else minor} rwm" for major, minor in demand.devices or ()]
    # Denied first: the list is of exceptions to what holds for all.
    writes = (("devices.deny", "a"), *(("devices.allow", line) for line in lines))
    return [Setting("devices", "devices", "devices.list", writes, frozenset(lines))]


_TRANSLATIONS: Final = {
    "memory": _memory,
    "swap": _swap,
    "cpus": _cpus,
    "cpu_weight": _cpu_weight,
    "cpuset": _cpuset,
    "pids": _pids,
    "io": _io,
    "devices": _devices,
}
