"""Sweeping the bridge: only by who can tell which instances live."""

from __future__ import annotations

import pytest

import jailkit.network
from jailkit.backends import connected, instance
from jailkit.linux.cgroup import Cgroups

Swept = list[set[str]]


@pytest.fixture
def swept(monkeypatch: pytest.MonkeyPatch) -> Swept:
    """Let there be a bridge, and give what it is swept with."""
    found: Swept = []
    monkeypatch.setattr(connected, "_BRIDGE", "/")
    monkeypatch.setattr(jailkit.network, "sweep", found.append)
    return found


def test_it_is_told_who_lives(swept: Swept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connected, "living", lambda: {"box-1/main"})
    connected.sweep_bridge()
    assert swept == [{"box-1/main"}]


def test_without_cgroups_nobody_is_cut_off(swept: Swept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instance, "read_cgroups", lambda: Cgroups(()))
    monkeypatch.setattr(instance, "superuser", lambda: True)
    assert instance.living() is None
    connected.sweep_bridge()
    assert swept == []
