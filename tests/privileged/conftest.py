"""Fixtures for tests that enter real jails."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.jails import compile_probe, make_jail

from jailkit.backends import backend_for
from jailkit.backends.instance import group_of
from jailkit.store import Jail

MakeJail = Callable[..., Jail]


@pytest.fixture(scope="module", autouse=True)
def _no_worker_stays() -> Iterator[None]:
    """End the process that launches containers: tests of other modules have no children but their own."""
    yield
    if launching := sys.modules.get("jailkit.backends.lxc.launch"):
        launching._shared.close()


@pytest.fixture(scope="session")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the compiled probe."""
    return compile_probe(tmp_path_factory.mktemp("probe"))


@pytest.fixture
def small_jail(tmp_path: Path, probe: Path) -> Iterator[MakeJail]:
    """Give a function (level, **runtime) that makes a small jail with the probe in its /bin.

    An instance that is there when the test is over is a failure.
    """

    made: list[Jail] = []

    def make(level: str = "chroot", **runtime: Any) -> Jail:
        folder = tmp_path / "home" / "jails" / "box"
        folder.mkdir(parents=True, exist_ok=True)
        jail = make_jail(folder, level, **runtime)
        shutil.copy(probe, f"{jail.rootfs}/bin/probe")
        made.append(jail)
        return jail

    yield make
    left = [f"{jail.name}: {name}" for jail in made for name in group_of(jail).children()]
    for jail in made:
        backend_for(jail.level).release(jail)
    assert not left, f"instances were left: {left}"
