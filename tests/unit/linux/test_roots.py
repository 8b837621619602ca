"""Which trees are inhabited, and what processes use."""

from __future__ import annotations

import os
from pathlib import Path

from jailkit.linux.roots import inhabited
from jailkit.linux.usage import usage_of


def test_the_root_of_this_process_is_inhabited(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("/")
    assert inhabited([str(tmp_path), "/", str(link), str(tmp_path / "none")]) == [False, True, True, False]
    assert inhabited([]) == []


def test_what_this_process_uses() -> None:
    used = usage_of([os.getpid()])
    assert 1 << 20 < used.memory < 1 << 33
    assert used.tasks >= 1
    assert 0 < used.cpu_time < 1e6
    twice = usage_of([os.getpid(), os.getpid(), 2**22 + 1])
    assert twice.memory >= 1.5 * used.memory
    assert twice.cpu_time >= 2 * used.cpu_time


def test_nobody_uses_nothing() -> None:
    assert usage_of([]) == usage_of([2**22 + 1])
