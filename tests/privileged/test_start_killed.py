"""`start`, `stop` and the supervisor killed at each of their steps: the next command works, and nothing is left.

A step is a system call that changes something; `killed_at` kills a forked child just before its nth.
"""

from __future__ import annotations

import io
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.children import end, killed_at
from support.children import start as begin_in_child
from support.leftovers import supervisors
from support.services import DEAF, eventually, make_service, supervisor, written

import jailkit.lifecycle.start as start_module
from jailkit.backends import backend_for
from jailkit.errors import StateError
from jailkit.lifecycle.destroy import destroy
from jailkit.lifecycle.runs import begin, forget, read_last, share, supervision
from jailkit.lifecycle.settle import settle
from jailkit.lifecycle.start import start
from jailkit.lifecycle.stop import status, stop
from jailkit.lifecycle.supervise import main
from jailkit.linux.fork import pipe
from jailkit.store import Jail, Store

pytestmark = pytest.mark.needs("root", "mknod", "chroot", "busybox")

Jailkit = Callable[..., subprocess.CompletedProcess[str]]
CONSOLE = Path(sys.executable).with_name("jailkit")
ENOUGH = 500


@pytest.fixture
def store(home: Path) -> Store:
    return Store(str(home))


def steps(act: Callable[[], object]) -> Iterator[int]:
    """Yield after each death. Ends when `act` came to its end."""
    for number in range(1, ENOUGH):
        if killed_at(number, act):
            assert number > 1, "too few steps were counted"
            return
        yield number
    raise AssertionError("it never ended")


def stopped(jail: Jail) -> bool:
    return (
        supervision(jail) == "none"
        and not backend_for(jail.level).processes(jail)
        and supervisors(jail.directory) == []
    )


def waiting_does(act: Callable[[], object], put: Callable[..., None] = setattr) -> None:
    """Make `start` do something else where it would wait for its supervisor."""

    class Answers(io.FileIO):
        def read(self, _: int | None = -1) -> bytes:
            act()
            return b""

    put(start_module, "open", lambda descriptor, _: Answers(descriptor), *([] if put is setattr else [False]))


def is_usable(jail: Jail, store: Store) -> None:
    """Assert that the jail can be started and stopped, and that this leaves nothing."""
    start(jail.name, store)
    assert status(jail.name, store) == "running"
    stop(jail.name, store)
    eventually(lambda: stopped(jail))
    assert set(os.listdir(f"{jail.directory}/logs")) <= {"output.log", "last.json"}


def test_start(store: Store, home: Path) -> None:
    """Its supervisor goes on alone, or never was: either way one command leads back to a stopped jail."""
    jail = make_service(home)
    for number in steps(lambda: start("box", store)):
        if number % 2:
            start("box", store)
        stop("box", store)
        eventually(lambda: stopped(jail))
    stop("box", store)
    is_usable(jail, store)
    destroy("box", store)
    assert os.listdir(f"{store.home}/jails") == []


@pytest.mark.parametrize("then", ["start", "stop"])
def test_a_caller_that_dies_while_it_waits(store: Store, home: Path, then: str) -> None:
    """Its supervisor starts the command all the same."""
    jail = make_service(home)
    for _ in range(3):

        def act() -> None:
            waiting_does(lambda: os.kill(os.getpid(), signal.SIGKILL))
            start("box", store)

        assert end(begin_in_child(act)) == -signal.SIGKILL
        if then == "start":
            with pytest.raises(StateError, match="it is running"):
                start("box", store)
            assert status("box", store) == "running"
        stop("box", store)
        eventually(lambda: stopped(jail))
    is_usable(jail, store)


def test_stop(store: Store, home: Path) -> None:
    jail = make_service(home)
    start("box", store)
    for _ in steps(lambda: stop("box", store)):
        if status("box", store) == "stopped":
            eventually(lambda: supervision(jail) == "none")
            start("box", store)
    eventually(lambda: stopped(jail))
    is_usable(jail, store)


def test_supervisor(store: Store, home: Path) -> None:
    """Killed before any of its steps while it sees a short command through."""
    jail = make_service(home, "sh", "-c", "sleep 0.02; exit 3")

    def act() -> None:
        lock, run = share(jail), begin(jail)
        _, answer = pipe()
        main(jail.directory, f"{lock},{run},{answer}")

    endings = set()
    for _ in steps(act):
        eventually(lambda: supervision(jail) != "supervised")
        eventually(lambda: not backend_for(jail.level).processes(jail))
        lost = supervision(jail) == "lost"
        notes = settle("box", store, kill=False)
        assert len(notes) == lost
        last = read_last(jail)
        endings.add((last.reason, last.exit_code) if last else None)
        forget(jail)
        Path(jail.directory, "logs", "last.json").unlink(missing_ok=True)
    assert {("lost", None), ("exited", 3)} <= endings
    is_usable(make_service(home, name="again"), store)


@pytest.mark.parametrize("level", ["chroot", "chroot-root"])
@pytest.mark.parametrize("then", ["list", "start", "stop", "destroy"])
def test_a_killed_supervisor(store: Store, home: Path, jailkit: Jailkit, level: str, then: str) -> None:
    """With care the command dies with it; without, it lives on, until a command says so and ends it."""
    jail = make_service(home, "sh", "-c", "trap '' HUP; echo begun; exec sleep 600", level=level)
    start("box", store)
    eventually(lambda: "begun" in written(jail))
    os.kill(supervisor(jail), signal.SIGKILL)
    eventually(lambda: supervision(jail) == "lost")
    lives = level == "chroot-root"
    eventually(lambda: bool(backend_for(level).processes(jail)) == lives)
    assert status("box", store) == ("running" if lives else "stopped")
    done = jailkit(then, *([] if then == "list" else ["box"]))
    told = [line for line in done.stderr.splitlines() if "supervisor" in line]
    if then == "destroy":
        assert done.returncode == lives, "what lives in it is somebody's until --force says otherwise"
        destroy("box", store, force=True) if lives else None
        assert store.names() == []
        return
    assert done.returncode == 0, done.stderr
    if then == "list" and lives:
        assert told == ["note: the supervisor of jail box was killed; 1 process left: jailkit stop box"]
    else:
        ended = "; ended what was left of it, 1 process" if lives and then == "start" else ""
        assert told == [
            f"note: the last run of jail box was lost: its supervisor was killed, or the host went down{ended}"
        ]
        last = read_last(jail)
        assert last is not None
        assert last.reason == "lost"
    stop("box", store)
    eventually(lambda: stopped(jail))
    is_usable(jail, store)


def test_who_looks_into_a_lost_jail_is_not_ended_by_a_start(store: Store, home: Path, jailkit: Jailkit) -> None:
    jail = make_service(home)
    start("box", store)
    os.kill(supervisor(jail), signal.SIGKILL)
    eventually(lambda: supervision(jail) == "lost")
    with subprocess.Popen([CONSOLE, "exec", "box", "sh", "-c", "echo in; read word; exit 5"],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as shell:  # fmt: skip
        assert shell.stdout is not None
        assert shell.stdout.readline() == b"in\n"
        refused = jailkit("start", "box")
        assert refused.returncode == 1
        assert "another command is using it" in refused.stderr
        shell.communicate(b"word\n")
    assert shell.returncode == 5
    is_usable(jail, store)


def test_a_killed_host(store: Store, home: Path, jailkit: Jailkit) -> None:
    """All processes gone at one moment, as after a reboot."""
    jails = [make_service(home, *DEAF, name=f"box{number}", stop_timeout=0.1) for number in range(3)]
    for jail in jails:
        start(jail.name, store)
    for jail in jails:
        os.kill(supervisor(jail), signal.SIGKILL)
        backend_for(jail.level).kill(jail)
    done = jailkit("list")
    assert [line.split()[2] for line in done.stdout.splitlines()[1:]] == ["stopped"] * 3
    assert done.stderr.count("was lost: its supervisor was killed, or the host went down") == 3
    assert jailkit("list").stderr == ""
    for jail in jails:
        is_usable(jail, store)


def test_at_random_moments(store: Store, home: Path) -> None:
    """`jailkit start` killed from outside, and its supervisor with it or alone."""
    jail = make_service(home)
    generator = random.Random(3)
    for _ in range(12):
        with subprocess.Popen([CONSOLE, "start", "--quiet", "box"], stderr=subprocess.DEVNULL) as process:
            time.sleep(generator.uniform(0.03, 0.16))
            if generator.random() < 0.7:
                process.kill()
            if generator.random() < 0.5:
                for pid in supervisors(jail.directory):
                    kill_if_there(pid)
        stop("box", store)
        eventually(lambda: stopped(jail))
    is_usable(jail, store)


def kill_if_there(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


@pytest.mark.parametrize("moment", ["before", "while it waits", "just after"])
def test_interrupted(store: Store, home: Path, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    """Ctrl-C before the command has begun: nothing of it stays, although the supervisor may only be on its way."""
    jail = make_service(home)

    def interrupt(*_: Any) -> None:
        if moment == "just after":
            eventually(lambda: backend_for("chroot").processes(jail))
        raise KeyboardInterrupt

    if moment == "before":
        monkeypatch.setattr("jailkit.backends.rooted.Rooted.start", interrupt)
    else:
        waiting_does(interrupt, monkeypatch.setattr)
    with pytest.raises(KeyboardInterrupt):
        start("box", store)
    assert status("box", store) == "stopped"
    assert supervision(jail) == "none"
    monkeypatch.undo()
    eventually(lambda: stopped(jail))
    monkeypatch.setenv("JAILKIT_HOME", store.home)
    is_usable(jail, store)
