"""The linters and the type checker, as tests like any other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SCRIPTS = sorted(
    path
    for folder in ("scripts", ".ci")
    for path in (REPOSITORY / folder).iterdir()
    if path.is_file() and (path.suffix == ".sh" or path.read_bytes().startswith(b"#!/usr/bin/env bash"))
)


def check(*command: str | Path) -> None:
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        pytest.fail(f"{done.stdout}{done.stderr}", pytrace=False)


@pytest.mark.parametrize("command", [("check",), ("format", "--check")], ids=["check", "format"])
def test_ruff(command: tuple[str, ...]) -> None:
    check(sys.executable, "-m", "ruff", *command, ".")


def test_mypy() -> None:
    check(sys.executable, "-m", "mypy")


@pytest.mark.needs("shellcheck")
def test_shellcheck() -> None:
    assert len(SCRIPTS) >= 5
    check("shellcheck", "--external-sources", "--source-path", str(REPOSITORY), *SCRIPTS)


def test_scripts_are_executable() -> None:
    assert [path.name for path in SCRIPTS if path.suffix != ".sh" and not path.stat().st_mode & 0o111] == []
