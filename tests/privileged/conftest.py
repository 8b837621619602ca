"""Fixtures for tests that enter real jails."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.jails import compile_probe, make_jail

from jailkit.store import Jail

MakeJail = Callable[..., Jail]


@pytest.fixture(scope="session")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the compiled probe."""
    return compile_probe(tmp_path_factory.mktemp("probe"))


@pytest.fixture
def small_jail(tmp_path: Path, probe: Path) -> MakeJail:
    """Give a function (level, **runtime) that makes a small jail with the probe in its /bin."""

    def make(level: str = "chroot", **runtime: Any) -> Jail:
        folder = tmp_path / "home" / "jails" / "box"
        folder.mkdir(parents=True, exist_ok=True)
        jail = make_jail(folder, level, **runtime)
        shutil.copy(probe, f"{jail.rootfs}/bin/probe")
        return jail

    return make
