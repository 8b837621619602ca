"""The records of runs, and whether a supervisor lives."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.jails import ACCOUNTS

from jailkit.backends.base import ExecResult
from jailkit.cli.show import _ending
from jailkit.errors import StateError
from jailkit.lifecycle import runs
from jailkit.lifecycle.runs import LastRun, begin, close_lost, forget, in_turn, read_last, record, supervision
from jailkit.plan.settings import Runtime
from jailkit.store import MARKER, Jail


@pytest.fixture
def jail(tmp_path: Path) -> Jail:
    (tmp_path / MARKER).touch()
    runtime = Runtime("jail", ACCOUNTS, (), None, ("sh",), serves=True)
    return Jail("box", "small", "/dev/null", "", "chroot", 0.0, 1, runtime, directory=str(tmp_path))


def test_a_run_is_supervised_while_anybody_holds_its_record(jail: Jail) -> None:
    assert supervision(jail) == "none"
    run = begin(jail)
    heir = os.dup(run)
    assert supervision(jail) == "supervised"
    os.close(run)
    assert supervision(jail) == "supervised"
    assert close_lost(jail) is None
    os.close(heir)
    assert supervision(jail) == "lost"
    forget(jail)
    assert supervision(jail) == "none"
    forget(jail)


def test_a_lost_run_becomes_the_last_one(jail: Jail) -> None:
    os.close(begin(jail))
    started = runs.started_at(jail)
    note = close_lost(jail)
    assert note is not None
    assert "its supervisor was killed, or the host went down" in note
    assert supervision(jail) == "none"
    assert read_last(jail) == LastRun(started=started, ended=None, reason="lost")
    assert close_lost(jail) is None


def test_a_lost_run_whose_end_was_recorded_keeps_that(jail: Jail) -> None:
    os.close(begin(jail))
    last = LastRun.of(runs.started_at(jail), ExecResult("exited", exit_code=3))
    record(jail, last)
    assert close_lost(jail)
    assert read_last(jail) == last


def test_the_record_of_a_run_says_how_it_ended(jail: Jail) -> None:
    assert read_last(jail) is None
    begun = begin(jail)
    result = ExecResult("signalled", signal=15, wall_time=1.5, cpu_time=0.5, peak_memory=4096, message="why")
    record(jail, LastRun.of(12.0, result))
    os.close(begun)
    last = read_last(jail)
    assert last is not None
    assert (last.started, last.reason, last.signal, last.exit_code, last.message) == (
        12.0,
        "signalled",
        15,
        None,
        "why",
    )
    assert (last.wall_time, last.cpu_time, last.peak_memory) == (1.5, 0.5, 4096)
    assert last.ended is not None
    assert last.ended > 1.6e9


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"started": 1}', '{"started": "x", "ended": 1, "reason": "exited"}', '{"more": 1}', "\0"]
)
def test_a_damaged_record_reads_as_none(jail: Jail, text: str) -> None:
    os.close(begin(jail))
    for name in ("last.json", "run.json"):
        Path(jail.directory, "logs", name).write_text(text)
    assert read_last(jail) is None
    assert supervision(jail) == "lost"
    assert close_lost(jail)
    assert read_last(jail) is not None


def test_one_at_a_time(jail: Jail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "_TURN", 0.05)
    with in_turn(jail):
        with pytest.raises(StateError, match="another command is doing so"), in_turn(jail):
            pass
        assert supervision(jail) == "none"
    with in_turn(jail):
        pass


def test_without_its_marker_a_jail_is_not_touched(jail: Jail) -> None:
    os.unlink(f"{jail.directory}/{MARKER}")
    with pytest.raises(StateError, match="its marker"), in_turn(jail):
        pass


def test_the_wait_for_the_end(jail: Jail) -> None:
    run = begin(jail)
    assert not runs.await_end(jail, 0.02)
    os.close(run)
    assert runs.await_end(jail, 0.0)


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (None, ""),
        (LastRun(0.0, 9.0, "exited", exit_code=3, wall_time=1.25), "exited with 3 at DATE, after 1.2 s"),
        (LastRun(0.0, 9.0, "signalled", signal=15, wall_time=2), "ended by signal 15 at DATE, after 2.0 s"),
        (LastRun(0.0, 9.0, "timeout", signal=9, wall_time=2), "timeout: ended by signal 9 at DATE, after 2.0 s"),
        (
            LastRun(0.0, None, "lost"),
            "began at DATE, and was lost: its supervisor was killed, or the host went down",
        ),
    ],
)
def test_how_show_tells_it(last: LastRun | None, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jailkit.cli.show.moment", lambda _: "DATE")
    assert _ending(last) == expected
