"""Ending processes: those that are meant, in the right order, and no other."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jailkit.linux import process
from jailkit.linux.process import Process, end_rooted_in, processes_rooted_in, read_process


@pytest.fixture
def sleepers() -> Iterator[list[subprocess.Popen[bytes]]]:
    started = [subprocess.Popen(["sleep", "1000"]) for _ in range(3)]
    yield started
    for sleeper in started:
        sleeper.kill()
        sleeper.wait()


def state(pid: int) -> str:
    found = read_process(pid)
    return found.state if found else "gone"


@pytest.mark.parametrize(
    ("state", "threads", "alive"), [("S", 1, True), ("R", 3, True), ("Z", 1, False), ("X", 1, False), ("Z", 2, True)]
)
def test_alive(state: str, threads: int, alive: bool) -> None:
    assert Process(1, state, 0, 1, 1, threads, 0).alive is alive


def test_a_process_of_another_root_is_never_signalled(
    sleepers: list[subprocess.Popen[bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a process of the tree ends and another gets its pid before the signal is sent."""
    (pid, *_) = [sleeper.pid for sleeper in sleepers]
    monkeypatch.setattr(process._Census, "count", lambda _: iter([pid]))
    assert end_rooted_in(str(tmp_path), 0.1) == [pid]
    assert state(pid) == "S"


def test_all_are_stopped_before_the_first_is_killed(
    sleepers: list[subprocess.Popen[bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a parent that sees a child die could replace it."""
    pids = {sleeper.pid for sleeper in sleepers}
    sent: list[signal.Signals] = []
    signal_if = process._signal_if

    def rooted(pid: int, *_: object) -> bool:
        if state(pid) in ("gone", "Z"):
            raise ProcessLookupError
        return pid in pids

    def watch(pid: int, number: signal.Signals, condition: Callable[[], bool]) -> None:
        sent.append(number)
        signal_if(pid, number, condition)

    monkeypatch.setattr(process, "_is_rooted", rooted)
    monkeypatch.setattr(process, "_signal_if", watch)
    assert end_rooted_in(str(tmp_path), 30.0) == []
    assert sent[:3] == [signal.SIGSTOP] * 3
    assert set(sent[3:]) == {signal.SIGKILL}
    assert {state(pid) for pid in pids} == {"Z"}


def test_a_process_that_ends_between_the_list_and_the_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have left a child that is in no list, so another list is asked for; but not for ever."""
    looks: list[int] = []
    own = os.getpid()
    lasting = False

    def ended(pid: int, *_: object) -> bool:
        if pid == own:
            looks.append(pid)
            if lasting or len(looks) < 4:
                raise ProcessLookupError
        return False

    monkeypatch.setattr(process, "_is_rooted", ended)
    assert processes_rooted_in(str(tmp_path)) == []
    assert len(looks) == 4
    lasting = True
    monkeypatch.setattr(process, "_PATIENCE", 0.1)
    with pytest.raises(BlockingIOError):
        processes_rooted_in(str(tmp_path))
    with pytest.raises(BlockingIOError):
        end_rooted_in(str(tmp_path), 0.1)
