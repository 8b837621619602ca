"""Starting and stopping at a level with namespaces, whose backend a recorder stands for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.jails import ACCOUNTS

from jailkit.backends.base import Status
from jailkit.errors import BackendError, StateError
from jailkit.lifecycle import destroy, settle, start, stop
from jailkit.lifecycle.runs import supervision
from jailkit.linux.figures import Stats
from jailkit.plan.settings import Runtime
from jailkit.store import MARKER, Jail, Store


class Recorder:
    """A backend that notes what it is asked for, and does it to nothing."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.now: Status = "stopped"
        self.fails: BackendError | None = None

    def start(self, jail: Jail) -> None:
        self.calls.append(("start", jail.name))
        if self.fails:
            raise self.fails
        self.now = "running"

    def stop(self, _: Jail, number: int, timeout: float) -> None:
        self.calls.append(("stop", number, timeout))
        self.now = "stopped"

    def freeze(self, _: Jail) -> None:
        self.now = "frozen"

    def unfreeze(self, _: Jail) -> None:
        self.now = "running"

    def status(self, _: Jail) -> Status:
        return self.now

    def stats(self, _: Jail) -> Stats:
        return Stats(pids=1)

    def processes(self, _: Jail) -> list[int]:
        return []

    def kill(self, jail: Jail) -> list[int]:
        self.calls.append(("kill", jail.name))
        return []

    def release(self, jail: Jail) -> None:
        assert Path(jail.directory, MARKER).exists(), "it comes before the folder goes"
        self.calls.append(("release", jail.name))


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    for module in (start, stop, settle, destroy):
        monkeypatch.setattr(module, "backend_for", lambda _: recorder)
    return recorder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


def make(store: Store, **runtime: Any) -> Jail:
    folder = Path(store.home, "jails", "box")
    folder.mkdir(parents=True)
    (folder / MARKER).touch()
    settings = Runtime("jail", ACCOUNTS, (), None, ("sh",), **runtime)
    jail = Jail("box", "small", "/dev/null", "", "lxc", 0.0, 1, settings, directory=str(folder))
    (folder / "jail.json").write_text(jail.dumps())
    return jail


def test_without_a_command_it_idles(store: Store, backend: Recorder) -> None:
    jail = make(store)
    assert start.start("box", store) == []
    assert (stop.status("box", store), supervision(jail)) == ("running", "none")
    with pytest.raises(StateError, match="cannot start jail box: it is running"):
        start.start("box", store)
    assert stop.stop("box", store) == ("running", [])
    assert backend.calls == [("start", "box"), ("stop", 15, 10.0)]
    assert stop.stop("box", store, number=1, timeout=0.5).before == "stopped"
    assert backend.calls[-1] == ("stop", 1, 0.5)


def test_the_profiles_way_to_stop(store: Store, backend: Recorder) -> None:
    make(store, stop_signal=3, stop_timeout=2.5)
    stop.stop("box", store)
    assert backend.calls == [("stop", 3, 2.5)]


def test_what_cannot_be_started_is_taken_down(store: Store, backend: Recorder) -> None:
    jail = make(store, serves=True)
    backend.fails = BackendError("cannot start: a limit did not arrive")
    with pytest.raises(BackendError, match="a limit did not arrive"):
        start.start("box", store)
    assert supervision(jail) == "none"
    assert backend.calls == [("start", "box"), ("stop", 9, 0.0)]


def test_freezing(store: Store, backend: Recorder) -> None:
    make(store)
    for act in (stop.freeze, stop.unfreeze):
        with pytest.raises(StateError, match="freeze jail box: it is not running"):
            act("box", store)
    start.start("box", store)
    stop.freeze("box", store)
    stop.freeze("box", store)
    assert backend.now == "frozen"
    with pytest.raises(StateError, match="cannot start jail box: it is frozen"):
        start.start("box", store)
    stop.unfreeze("box", store)
    assert backend.now == "running"


@pytest.mark.parametrize("now", ["running", "frozen"])
def test_an_idle_one_is_destroyed_by_force_only(store: Store, backend: Recorder, now: Status) -> None:
    make(store)
    backend.now = now
    with pytest.raises(StateError, match="cannot destroy jail box: it is running"):
        destroy.destroy("box", store)
    assert backend.calls == []
    destroy.destroy("box", store, force=True)
    assert backend.calls == [("stop", 9, 0.0), ("kill", "box"), ("release", "box")]
    assert store.names() == []


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b'["cannot start jail box: why", ["one"], "so"]', "cannot start jail box: why\n  one\n  Try: so"),
        (b'["cannot start jail box: why", [], null]', "cannot start jail box: why"),
        (b"", "cannot start jail box: its supervisor was killed, or failed"),
        (
            b"Traceback (most recent call last):\n  File\nValueError: \xff\n",
            "cannot start jail box: its supervisor was killed, or failed\n"
            "  Traceback (most recent call last):\n    File\n  ValueError: \ufffd",
        ),
    ],
)
def test_what_a_supervisor_says(store: Store, answer: bytes, expected: str) -> None:
    assert str(start._failed(make(store), answer)) == expected


def test_a_program_that_does_not_know_its_python(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "")
    with pytest.raises(BackendError, match="does not know where its Python is"):
        start._interpreter(make(store))


def test_the_supervisors_path_has_no_relative_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", ["", "lib", "/usr/lib/python3", "/usr/lib/python3"])
    first, *others = start._path()
    assert Path(first, "jailkit").is_dir()
    assert others == ["/usr/lib/python3"]
