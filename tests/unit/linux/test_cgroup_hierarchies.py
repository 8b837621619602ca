"""The cgroup trees and where a process may make groups, from what the kernel writes about them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from support.trees import plant

from jailkit.linux.cgroup import Cgroups, Hierarchy, disk_of
from jailkit.linux.cgroup.hierarchies import find_cgroups

ROOT = "25 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n"
V1 = {
    "cpu": "32 23 0:28 / {}/cpu rw shared:5 - cgroup cgroup rw,cpu,cpuacct\n",
    "memory": "33 23 0:29 / {}/memory rw - cgroup cgroup rw,memory\n",
    "cpuset": "35 23 0:31 / {}/cpuset rw - cgroup cgroup rw,cpuset\n",
    "systemd": "34 23 0:30 / {}/systemd rw - cgroup cgroup rw,xattr,name=systemd\n",
}
UNIFIED = "30 23 0:26 / {}/unified rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
OWN_V1 = "5:cpu,cpuacct:/user/me\n4:memory:/user/me\n3:cpuset:/\n2:name=systemd:/\n"
OWN_V2 = "0::/user.slice/me.service/app.slice/run.scope\n"


def anything(_path: str) -> bool:
    return True


def nothing(_path: str) -> bool:
    return False


def only(*paths: str) -> Callable[[str], bool]:
    """May write these folders and the files in them, not the folders below."""
    return lambda path: (path.rpartition("/")[0] if "/cgroup." in path else path) in paths


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return plant(
        tmp_path,
        {
            "/unified/cgroup.controllers": "cpuset cpu io memory pids\n",
            "/unified/cpuset.cpus.effective": "0-3\n",
            "/unified/user.slice/me.service/app.slice/cgroup.controllers": "memory pids\n",
            "/unified/user.slice/memory.max": "max\n",
            "/unified/user.slice/memory.swap.max": "max\n",
            "/cpuset/cpuset.effective_cpus": "0-1\n",
            "/cpuset/cpuset.effective_mems": "0\n",
            "/memory/memory.memsw.limit_in_bytes": "9223372036854771712\n",
        },
    )


def v1(tree: Path) -> str:
    return ROOT + "".join(line.format(tree) for line in V1.values())


def v2(tree: Path) -> str:
    return ROOT + UNIFIED.format(tree)


def test_version_2(tree: Path) -> None:
    found = find_cgroups(v2(tree), OWN_V2, True, anything)
    assert (found.mode, found.controllers) == ("v2", ("cpu", "cpuset", "io", "memory", "pids"))
    assert found.hierarchies[0].base == ""
    assert (found.cpus, found.swap, found.writable) == ("0-3", True, True)


def test_version_2_without_swap(tree: Path) -> None:
    (tree / "unified/user.slice/memory.swap.max").unlink()
    assert not find_cgroups(v2(tree), OWN_V2, True, anything).swap


def test_version_1(tree: Path) -> None:
    found = find_cgroups(v1(tree), OWN_V1, True, anything)
    assert (found.mode, found.controllers) == ("v1", ("cpu", "cpuacct", "cpuset", "memory"))
    assert (found.cpus, found.mems, found.swap) == ("0-1", "0", True)
    assert found.holding("cpuacct") == Hierarchy(1, ("cpu", "cpuacct"), f"{tree}/cpu", "")
    assert found.holding("pids") is None


def test_version_1_without_swapaccount(tree: Path) -> None:
    (tree / "memory/memory.memsw.limit_in_bytes").unlink()
    assert not find_cgroups(v1(tree), OWN_V1, True, anything).swap


def test_hybrid_counts_each_controller_where_it_is(tree: Path) -> None:
    (tree / "unified/cgroup.controllers").write_text("pids\n")
    found = find_cgroups(v1(tree) + v2(tree), f"{OWN_V1}{OWN_V2}", True, anything)
    assert found.mode == "hybrid"
    versions = {name: found.holding(name).version for name in ("memory", "pids")}  # type: ignore[union-attr]
    assert versions == {"memory": 1, "pids": 2}


def test_a_named_tree_without_controllers_is_not_version_1(tree: Path) -> None:
    found = find_cgroups(v2(tree) + V1["systemd"].format(tree), f"2:name=systemd:/\n{OWN_V2}", True, anything)
    assert found.mode == "v2"
    assert len(found.hierarchies) == 2


def test_none() -> None:
    found = find_cgroups(ROOT, "", True, anything)
    assert found == Cgroups(())
    assert (found.mode, found.writable) == ("none", False)


def test_root_that_may_not_write_makes_no_groups(tree: Path) -> None:
    found = find_cgroups(v1(tree) + v2(tree), f"{OWN_V1}{OWN_V2}", True, nothing)
    assert (found.usable, found.writable) == ((), False)
    assert "memory" in found.controllers


def test_a_user_gets_the_deepest_group_of_version_1_that_is_given(tree: Path) -> None:
    allowed = only(f"{tree}/memory", f"{tree}/memory/user", f"{tree}/memory/user/me", f"{tree}/cpu/user")
    found = find_cgroups(v1(tree), OWN_V1, False, allowed)
    bases = {name: found.holding(name).base for name in ("cpu", "memory", "cpuset")}  # type: ignore[union-attr]
    assert bases == {"cpu": "/user", "memory": "/user/me", "cpuset": None}


def test_a_user_gets_a_group_of_version_2_above_that_of_the_processes(tree: Path) -> None:
    service = f"{tree}/unified/user.slice/me.service"
    allowed = only(service, f"{service}/app.slice", f"{service}/app.slice/run.scope")
    found = find_cgroups(v2(tree), OWN_V2, False, allowed)
    assert found.hierarchies[0].base == "/user.slice/me.service/app.slice"
    assert found.controllers == ("memory", "pids")


def test_a_group_of_version_2_that_gives_no_controllers_is_none(tree: Path) -> None:
    found = find_cgroups(v2(tree), OWN_V2, False, lambda path: not path.endswith("subtree_control"))
    assert found.hierarchies[0].base is None


def test_paths_outside_of_what_is_mounted_are_not_followed(tree: Path) -> None:
    """In a container the mount shows a part of the tree, and a cgroup namespace tells of groups above it as `/..`."""
    text = v2(tree).replace("0:26 /", "0:26 /docker/box")
    allowed = only(f"{tree}/unified")
    assert find_cgroups(text, "0::/docker/box/job\n", False, allowed).hierarchies[0].base == ""
    assert find_cgroups(text, "0::/../other\n", False, allowed).hierarchies[0].base == ""


def test_a_partition_is_answered_with_its_disk(tmp_path: Path) -> None:
    device = tmp_path.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    plant(
        tmp_path,
        {
            "/devices/sda/dev": "8:0\n",
            "/devices/sda/sda1/partition": "1\n",
            "/devices/sda/sda1/dev": f"{number}\n",
            f"/block/{number}": "-> ../devices/sda/sda1",
        },
    )
    assert disk_of(str(tmp_path), f"{tmp_path}/block") == (8, 0)
    (tmp_path / "devices/sda/sda1/partition").unlink()
    assert disk_of(str(tmp_path), f"{tmp_path}/block") == (os.major(device), os.minor(device))


def test_a_file_system_without_a_disk_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no disk of its own"):
        disk_of(str(tmp_path), f"{tmp_path}/empty")
