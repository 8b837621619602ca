"""Limits to files and values, for each version."""

from __future__ import annotations

import pytest

from jailkit.linux.cgroup import Cgroups, Demand, Hierarchy, Io, Missing, Setting, settings
from jailkit.linux.cgroup.settings import cpu_list, cpu_numbers

OLD = ("blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "memory", "pids")
V1 = Cgroups(tuple(Hierarchy(1, (name,), f"/cg/{name}", "") for name in OLD), cpus="0-3", mems="0", swap=True)
V2 = Cgroups((Hierarchy(2, ("cpu", "cpuset", "io", "memory", "pids"), "/cg", ""),), cpus="0-3", swap=True)
GIB = 1 << 30


def table(demand: Demand, host: Cgroups) -> dict[str, list[str]]:
    """Give what is written to each file: `{"pids.max": ["16"]}`."""
    made, missing = settings(demand, host)
    assert missing == []
    written: dict[str, list[str]] = {}
    for setting in made:
        for file, value in setting.writes:
            written.setdefault(file, []).append(value)
    return written


@pytest.mark.parametrize(
    ("demand", "old", "new"),
    [
        (Demand(), {}, {}),
        (
            Demand(memory=GIB),
            {"memory.limit_in_bytes": [str(GIB)], "memory.memsw.limit_in_bytes": [str(GIB)]},
            {"memory.max": [str(GIB)], "memory.swap.max": ["0"]},
        ),
        (
            Demand(memory=GIB, swap=GIB),
            {"memory.limit_in_bytes": [str(GIB)], "memory.memsw.limit_in_bytes": [str(2 * GIB)]},
            {"memory.max": [str(GIB)], "memory.swap.max": [str(GIB)]},
        ),
        (
            Demand(cpus=1.5),
            {"cpu.cfs_period_us": ["100000"], "cpu.cfs_quota_us": ["150000"]},
            {"cpu.max": ["150000 100000"]},
        ),
        (
            Demand(cpus=0.002),
            {"cpu.cfs_period_us": ["1000000"], "cpu.cfs_quota_us": ["2000"]},
            {"cpu.max": ["2000 1000000"]},
        ),
        (Demand(cpu_weight=100), {"cpu.shares": ["1024"]}, {"cpu.weight": ["100"]}),
        (Demand(cpu_weight=1), {"cpu.shares": ["10"]}, {"cpu.weight": ["1"]}),
        (Demand(cpu_weight=10000), {"cpu.shares": ["102400"]}, {"cpu.weight": ["10000"]}),
        (Demand(cpuset="1,0,3"), {"cpuset.cpus": ["0-1,3"]}, {"cpuset.cpus": ["0-1,3"]}),
        (Demand(pids=16), {"pids.max": ["16"]}, {"pids.max": ["16"]}),
        (
            Demand(io=(Io(8, 16, write_bps=5), Io(8, 0, read_bps=1, write_iops=2), Io(8, 16, write_bps=4))),
            {
                "blkio.throttle.read_bps_device": ["8:0 1"],
                "blkio.throttle.write_bps_device": ["8:16 4"],
                "blkio.throttle.write_iops_device": ["8:0 2"],
            },
            {"io.max": ["8:0 rbps=1 wbps=max riops=max wiops=2", "8:16 rbps=max wbps=4 riops=max wiops=max"]},
        ),
        (Demand(io=(Io(8, 0),)), {}, {}),
    ],
)  # fmt: skip
def test_each_limit_in_each_version(demand: Demand, old: dict[str, list[str]], new: dict[str, list[str]]) -> None:
    assert table(demand, V1) == old
    assert table(demand, V2) == new


def shows(demand: Demand, host: Cgroups) -> dict[str, set[str]]:
    return {setting.file: set(setting.shows) for setting in settings(demand, host)[0]}


def test_what_the_kernel_shows_is_not_always_what_was_written() -> None:
    assert shows(Demand(memory=10_000), V2) == {"memory.max": {"8192"}, "memory.swap.max": {"0"}}
    most = Demand(memory=2**63 - 1, swap=2**63 - 1)
    assert shows(most, V2) == {"memory.max": {"max"}, "memory.swap.max": {"max"}}
    unlimited = {"9223372036854771712"}
    assert shows(most, V1) == {"memory.limit_in_bytes": unlimited, "memory.memsw.limit_in_bytes": unlimited}
    assert shows(Demand(cpuset="2,1"), V1) == {"cpuset.effective_cpus": {"1-2"}}
    assert shows(Demand(cpuset="2,1"), V2) == {"cpuset.cpus.effective": {"1-2"}}


def test_without_counting_swap_a_memory_limit_forbids_it() -> None:
    assert table(Demand(memory=GIB), V1._replace(swap=False))["memory.swappiness"] == ["0"]
    # In version 2 only a kernel without any swap does not count it.
    assert table(Demand(memory=GIB), V2._replace(swap=False)) == {"memory.max": [str(GIB)]}


def test_devices_are_denied_before_some_are_allowed() -> None:
    made, missing = settings(Demand(devices=((1, 3), (136, None))), V1)
    assert missing == []
    assert made == [
        Setting(
            "devices",
            "devices",
            "devices.list",
            (("devices.deny", "a"), ("devices.allow", "c 1:3 rwm"), ("devices.allow", "c 136:* rwm")),
            frozenset({"c 1:3 rwm", "c 136:* rwm"}),
        )
    ]


def test_no_device_at_all_is_a_demand_too() -> None:
    assert table(Demand(devices=()), V1) == {"devices.deny": ["a"]}


EVERYTHING = Demand(GIB, GIB, 1.0, 50, "0", 16, (Io(8, 0, write_bps=1),), ((1, 3),))


def test_without_controllers_everything_is_missing_and_says_so() -> None:
    made, missing = settings(EVERYTHING, Cgroups(()))
    assert made == []
    assert [m.limit for m in missing] == list(Demand._fields)
    assert missing[0] == Missing("memory", "this host has no memory controller")
    assert missing[6] == Missing("io", "this host has no io controller")


def test_a_controller_that_is_not_delegated_is_missing() -> None:
    host = V2._replace(hierarchies=(V2.hierarchies[0]._replace(base=None),))
    assert settings(Demand(pids=1), host) == (
        [],
        [Missing("pids", "the pids controller is not delegated to this user (jailkit doctor says more)")],
    )


@pytest.mark.parametrize(
    ("demand", "host", "why"),
    [
        (Demand(swap=0), V1, "together with memory"),
        (Demand(memory=GIB, swap=0), V1._replace(swap=False), "does not count swap"),
        (Demand(cpuset="2-5"), V1, "there are processors 0-3"),
        (Demand(cpuset="4"), V2, "there are processors 0-3"),
        (Demand(devices=()), V2, "eBPF"),
    ],
)
def test_what_a_host_cannot_hold(demand: Demand, host: Cgroups, why: str) -> None:
    missing = settings(demand, host)[1]
    assert len(missing) == 1
    assert why in missing[0].why


@pytest.mark.parametrize(
    ("text", "numbers", "again"),
    [("", set(), ""), ("3", {3}, "3"), ("0-2,4,3,7", {0, 1, 2, 3, 4, 7}, "0-4,7"), ("5,5-6", {5, 6}, "5-6")],
)
def test_lists_of_processors(text: str, numbers: set[int], again: str) -> None:
    assert cpu_numbers(text) == numbers
    assert cpu_list(numbers) == again
