"""From a jail to what its instances see, in which namespaces, under which limits."""

from __future__ import annotations

from typing import Any

import pytest

from jailkit.backends.view import TMP_SIZE, allowed_devices, demand_of, namespaces_of, view_of
from jailkit.linux.cgroup import Demand, Io
from jailkit.linux.launch import NAMESPACES
from jailkit.linux.view import Graft, Memory
from jailkit.plan.settings import IoLimit, Isolation, Limits, Mount, Runtime
from jailkit.store import Jail

TMP = Memory("/tmp", TMP_SIZE, 0o1777)
ALL = set(NAMESPACES)


def jail(**runtime: Any) -> Jail:
    made = Runtime("jail", (), (), "/", ("sh",), **runtime)
    return Jail("box", "p", "p.yaml", "", "chroot-hardened", 0.0, 1, made, "/home/jails/box")


def test_a_jail_that_asks_for_nothing() -> None:
    view = view_of(jail())
    assert view.root == Graft("/home/jails/box/rootfs", "/", False, own=True)
    assert view.grafts == ()
    assert view.memory == (TMP,)
    assert set(view.devices) >= {"null", "zero", "tty"}
    assert (view.ephemeral, view.setuid) == (False, False)


def test_parts_are_sorted_so_that_none_covers_one_below_it() -> None:
    mounts = (
        Mount("bind", "/srv/a/b", "/host/b", True),
        Mount("bind", "/srv/a", "/host/a"),
        Mount("tmpfs", "/run", size=4096),
    )
    view = view_of(jail(mounts=mounts, volumes=("/srv/a/volume",), read_only_root=True))
    assert view.root.read_only
    assert view.grafts == (
        Graft("/host/a", "/srv/a", False, own=False),
        Graft("/host/b", "/srv/a/b", True, own=False),
        Graft("/home/volumes/box/srv%2Fa%2Fvolume", "/srv/a/volume", False, own=True),
    )
    assert view.memory == (Memory("/run", 4096, 0o1777), TMP)


@pytest.mark.parametrize(
    "mount", [Mount("tmpfs", "/tmp", size=1 << 20), Mount("bind", "/tmp", "/host", True), Mount("tmpfs", "/tmp")]
)
def test_a_tmp_of_the_profile_s_own(mount: Mount) -> None:
    view = view_of(jail(mounts=(mount,)))
    targets = [part.target for part in (*view.grafts, *view.memory)]
    assert targets == ["/tmp"]


def test_a_volume_at_tmp_is_no_memory() -> None:
    assert view_of(jail(volumes=("/tmp",))).memory == ()


@pytest.mark.parametrize(("wish", "setuid"), [(None, False), (True, False), (False, True)])
def test_set_user_id_bits_count_only_without_no_new_privs(wish: bool | None, setuid: bool) -> None:
    assert view_of(jail(isolation=Isolation(no_new_privileges=wish))).setuid == setuid


def test_ephemeral() -> None:
    assert view_of(jail(), ephemeral=True).ephemeral


@pytest.mark.parametrize(
    ("isolation", "user", "names"),
    [
        (Isolation(), False, ALL - {"user"}),
        (Isolation(), True, ALL),
        (Isolation(network="host"), True, ALL - {"net"}),
        (Isolation(network="bridge"), True, ALL),
        (Isolation(namespaces=()), False, {"mount", "pid"}),
        (Isolation(namespaces=("net",)), False, {"mount", "pid", "net"}),
        (Isolation(namespaces=("net",), network="host"), False, {"mount", "pid"}),
        (Isolation(namespaces=("user", "uts")), False, {"mount", "pid", "uts"}),
        (Isolation(namespaces=("uts",)), True, {"mount", "pid", "uts", "user"}),
        (Isolation(namespaces=("time",)), False, {"mount", "pid"}),
    ],
)
def test_namespaces(isolation: Isolation, user: bool, names: set[str]) -> None:
    flags = namespaces_of(isolation, user=user)
    assert {name for name, flag in NAMESPACES.items() if flags & flag} == names
    assert flags == sum(NAMESPACES[name] for name in names)


EVERYTHING = Limits(
    memory=1 << 26, swap=1 << 20, cpus=1.5, cpu_weight=50, cpuset="0-1", pids=16,
    io=(IoLimit("/a", 1, 2, 3, 4), IoLimit("/b", write_bps=5)), open_files=7, file_size=8, wall_time=9.0,
)  # fmt: skip
DISKS = {"/a": (8, 0), "/b": (8, 16)}
WHOLE = Demand(
    memory=1 << 26, swap=1 << 20, cpus=1.5, cpu_weight=50, cpuset="0-1", pids=16,
    io=(Io(8, 0, 1, 2, 3, 4), Io(8, 16, None, 5, None, None)),
)  # fmt: skip


@pytest.mark.parametrize(
    ("accepted", "changed"),
    [
        ((), {}),
        (("limits.memory",), {"memory": None}),
        (("limits.cpu-weight", "limits.swap"), {"cpu_weight": None, "swap": None}),
        (("limits.io",), {"io": ()}),
        (("limits.cpus", "limits.cpuset", "limits.pids"), {"cpus": None, "cpuset": None, "pids": None}),
        (("memory", "limits.open-files", "isolation.seccomp"), {}),
    ],
)
def test_what_a_cgroup_is_to_hold(accepted: tuple[str, ...], changed: dict[str, Any]) -> None:
    assert demand_of(EVERYTHING, DISKS, accepted) == WHOLE._replace(**changed)


def test_no_limit_is_no_demand() -> None:
    assert demand_of(Limits(), {}, ()) == Demand()


def test_devices_are_the_listed_ones_and_the_jail_s_own_terminals() -> None:
    assert allowed_devices(("null", "urandom")) == ((1, 3), (1, 9), (5, 2), (136, None))
    assert allowed_devices(()) == ((5, 2), (136, None))
