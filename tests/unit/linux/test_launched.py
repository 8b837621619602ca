"""Whether an instance is whole, by what its init has written into two pipes."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from jailkit.linux.fork import Child
from jailkit.linux.join import TIED, WHOLE, await_whole
from jailkit.linux.launch import Launched
from jailkit.linux.script import Line, Script
from jailkit.linux.userns import IdMap
from jailkit.linux.view import Graft, lower_of

SCRIPT = Script.of([Line("open", "chdir", (b"/\0",), thing="/")], "x86_64")


class Making(NamedTuple):
    launched: Launched
    report: int
    ready: int


@pytest.fixture
def making() -> Iterator[Making]:
    (failure, report), (ready, say_so) = os.pipe(), os.pipe()
    launched = Launched(Child(0, -1, failure, 0.0, own_session=True), ready, SCRIPT)
    yield Making(launched, report, say_so)
    launched.close()


@pytest.mark.parametrize("others", [0, 1, 2])
def test_one_that_is_whole(making: Making, others: int) -> None:
    """Whoever waits gets a byte: a command, and one that is forked in its stead."""
    os.write(making.ready, TIED)
    if others:
        making.launched.await_tied()
        making.launched.await_tied()
    os.write(making.ready, WHOLE * 3)
    os.close(making.report)
    os.close(making.ready)
    for _ in range(others):
        await_whole(making.launched.ready)
    assert making.launched.failure() is None


@pytest.mark.parametrize("said", [b"", TIED])
def test_one_whose_init_was_killed(making: Making, said: bytes) -> None:
    """Nothing was reported, and that is no good news."""
    os.write(making.ready, said)
    os.close(making.report)
    os.close(making.ready)
    failure = making.launched.failure()
    assert failure is not None
    assert failure.number == errno.ECHILD
    with pytest.raises(OSError, match="Operation canceled"):
        await_whole(making.launched.ready)


def test_one_that_failed(making: Making) -> None:
    os.write(making.ready, TIED)
    os.write(making.report, SCRIPT.table.to_bytes(8, "little") + (2**64 - errno.ENOENT).to_bytes(8, "little"))
    os.close(making.report)
    os.close(making.ready)
    failure = making.launched.failure()
    assert failure is not None
    assert (failure.step, failure.number, failure.thing) == ("open", errno.ENOENT, "/")


RANGE = (IdMap(0, 100_000, 65_536), IdMap(0, 100_000, 65_536))
ONE = (IdMap(60_999, 1000, 1), IdMap(60_998, 1001, 1))


@pytest.mark.parametrize(
    ("maps", "mapped", "graft", "owner", "seen"),
    [
        (RANGE, True, {}, (5, 0), (5, 0)),
        (RANGE, True, {}, (70_000, 5), (65_534, 5)),
        (RANGE, True, {"own": False}, (0, 5), (65_534, 5)),
        (RANGE, True, {"own": False, "read_only": True}, (0, 5), (0, 5)),
        (RANGE, True, {"shifted": True}, (100_000, 100_007), (0, 7)),
        (RANGE, False, {}, (100_003, 5), (3, 65_534)),
        (ONE, False, {"shifted": True}, (1000, 1001), (60_999, 60_998)),
        (ONE, False, {}, (0, 0), (65_534, 65_534)),
    ],
)
def test_whom_a_tree_belongs_to_inside(
    monkeypatch: pytest.MonkeyPatch,
    maps: tuple[IdMap, IdMap],
    mapped: bool,
    graft: dict[str, bool],
    owner: tuple[int, int],
    seen: tuple[int, int],
) -> None:
    status = os.stat_result((0o41755, 1, 1, 1, *owner, 0, 0, 0, 0))
    monkeypatch.setattr(os, "stat", lambda _: status)
    fields = {"read_only": False, "own": True} | graft
    lower = lower_of(Graft("/x", "/y", **fields), maps, mapped=mapped)
    assert (lower.uid, lower.gid) == seen
    assert (lower.folder, lower.mode) == (True, 0o1755)
