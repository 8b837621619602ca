"""What the plain chroot levels cannot hold is named, whole, and nothing else is."""

from __future__ import annotations

from typing import Any

import pytest

from jailkit.backends.chroot import ChrootBackend
from jailkit.plan.model import (
    Account,
    Destination,
    IoLimit,
    Isolation,
    Limits,
    Mount,
    Plan,
    Port,
    Runtime,
    Smoke,
)

ACCOUNTS = (Account("root", 0, 0, "/root", "/bin/sh"), Account("web", 3000, 3000, "/srv", "/bin/sh"))
BOTH = ("chroot", "chroot-root")
ROOT_ONLY = ("chroot-root",)
NONE = ()


def gaps(level: str, **runtime: Any) -> list[str]:
    settings: dict[str, Any] = {
        "user": "web", "accounts": ACCOUNTS, "environment": (), "workdir": "/", "command": (),
    }  # fmt: skip
    plan = Plan("p", "", level, (), Runtime(**(settings | runtime)))  # type: ignore[arg-type]
    found = ChrootBackend().gaps(plan)
    assert all(gap.reason and "accept-gaps" in gap.remedy for gap in found)
    return [gap.key for gap in found]


@pytest.mark.parametrize("level", BOTH)
def test_a_plan_that_asks_for_nothing(level: str) -> None:
    assert gaps(level) == []


@pytest.mark.parametrize(
    ("limits", "key", "levels"),
    [
        (Limits(memory=1), "limits.memory", BOTH),
        (Limits(swap=0), "limits.swap", BOTH),
        (Limits(cpus=0.5), "limits.cpus", BOTH),
        (Limits(cpu_weight=100), "limits.cpu-weight", BOTH),
        (Limits(cpuset="0"), "limits.cpuset", BOTH),
        (Limits(pids=10), "limits.pids", BOTH),
        (Limits(io=(IoLimit("/", read_bps=1),)), "limits.io", BOTH),
        (Limits(open_files=10), "limits.open-files", ROOT_ONLY),
        (Limits(file_size=10), "limits.file-size", ROOT_ONLY),
        (Limits(wall_time=10), "limits.wall-time", ROOT_ONLY),
    ],
)
@pytest.mark.parametrize("level", BOTH)
def test_limits(level: str, limits: Limits, key: str, levels: tuple[str, ...]) -> None:
    assert gaps(level, limits=limits) == ([key] if level in levels else [])


@pytest.mark.parametrize(
    ("isolation", "key", "levels"),
    [
        (Isolation(namespaces=("pid",)), "isolation.namespaces", BOTH),
        (Isolation(namespaces=()), "", NONE),
        (Isolation(network="none"), "isolation.network", BOTH),
        (Isolation(network="bridge"), "isolation.network", BOTH),
        (Isolation(network="host"), "", NONE),
        (Isolation(ports=(Port("127.0.0.1", 80, 80, "tcp"),)), "isolation.ports", BOTH),
        (Isolation(allow=(Destination("192.0.2.0/24", None, None),)), "isolation.allow", BOTH),
        (Isolation(allow=()), "isolation.allow", BOTH),
        (Isolation(seccomp="strict"), "isolation.seccomp", BOTH),
        (Isolation(seccomp="none"), "", NONE),
        (Isolation(capabilities=("CAP_KILL",)), "isolation.capabilities", ROOT_ONLY),
        (Isolation(no_new_privileges=True), "isolation.no-new-privileges", ROOT_ONLY),
        (Isolation(no_new_privileges=False), "", NONE),
    ],
)
@pytest.mark.parametrize("level", BOTH)
def test_isolation(level: str, isolation: Isolation, key: str, levels: tuple[str, ...]) -> None:
    assert gaps(level, isolation=isolation) == ([key] if level in levels else [])


@pytest.mark.parametrize("user", ["root", "0"])
def test_root_among_the_host_s_processes(user: str) -> None:
    assert gaps("chroot", user=user) == ["isolation.user"]
    assert gaps("chroot-root", user=user) == []


@pytest.mark.parametrize("user", ["root", "0"])
def test_root_as_the_user_of_a_smoke_command(user: str) -> None:
    smoke = (Smoke(("true",)), Smoke(("true",), user=user))
    assert gaps("chroot", smoke=smoke) == ["isolation.user"]
    assert gaps("chroot-root", smoke=smoke) == []
    assert gaps("chroot", smoke=(Smoke(("true",), user="web"),)) == []


@pytest.mark.parametrize("level", BOTH)
def test_mounts(level: str) -> None:
    assert gaps(level, mounts=(Mount("tmpfs", "/tmp"),)) == ["mounts"]


@pytest.mark.parametrize("level", BOTH)
def test_a_root_that_nobody_writes_to(level: str) -> None:
    assert gaps(level, read_only_root=True) == ["read-only-root"]


@pytest.mark.parametrize("level", BOTH)
def test_volumes_are_directories_like_others(level: str) -> None:
    assert gaps(level, volumes=("/srv",)) == []


@pytest.mark.parametrize("level", BOTH)
def test_all_at_once(level: str) -> None:
    everything = gaps(
        level, limits=Limits(memory=1, pids=1), isolation=Isolation(network="none"), mounts=(Mount("tmpfs", "/x"),)
    )
    assert everything == ["limits.memory", "limits.pids", "isolation.network", "mounts"]
