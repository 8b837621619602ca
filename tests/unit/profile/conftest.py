"""Profiles written to a file of their own, and the faults found in them, as tests compare them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from jailkit.errors import Fault, ProfileError
from jailkit.profile import Profile, load_profile

Load = Callable[[str], Profile]
Faults = Callable[[str | bytes], list[str]]


def brief(fault: Fault) -> str:
    """Write a fault as `line:column key: message -> suggestion`, without its file."""
    key = f" {fault.key}:" if fault.key else ""
    suggestion = f" -> {fault.suggestion}" if fault.suggestion else ""
    return f"{fault.line}:{fault.column}{key} {fault.message}{suggestion}"


def faults_in(path: Path) -> tuple[Fault, ...]:
    """Give the faults of a profile's file; none is none."""
    try:
        load_profile(str(path))
    except ProfileError as error:
        return error.faults
    return ()


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Give a function that loads a profile from its text."""

    def load(text: str) -> Profile:
        path = tmp_path / "profile.yaml"
        path.write_text(text)
        return load_profile(str(path))

    return load


@pytest.fixture
def faults(tmp_path: Path) -> Faults:
    """Give a function that loads a profile from its text and gives its faults; none is none."""

    def faults(text: str | bytes) -> list[str]:
        path = tmp_path / "profile.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        found = faults_in(path)
        assert {fault.file for fault in found} <= {str(path)}
        return [brief(fault) for fault in found]

    return faults
