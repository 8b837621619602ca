"""What of instances can be told without any: names, numbers, missing parts, what is not held."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from jailkit.backends import instance, namespaced_gaps
from jailkit.backends.census import numbers_of
from jailkit.backends.instance import group_of, init_gone, not_held, transient_name
from jailkit.backends.namespaced_gaps import namespaced_gaps as gaps_of
from jailkit.backends.parts import check_parts, limits_of
from jailkit.errors import BackendError, StateError
from jailkit.linux.cgroup import Cgroups, Demand
from jailkit.linux.cgroup.hierarchies import Hierarchy
from jailkit.plan.settings import IoLimit, Isolation, Limits, Mount, Runtime
from jailkit.store import Jail

OLD = Hierarchy(1, ("cpu", "cpuacct", "cpuset", "memory", "pids", "blkio", "freezer", "devices"), "/nowhere/v1", "")
HOST = Cgroups((OLD,), cpus="0-1", mems="0", swap=True)


def jail(directory: str = "/home/jails/box", accepted: tuple[str, ...] = (), **runtime: Any) -> Jail:
    made = Runtime("jail", (), (), "/", ("sh",), **runtime)
    return Jail("box", "p", "p.yaml", "", "chroot-hardened", 0.0, 1, made, directory, accepted=accepted)


def test_jails_of_one_name_in_two_homes_have_two_groups() -> None:
    names = {group_of(jail(f"/{home}/jails/box"), HOST).name for home in ("a", "b")}
    assert len(names) == 2
    assert all(name.startswith("box-") and len(name) == 12 for name in names)
    assert group_of(jail("/a/jails/box"), HOST) == group_of(jail("/a/jails/box"), HOST)


def test_the_name_of_a_command_s_instance_tells_whose_it_is() -> None:
    first, second = transient_name(), transient_name()
    assert first != second
    assert first.startswith(f"run-{os.getpid()}-")
    assert instance._caller_lives(first)
    assert not instance._caller_lives("run-4194305-1")  # above the largest pid there is (proc_sys_kernel(5))


def test_the_numbers_of_a_process() -> None:
    assert numbers_of("self")[-1] == os.getpid()


def test_errors_tell_what_to_do() -> None:
    error = not_held(jail(), ["limits.memory: it shows 1"])
    assert error.details == ("limits.memory: it shows 1",)
    assert "jailkit update box" in str(error.resolution)


@pytest.mark.parametrize(("kills", "words"), [(0, "its first process was killed"), (2, "limit of memory")])
def test_an_init_that_is_gone(monkeypatch: pytest.MonkeyPatch, kills: int, words: str) -> None:
    monkeypatch.setattr(instance, "marks_of", lambda *_: instance.Marks(oom_kills=kills))
    assert words in init_gone(jail(), group_of(jail(), HOST)).brief


# Parts


def test_all_parts_are_there(tmp_path: Path) -> None:
    for name in ("jails/box/rootfs", "volumes/box/data", "source"):
        (tmp_path / name).mkdir(parents=True)
    check_parts(
        jail(
            f"{tmp_path}/jails/box",
            volumes=("/data",),
            mounts=(Mount("bind", "/mnt", f"{tmp_path}/source"), Mount("tmpfs", "/run")),
        )
    )


@pytest.mark.parametrize(
    ("gone", "kind", "words"),
    [
        ("jails/box/rootfs", StateError, "its tree, "),
        ("volumes/box/data", StateError, "its volume /data, "),
        ("source", BackendError, "/source, which is mounted at /mnt: No such file or directory"),
    ],
)
def test_a_part_is_missing(tmp_path: Path, gone: str, kind: type[Exception], words: str) -> None:
    for name in {"jails/box/rootfs", "volumes/box/data", "source"} - {gone}:
        (tmp_path / name).mkdir(parents=True)
    mounts = (Mount("bind", "/mnt", f"{tmp_path}/source"),)
    with pytest.raises(kind, match=words):
        check_parts(jail(f"{tmp_path}/jails/box", volumes=("/data",), mounts=mounts))


def test_io_on_what_is_no_disk(tmp_path: Path) -> None:
    limits = Limits(pids=5, io=(IoLimit(f"{tmp_path}/gone", write_bps=1),))
    with pytest.raises(BackendError) as caught:
        limits_of(jail(limits=limits), Cgroups(()))
    assert caught.value.details == (f"limits.io: no disk can be told for {tmp_path}/gone: No such file or directory",)
    assert limits_of(jail(limits=limits, accepted=("limits.io",)), Cgroups(()))._replace(devices=None) == Demand(pids=5)


# Gaps


def gaps(host: Cgroups, monkeypatch: pytest.MonkeyPatch, **runtime: Any) -> list[str]:
    monkeypatch.setattr(namespaced_gaps, "read_cgroups", lambda: host)
    found = gaps_of(jail(**runtime))
    assert all(gap.reason and gap.remedy for gap in found)
    return [gap.key for gap in found]


EVERY = Limits(memory=1 << 26, swap=1 << 20, cpus=1.5, cpu_weight=50, cpuset="0", pids=16)
LESS = HOST._replace(hierarchies=(OLD._replace(controllers=("cpu", "pids")),))
NONE = Cgroups(())
FOREIGN = HOST._replace(hierarchies=(OLD._replace(base=None),))
KEYS = ["memory", "swap", "cpus", "cpu-weight", "cpuset", "pids"]


@pytest.mark.parametrize(
    ("host", "limits", "keys"),
    [
        (HOST, Limits(), []),
        (NONE, Limits(), []),
        (NONE, Limits(open_files=5, file_size=5, wall_time=1.0), []),
        (HOST, EVERY, []),
        (HOST._replace(swap=False), EVERY, ["swap"]),
        (LESS, EVERY, ["memory", "swap", "cpuset"]),
        (FOREIGN, EVERY, KEYS),
        (NONE, EVERY, KEYS),
        (HOST, Limits(cpuset="7"), ["cpuset"]),
    ],
)
def test_limits_that_do_not_hold(
    monkeypatch: pytest.MonkeyPatch, host: Cgroups, limits: Limits, keys: list[str]
) -> None:
    assert sorted(gaps(host, monkeypatch, limits=limits)) == sorted(f"limits.{key}" for key in keys)


def test_io_that_cannot_hold_hides_no_other_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = Limits(memory=1 << 26, io=(IoLimit("/nowhere", write_bps=1),))
    assert gaps(NONE, monkeypatch, limits=limits) == ["limits.io", "limits.memory"]


@pytest.mark.parametrize(
    ("isolation", "keys"),
    [
        (Isolation(), []),
        (Isolation(network="none", seccomp="default", no_new_privileges=True, capabilities=("CAP_CHOWN",)), []),
        (Isolation(namespaces=("mount", "net", "user")), []),
        (Isolation(namespaces=("time",)), ["isolation.namespaces"]),
    ],
)
def test_isolation(monkeypatch: pytest.MonkeyPatch, isolation: Isolation, keys: list[str]) -> None:
    assert gaps(HOST, monkeypatch, isolation=isolation) == keys


def test_a_bridge_needs_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(namespaced_gaps, "find_spec", lambda _: None)
    assert gaps(HOST, monkeypatch, isolation=Isolation(network="bridge")) == ["isolation.network"]
    assert gaps(HOST, monkeypatch, isolation=Isolation(network="none")) == []
