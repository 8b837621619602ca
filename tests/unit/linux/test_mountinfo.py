"""Mount points are chosen by path components, with the kernel's escapes undone."""

from __future__ import annotations

from pathlib import Path

from jailkit.linux.mountinfo import mounts_below, select_cgroups, select_mounts

TABLE = rb"""21 1 254:0 / / rw,relatime - ext4 /dev/vda rw
22 21 0:20 / /srv/jail rw - tmpfs tmpfs rw
23 21 0:21 / /srv/jail-evil rw - tmpfs tmpfs rw
24 22 0:22 / /srv/jail/a\040b\011c\134\012d rw shared:1 master:2 - tmpfs tmpfs rw
25 21 0:23 / /srv rw - tmpfs tmpfs rw
26 21 0:24 / /srv/jail/\303\244 rw - tmpfs tmpfs rw
"""


def test_components_decide_and_escapes_are_undone() -> None:
    expected = ["/srv/jail", "/srv/jail/a b\tc\\\nd", "/srv/jail/ä"]
    assert select_mounts(TABLE, "/srv/jail") == expected
    assert select_mounts(TABLE, "/srv/jail/") == expected


def test_below_the_root_is_everything() -> None:
    assert len(select_mounts(TABLE, "/")) == 6


def test_nothing_mounted() -> None:
    assert select_mounts(TABLE, "/home") == []


def test_the_kernel_s_own_table_and_links_on_the_way(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/proc")
    assert "/proc" in mounts_below(str(tmp_path / "link"))
    assert mounts_below(str(tmp_path)) == []


HIERARCHIES = rb"""24 1 254:0 / / rw - ext4 /dev/vda rw
30 24 0:30 / /sys/fs/cgroup rw - tmpfs cgroup rw
31 30 0:31 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
32 30 0:32 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
33 30 0:33 / /sys/fs/cgroup/a\040b rw shared:1 - cgroup2 cgroup2 rw,nsdelegate
34 24 0:31 / /mnt/again rw - cgroup cgroup rw,cpu,cpuacct
"""


def test_each_hierarchy_of_cgroups_is_given_once_named_ones_too() -> None:
    assert select_cgroups(HIERARCHIES) == [
        "/sys/fs/cgroup/cpu,cpuacct",
        "/sys/fs/cgroup/systemd",
        "/sys/fs/cgroup/a b",
    ]
