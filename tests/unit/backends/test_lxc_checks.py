"""What liblxc holds and what the kernel shows, compared with what was asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support.containers import viewed

from jailkit.backends.lxc.arrived import Arrived, shortfalls
from jailkit.backends.lxc.loaded import differences
from jailkit.backends.lxc.order import LaunchOrder

PAIRS = (
    ("lxc.rootfs.path", "dir:/srv/root"),
    ("lxc.idmap", "u 0 5 6"),
    ("lxc.idmap", "g 0 5 6"),
    ("lxc.cap.keep", "kill chown"),
    ("lxc.mount.auto", "proc:mixed sys:ro"),
)
HELD = {
    "lxc.rootfs.path": "/srv/root",
    "lxc.idmap": "u 0 5 6\ng 0 5 6",
    "lxc.cap.keep": "chown\nkill\n",
    "lxc.mount.auto": "proc:mixed sys:ro",
}


def held(**changes: str) -> Callable[[str], str]:
    return (HELD | {f"lxc.{key.replace('_', '.')}": value for key, value in changes.items()}).__getitem__


def test_what_arrived_is_no_difference() -> None:
    assert differences(PAIRS, held()) == []


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"idmap": ""}, "lxc.idmap: wrote 'u 0 5 6, g 0 5 6', LXC has ''"),
        ({"idmap": "u 0 5 6"}, "lxc.idmap: wrote 'u 0 5 6, g 0 5 6', LXC has 'u 0 5 6'"),
        ({"idmap": "g 0 5 6\nu 0 5 6"}, "lxc.idmap: wrote 'u 0 5 6, g 0 5 6', LXC has 'g 0 5 6\\nu 0 5 6'"),
        ({"cap_keep": ""}, "lxc.cap.keep: wrote 'kill chown', LXC has ''"),
        (
            {"cap_keep": "chown\nkill\nsys_admin"},
            "lxc.cap.keep: wrote 'kill chown', LXC has 'chown\\nkill\\nsys_admin'",
        ),
        ({"mount_auto": "proc:mixed"}, "lxc.mount.auto: wrote 'proc:mixed sys:ro', LXC has 'proc:mixed'"),
        ({"rootfs_path": "/srv"}, "lxc.rootfs.path: wrote 'dir:/srv/root', LXC has '/srv'"),
    ],
)
def test_what_did_not_arrive_is_named(changes: dict[str, str], named: str) -> None:
    assert differences(PAIRS, held(**changes)) == [named]


def test_a_key_that_liblxc_does_not_know_is_named() -> None:
    assert differences((("lxc.new", "1"),), held()) == ["lxc.new: this liblxc does not know it"]


ORDER = LaunchOrder(
    "box", viewed("/r"), "/f", "g", "m", "box", ids=(5, 6), seccomp="/s", device_rules=1, apparmor="jail"
)
GOOD = Arrived(
    status={"CapBnd": "0000000000000000", "NoNewPrivs": "1", "Seccomp": "2"},
    uid_map=("0", "5", "6"),
    gid_map=("0", "5", "6"),
    own=frozenset({"cgroup", "ipc", "mnt", "net", "pid", "user", "uts"}),
    apparmor="jail",
    devices=("c 1:3 rwm",),
)


def test_a_container_as_ordered_has_no_shortfall() -> None:
    assert shortfalls(ORDER, GOOD) == []


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"own": GOOD.own - {"uts"}}, "shares with the host the namespaces uts"),
        ({"own": GOOD.own - {"user", "net"}}, "shares with the host the namespaces net user"),
        ({"uid_map": ("0", "0", "4294967295")}, "its map of uids is 0 0 4294967295, not 0 5 6"),
        ({"gid_map": ("0", "7", "6")}, "its map of gids is 0 7 6, not 0 5 6"),
        ({"status": GOOD.status | {"CapBnd": "0000000000200000"}}, "has the capabilities 0x200000 too many"),
        ({"status": {}}, "too many"),
        ({"status": GOOD.status | {"NoNewPrivs": "0"}}, "no_new_privs is not set"),
        ({"status": GOOD.status | {"Seccomp": "0"}}, "no seccomp filter is loaded"),
        ({"apparmor": "unconfined"}, "its AppArmor profile is unconfined, not jail"),
        ({"devices": ("a *:* rwm",)}, "its cgroup allows all devices"),
        ({"devices": None}, "its cgroup allows all devices"),
    ],
)
def test_what_the_kernel_shows_otherwise_is_named(changes: dict[str, Any], named: str) -> None:
    found = shortfalls(ORDER, GOOD._replace(**changes))
    assert named in found[0]


def test_rules_for_the_other_version_of_cgroups_are_named() -> None:
    found = shortfalls(ORDER._replace(device_rules=2), GOOD)
    assert found == ["the devices controller is of version 1, the rules are for version 2"]


@pytest.mark.parametrize(("programs", "found"), [(1, []), (0, ["its cgroup has no program that decides on devices"])])
def test_programs_stand_for_rules_of_version_2(programs: int, found: list[str]) -> None:
    arrived = GOOD._replace(devices=None, device_programs=programs)
    assert shortfalls(ORDER._replace(device_rules=2), arrived) == found


def test_what_was_not_ordered_is_no_shortfall() -> None:
    order = LaunchOrder("box", viewed("/r"), "/f", "g", "m", "box", network="host", no_new_privileges=False)
    bare = GOOD._replace(own=GOOD.own - {"net", "user"}, devices=None, apparmor="", uid_map=("0", "0", "4294967295"))
    assert shortfalls(order, bare._replace(status=GOOD.status | {"NoNewPrivs": "0", "Seccomp": "0"})) == []
