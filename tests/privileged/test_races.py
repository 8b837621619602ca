"""Several commands on the same jails at once: each works or says why not, and nothing is left."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.children import together
from support.profiles import write_profile
from support.trees import dump

import jailkit
from jailkit.backends.base import ExecRequest
from jailkit.errors import JailkitError, StateError
from jailkit.lifecycle.create import Order, create, order
from jailkit.lifecycle.destroy import destroy
from jailkit.lifecycle.enter import run
from jailkit.lifecycle.update import rollback, update
from jailkit.lifecycle.verify import verify
from jailkit.store import Store

pytestmark = pytest.mark.needs("root", "mknod", "chroot")

CONSOLE = Path(sys.executable).with_name("jailkit")
SECONDS = 4.0


@pytest.fixture
def store(home: Path) -> Store:
    return Store(str(home))


@pytest.fixture
def wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Order:
    """Give a plan, for updates too: what is raced for is the disk, not the planning."""
    profile = write_profile(tmp_path, "box", binaries=["sh", "cat", "sleep"], text={"/srv/text": "text"})
    planned = order(str(profile))
    monkeypatch.setattr("jailkit.lifecycle.update.replan", lambda _: (planned, True))
    return planned


def attempt(act: Callable[[], object]) -> str:
    """Say how it went: `done`, or the error that a person would be told. Anything else is a failure of the test."""
    try:
        act()
    except StateError as error:
        return error.brief
    return "done"


def settled(store: Store) -> None:
    """Assert that all jails are whole and that there is nothing else."""
    store.sweep()
    for name in store.names():
        assert verify(name, store).ok
    left = [
        path for path in dump(store.home) if path.count("/") == 2 and not path.startswith(("/jails/", "/previous/"))
    ]
    assert left == []
    assert set(os.listdir(f"{store.home}/previous")) <= set(store.names())


@pytest.mark.parametrize("round_", range(3))
def test_eight_creates_of_one_name(store: Store, wanted: Order, round_: int) -> None:
    said = Counter(together(*[lambda: attempt(lambda: create(wanted, store))] * 8))
    assert said.pop("done") == 1
    assert set(said) <= {
        "cannot create jail box: it exists", "cannot build jail box: another command is building it",
    }, round_  # fmt: skip
    settled(store)
    assert store.names() == ["box"]


def test_eight_creates_of_eight_names(store: Store, wanted: Order) -> None:
    names = [f"box-{number}" for number in range(8)]
    acts = [lambda name=name: attempt(lambda: create(wanted, store, name=name)) for name in names]
    assert together(*acts) == ["done"] * 8
    assert store.names() == names
    settled(store)


def test_eight_destroys_of_one_jail(store: Store, wanted: Order) -> None:
    create(wanted, store)
    said = Counter(together(*[lambda: attempt(lambda: destroy("box", store))] * 8))
    assert said.pop("done") == 1
    assert all(brief.startswith(("cannot find jail box", "cannot change jail box")) for brief in said)
    settled(store)
    assert store.names() == []


def test_two_updates_at_once(store: Store, wanted: Order) -> None:
    create(wanted, store)
    said = Counter(together(*[lambda: attempt(lambda: update("box", store))] * 4))
    assert said.pop("done") >= 1
    assert set(said) <= {
        "cannot change jail box: another command is using it", "cannot build jail box: another command is building it",
    }  # fmt: skip
    settled(store)
    assert store.load("box").generation == 1 + 4 - said.total()


def test_a_create_of_a_name_that_is_being_updated(store: Store, wanted: Order) -> None:
    create(wanted, store)
    said = together(
        *[lambda: attempt(lambda: update("box", store)), lambda: attempt(lambda: create(wanted, store))] * 3
    )
    assert set(said[1::2]) <= {
        "cannot create jail box: it exists", "cannot build jail box: another command is building it",
    }  # fmt: skip
    settled(store)


def loops(acts: list[Callable[[], object]], seed: int) -> Counter[str]:
    """Do things in random order for some seconds; give how often each came to which end."""
    chance = random.Random(seed)
    said: Counter[str] = Counter()
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        act = chance.choice(acts)
        said[f"{act.__name__}: {attempt(act)}"] += 1
    return said


def test_everything_at_once(store: Store, wanted: Order) -> None:
    chance = random.Random()

    def name() -> str:
        return chance.choice(["one", "two"])

    def make() -> None:
        create(wanted, store, name=name())

    def delete() -> None:
        destroy(name(), store, force=chance.random() < 0.3)

    def renew() -> None:
        update(name(), store)

    def go_back() -> None:
        rollback(name(), store)

    def enter() -> None:
        result = run(name(), ExecRequest(("cat", "/srv/text"), capture=True), store)
        # Killed by a destroy --force; nothing else may become of it.
        assert (result.ok and result.stdout == b"text") or result.signal == 9, result

    def look() -> None:
        store.sweep()
        for there in store.names():
            store.load(there)

    def check() -> None:
        assert verify(name(), store).ok

    acts = [make, make, delete, renew, go_back, enter, enter, look, check]
    said = sum(together(*(lambda seed=seed: loops(acts, seed) for seed in range(6))), Counter())
    assert {line.partition(":")[0] for line in said if line.endswith(": done")} >= {
        "make", "delete", "enter", "look",
    }, said  # fmt: skip
    settled(store)


def test_entering_while_the_jail_is_updated(store: Store, wanted: Order) -> None:
    """A command runs in the old tree or in the new one, or is told to wait; it never meets a mix."""
    create(wanted, store)

    def renew() -> None:
        update("box", store)

    def enter() -> None:
        result = run("box", ExecRequest(("cat", "/srv/text"), capture=True), store)
        assert (result.ok, result.stdout) == (True, b"text"), result

    acts = ([renew], [enter], [enter], [enter])
    said = sum(together(*(lambda act=act, seed=seed: loops(act, seed) for seed, act in enumerate(acts))), Counter())
    assert said["enter: done"] > 10
    assert set(said) <= {
        "renew: done", "enter: done", "enter: cannot enter jail box: another command is using it",
        "renew: cannot change jail box: another command is using it",
    } | {line for line in said if "processes run in it" in line}  # fmt: skip
    settled(store)


@pytest.fixture
def sleeper(store: Store, wanted: Order) -> Iterator[subprocess.Popen[str]]:
    """Give a `jailkit exec` that runs in the jail."""
    create(wanted, store)
    process = subprocess.Popen(
        [CONSOLE, "exec", "box", "--", "sh", "-c", "echo ready; sleep 600; echo end"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.communicate()


def test_a_jail_in_use_is_destroyed_by_force_only(store: Store, sleeper: subprocess.Popen[str]) -> None:
    with pytest.raises(StateError, match="cannot change jail box: another command is using it"):
        destroy("box", store)
    assert sleeper.poll() is None
    # Others may enter and look meanwhile.
    assert run("box", ExecRequest(("cat", "/srv/text"), capture=True), store).stdout == b"text"
    assert verify("box", store).ok
    destroy("box", store, force=True)
    assert sleeper.wait(timeout=60) == 128 + 9
    settled(store)
    assert store.names() == []


def test_threads_share_a_jail(store: Store, wanted: Order) -> None:
    create(wanted, store)
    box = jailkit.open("box", home=store.home)

    def work(number: int) -> bytes | None:
        result = box.run(["sh", "-c", "read word; echo $word $0", str(number)], input=f"in-{number}\n", timeout=60)
        assert result.ok, result
        return result.stdout

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(work, range(64)))
    assert answers == [f"in-{number} {number}\n".encode() for number in range(64)]
    descriptors = len(os.listdir("/proc/self/fd"))
    work(0)
    assert len(os.listdir("/proc/self/fd")) == descriptors
    box.destroy()


def test_threads_make_and_destroy_jails(store: Store, wanted: Order) -> None:
    def work(number: int) -> str:
        made = create(wanted, store, name=f"t{number}")
        return attempt(lambda: destroy(made.name, store))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(12))) == ["done"] * 12
    settled(store)
    assert store.names() == []


def test_errors_of_races_are_told_in_words(store: Store, wanted: Order) -> None:
    create(wanted, store)
    with store.locked("box", exclusive=True):
        for act, how in (
            (lambda: update("box", store), "pass --force, which ends what runs in the jail"),
            (lambda: destroy("box", store), "pass --force, which ends what runs in the jail"),
            (lambda: run("box", ExecRequest(("true",)), store), "end it"),
        ):
            with pytest.raises(JailkitError) as caught:
                act()
            assert caught.value.resolution == f"wait for that command to end, or {how}"
