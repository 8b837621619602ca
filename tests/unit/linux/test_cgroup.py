"""The cgroup hierarchies, from what the kernel writes about them."""

from __future__ import annotations

from jailkit.linux.cgroup import Cgroups, find_cgroups

KNOWN = """#subsys_name\thierarchy\tnum_cgroups\tenabled
cpu\t1\t10\t1
memory\t2\t10\t1
pids\t0\t10\t1
"""
ROOT = "25 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n"
UNIFIED = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
BESIDE = "31 23 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup rw\n"
CPU = "32 23 0:28 / /sys/fs/cgroup/cpu rw shared:5 - cgroup cgroup rw,cpu\n"
MEMORY = "33 23 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
NAMED = "34 23 0:30 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"


def test_version_2() -> None:
    found = find_cgroups(ROOT + UNIFIED, KNOWN, lambda _: "cpu io memory\n")
    assert found == Cgroups("v2", ("cpu", "io", "memory"), ("/sys/fs/cgroup",))


def test_version_1() -> None:
    found = find_cgroups(ROOT + CPU + MEMORY + NAMED, KNOWN, lambda _: "")
    assert found == Cgroups("v1", ("cpu", "memory"), ("/sys/fs/cgroup/cpu", "/sys/fs/cgroup/memory"))


def test_hybrid() -> None:
    found = find_cgroups(ROOT + BESIDE + CPU, KNOWN, lambda _: "pids\n")
    assert found.mode == "hybrid"
    assert found.controllers == ("cpu", "pids")
    assert "/sys/fs/cgroup/unified" in found.points


def test_a_named_tree_without_controllers_is_not_version_1() -> None:
    assert find_cgroups(UNIFIED + NAMED, KNOWN, lambda _: "cpu").mode == "v2"


def test_none() -> None:
    assert find_cgroups(ROOT, KNOWN, lambda _: "") == Cgroups("none", (), ())
