"""Where a group is, what it has used and what does not hold, from files as the kernel shows them."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.trees import plant

from jailkit.linux.cgroup import Cgroups, Group, Hierarchy, Mismatch, Setting, Stats

FROM_V1 = {
    "/cpuacct/jailkit/box/cpuacct.usage": "2500000000\n",
    "/cpu/jailkit/box/cpu.stat": "nr_periods 9\nnr_throttled 5\nthrottled_time 1500000000\n",
    "/memory/jailkit/box/memory.usage_in_bytes": "4096\n",
    "/memory/jailkit/box/memory.max_usage_in_bytes": "8192\n",
    "/memory/jailkit/box/memory.stat": "swap 1\ntotal_swap 12288\n",
    "/memory/jailkit/box/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
    "/memory/jailkit/box/main/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
    "/pids/jailkit/box/pids.current": "3\n",
    "/pids/jailkit/box/pids.events": "max 0\n",
    "/pids/jailkit/box/main/pids.events": "max 7\n",
    "/blkio/jailkit/box/blkio.throttle.io_service_bytes_recursive": "8:0 Read 10\n8:0 Write 20\n8:1 Read 1\n",
    "/blkio/jailkit/box/blkio.throttle.io_serviced_recursive": "8:0 Read 2\n8:0 Write 3\nTotal 5\n",
    "/blkio/jailkit/box/main/blkio.throttle.io_serviced_recursive": "Total 0\n",
}
FROM_V2 = {
    "/jailkit/box/cpu.stat": "usage_usec 2500000\nuser_usec 1\nthrottled_usec 1500000\n",
    "/jailkit/box/memory.current": "4096\n",
    "/jailkit/box/memory.peak": "8192\n",
    "/jailkit/box/memory.swap.current": "12288\n",
    "/jailkit/box/memory.events": "low 0\noom 5\noom_kill 3\noom_group_kill 0\n",
    "/jailkit/box/main/memory.events": "oom_kill 3\n",
    "/jailkit/box/pids.current": "3\n",
    "/jailkit/box/pids.events": "max 7\n",
    "/jailkit/box/main/pids.events": "max 0\n",
    "/jailkit/box/io.stat": "8:0 rbytes=10 wbytes=20 rios=2 wios=3 dbytes=9\n8:16 rbytes=1 wbytes=0 rios=0 wios=0\n",
}
OLD = ("blkio", "cpu", "cpuacct", "cpuset", "freezer", "memory", "pids")


def v1(root: Path) -> Cgroups:
    return Cgroups(tuple(Hierarchy(1, (name,), f"{root}/{name}", "") for name in OLD))


def v2(root: Path) -> Cgroups:
    return Cgroups((Hierarchy(2, ("cpu", "io", "memory", "pids"), str(root), ""),))


USED = Stats(
    cpu_time=2.5,
    throttled_time=1.5,
    memory=4096,
    memory_peak=8192,
    swap=12288,
    pids=3,
    read_bytes=11,
    written_bytes=20,
    read_operations=2,
    write_operations=3,
    oom_kills=3,
    pids_denied=7,
)


def test_both_versions_measure_the_same(tmp_path: Path) -> None:
    assert Group(v1(plant(tmp_path / "1", dict(FROM_V1))), "box").stats() == USED
    assert Group(v2(plant(tmp_path / "2", dict(FROM_V2))), "box").stats() == USED


def test_io_of_version_1_is_that_of_the_jail(tmp_path: Path) -> None:
    assert Group(v1(plant(tmp_path, dict(FROM_V1))), "box/main").stats().read_bytes == 11


def test_what_is_not_there_is_not_known(tmp_path: Path) -> None:
    assert Group(v1(tmp_path), "box").stats() == Stats()
    assert Group(v2(plant(tmp_path, {"/jailkit/box/memory.peak": "max\n"})), "box").stats() == Stats()
    assert Group(Cgroups(()), "box").stats() == Stats()


def test_a_value_that_differs_does_not_hold(tmp_path: Path) -> None:
    plant(tmp_path, {"/jailkit/box/pids.max": "17\n"})
    settings = [
        Setting("pids", "pids", "pids.max", (("pids.max", "16"),), frozenset({"16"})),
        Setting("memory", "memory", "memory.max", (("memory.max", "1"),), frozenset({"0"})),
    ]
    wrong = Group(v2(tmp_path), "box").read_back(settings)
    assert wrong == [Mismatch(settings[0], frozenset({"17"})), Mismatch(settings[1], None)]
    assert str(wrong[0]) == "pids: pids.max shows 17, not 16"
    assert str(wrong[1]) == "memory: memory.max shows nothing, not 0"


def test_only_processes_that_can_be_seen_from_here_are_named(tmp_path: Path) -> None:
    """A 0 stands for one of another pid namespace, and kill(2) takes it for our own process group."""
    plant(tmp_path, {"/jailkit/box/cgroup.procs": "0\n12\n", "/jailkit/box/main/cgroup.procs": "0\n34\n"})
    assert Group(v2(tmp_path), "box").pids() == [12, 34]


@pytest.mark.parametrize("name", ["..", "../other", "box/..", "box/main/more", "", "/", "box/", ".hidden"])
def test_a_name_leads_nowhere_else(tmp_path: Path, name: str) -> None:
    with pytest.raises(OSError, match="not a name for a group of ours"):
        Group(v2(tmp_path), name).remove()


def test_children_are_found_in_whatever_tree_they_are(tmp_path: Path) -> None:
    plant(tmp_path, {"/cpu/jailkit/box/main": None, "/freezer/jailkit/box/run-1": None})
    box = Group(v1(tmp_path), "box")
    assert (box.children(), box.exists()) == (["main", "run-1"], True)
    assert not Group(v1(tmp_path), "other").exists()


def test_beside_version_1_the_tree_is_entered_only_for_what_it_has(tmp_path: Path) -> None:
    empty, useful = (Hierarchy(2, names, str(tmp_path), "") for names in (("hugetlb",), ("pids",)))
    old = v1(tmp_path)
    assert Group(old._replace(hierarchies=(*old.hierarchies, empty)), "box").tree is None
    assert Group(old._replace(hierarchies=(*old.hierarchies, useful)), "box").tree == useful
    assert Group(v2(tmp_path), "box").tree is not None


def test_processes_are_found_in_what_the_user_was_given(tmp_path: Path) -> None:
    old = v1(tmp_path)
    given = [h if "memory" in h.controllers else h._replace(base=None) for h in old.hierarchies]
    plant(tmp_path, {"/memory/jailkit/box/cgroup.procs": "12\n"})
    box = Group(old._replace(hierarchies=tuple(given)), "box")
    assert box.pids() == [12]
    with pytest.raises(OSError, match="no freezer"):
        box.freeze()
    tree = Hierarchy(2, (), str(tmp_path), "")
    assert Group(old._replace(hierarchies=(*given, tree)), "box").tracker == tree
    assert Group(old, "box").tracker == old.holding("freezer")


def test_without_any_group_there_is_nobody_to_kill() -> None:
    box = Group(Cgroups(()), "box")
    box.kill()
    box.remove()
    assert (box.pids(), box.open_procs(), box.frozen()) == ([], [], False)
    with pytest.raises(OSError, match="no freezer"):
        box.freeze()
