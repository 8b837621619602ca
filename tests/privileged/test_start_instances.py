"""Started jails at the levels with namespaces: an instance with a command under a supervisor, or idle."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.children import together
from support.jails import init_of
from support.leftovers import supervisors
from support.profiles import write_profile
from support.services import eventually, supervisor, written

import jailkit as api
from jailkit.backends import backend_for
from jailkit.backends.instance import group_of
from jailkit.errors import BackendError, StateError
from jailkit.lifecycle.create import create, order
from jailkit.lifecycle.destroy import destroy
from jailkit.lifecycle.runs import read_last, supervision
from jailkit.lifecycle.start import start
from jailkit.lifecycle.stop import freeze, stats, status, stop, unfreeze
from jailkit.store import Jail, Store

pytestmark = pytest.mark.needs("root", "cgroups", "mount-namespace", "busybox")

Jailkit = Callable[..., subprocess.CompletedProcess[str]]
Make = Callable[..., Jail]
LOOP = "echo begun; while :; do sleep 0.05; done"


@pytest.fixture(
    params=[
        "chroot-hardened",
        pytest.param("lxc", marks=pytest.mark.needs("lxc")),
        pytest.param("lxc-privileged", marks=pytest.mark.needs("lxc")),
    ]
)
def level(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def store(home: Path) -> Store:
    return Store(str(home))


@pytest.fixture
def make(store: Store, level: str, public: Path) -> Iterator[Make]:
    """Give a function (script, **keys of the profile) that creates a jail; without a script it has no command."""
    made: list[str] = []

    def make(script: str | None = LOOP, name: str = "box", **keys: Any) -> Jail:
        tools = {f"/usr/bin/{tool}": "busybox" for tool in ("sh", "sleep", "echo", "id")}
        command = {} if script is None else {"command": ["sh", "-c", script]}
        profile = write_profile(public, name, binaries=["busybox"], symlinks=tools, **command, **keys)
        jail = create(order(str(profile), level), store)
        made.append(name)
        return jail

    yield make
    for name in set(made) & set(store.names()):
        destroy(name, store, force=True)


def settled(jail: Jail) -> None:
    """Assert that nothing of a run is left."""
    eventually(lambda: supervisors(jail.directory) == [])
    assert supervision(jail) == "none"
    assert list(backend_for(jail.level).processes(jail)) == []
    assert group_of(jail).children() == []


def test_a_life(make: Make, store: Store) -> None:
    jail = make()
    assert status("box", store) == "stopped"
    start("box", store)
    eventually(lambda: written(jail) == "begun\n")
    box = api.open("box", home=store.home)
    result = box.run(["sh", "-c", "echo $PPID; read x </proc/1/comm; echo $x"])
    assert result.ok, result
    used = stats("box", store)
    assert (used.pids or 0) >= 2
    assert (used.memory or 0) > 0
    freeze("box", store)
    assert status("box", store) == "frozen"
    with pytest.raises(StateError, match="it is frozen"):
        start("box", store)
    unfreeze("box", store)
    with pytest.raises(StateError, match="it is running"):
        start("box", store)
    with pytest.raises(StateError, match="cannot destroy jail box: it is running"):
        destroy("box", store)
    assert stop("box", store).before == "running"
    last = read_last(jail)
    assert last is not None
    assert last.signal == signal.SIGTERM
    settled(jail)


def test_frozen_ones_are_stopped_too(make: Make, store: Store) -> None:
    jail = make()
    start("box", store)
    freeze("box", store)
    assert stop("box", store).before == "frozen"
    settled(jail)


def test_without_a_command_it_idles(make: Make, store: Store) -> None:
    jail = make(None)
    start("box", store)
    assert supervisors(jail.directory) == []
    assert list(backend_for(jail.level).processes(jail)) == [init_of(jail)]
    assert api.open("box", home=store.home).run(["sh", "-c", "id -u"]).ok
    assert status("box", store) == "running"
    with pytest.raises(StateError, match="cannot destroy jail box: it is running"):
        destroy("box", store)
    stop("box", store)
    settled(jail)


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("sleep 600 & exit 7", 7)])
def test_the_instance_goes_when_the_command_ends(make: Make, store: Store, script: str, code: int) -> None:
    jail = make(script)
    start("box", store)
    eventually(lambda: supervision(jail) == "none")
    last = read_last(jail)
    assert last is not None
    assert (last.reason, last.exit_code) == ("exited", code)
    settled(jail)


def test_what_cannot_be_executed_leaves_no_instance(make: Make, store: Store) -> None:
    jail = make()
    os.unlink(f"{jail.rootfs}/usr/bin/sh")
    with pytest.raises(BackendError, match="cannot start jail box: cannot find sh"):
        start("box", store)
    settled(jail)


def test_the_deaf_are_killed_in_time(make: Make, store: Store) -> None:
    jail = make("trap '' TERM; echo begun; while :; do sleep 0.05; done", stop_timeout="300ms")
    start("box", store)
    eventually(lambda: written(jail) == "begun\n")
    stop("box", store)
    last = read_last(jail)
    assert last is not None
    assert last.signal == signal.SIGKILL
    settled(jail)


def test_a_killed_init(make: Make, store: Store) -> None:
    """The kernel ends all with it, and the supervisor the rest."""
    jail = make()
    start("box", store)
    os.kill(init_of(jail), signal.SIGKILL)
    eventually(lambda: supervision(jail) == "none")
    assert status("box", store) == "stopped"
    settled(jail)
    start("box", store)
    stop("box", store)


@pytest.mark.parametrize("then", ["start", "stop", "list", "destroy"])
def test_a_killed_supervisor(make: Make, store: Store, jailkit: Jailkit, then: str) -> None:
    """Its command dies with it, and the empty instance waits for whoever comes next."""
    jail = make()
    start("box", store)
    os.kill(supervisor(jail), signal.SIGKILL)
    eventually(lambda: supervision(jail) == "lost")
    init = init_of(jail)
    eventually(lambda: list(backend_for(jail.level).processes(jail)) == [init])
    done = jailkit(*{"list": ["list"], "destroy": ["destroy", "--force", "box"]}.get(then, [then, "box"]))
    assert done.returncode == 0, done.stderr
    if then == "destroy":
        assert store.names() == []
        return
    assert "its supervisor was killed" in done.stderr or "the supervisor of jail box was killed" in done.stderr
    assert status("box", store) == ("stopped" if then == "stop" else "running")
    stop("box", store)
    settled(jail)


def test_many_at_once(make: Make, store: Store) -> None:
    jails = [make(name=f"box{number}") for number in range(4)]

    def cycle(name: str) -> list[str]:
        seen = []
        for _ in range(3):
            start(name, store)
            seen.append(status(name, store))
            stop(name, store)
            seen.append(status(name, store))
        return seen

    assert together(*[lambda name=jail.name: cycle(name) for jail in jails]) == [["running", "stopped"] * 3] * 4
    for jail in jails:
        settled(jail)
