"""Commands killed at each of their steps in turn: what is left is a whole jail or none, and the next one works.

A step is a system call that changes something; `killed_at` kills a forked child just before its nth.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.children import end, killed_at, start
from support.leftovers import mount_points
from support.profiles import write_profile
from support.trees import dump

from jailkit.levels import LEVELS
from jailkit.lifecycle.create import Order, create, order
from jailkit.lifecycle.destroy import destroy
from jailkit.lifecycle.update import rollback, update
from jailkit.lifecycle.verify import verify
from jailkit.store import Jail, Store, read_jail

pytestmark = pytest.mark.needs("root", "mknod", "chroot")

ENOUGH = 2000  # steps; no command of these takes as many


@pytest.fixture
def store() -> Iterator[Store]:
    """Give a store in memory: these tests make and delete a thousand trees."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Store(f"{folder}/home")


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """Give a profile with an entry of each kind and little content, so that a create takes milliseconds."""
    (tmp_path / "data").write_text("one")
    return write_profile(
        tmp_path,
        "box",
        files=[{"source": str(tmp_path / "data"), "target": "/srv/data"}],
        text={"/srv/text": "text"},
        symlinks={"/srv/link": "text"},
        directories=[{"path": "/srv/own", "owner": "jail"}],
        devices=["null"],
    )


@pytest.fixture
def wanted(profile: Path, monkeypatch: pytest.MonkeyPatch) -> Order:
    """Give the plan of the profile, for updates too: planning changes nothing and takes longest."""
    planned = order(str(profile))
    monkeypatch.setattr("jailkit.lifecycle.update.replan", lambda _: (planned, True))
    return planned


@pytest.fixture(autouse=True)
def _no_mounts() -> Iterator[None]:
    before = mount_points()
    yield
    assert mount_points() == before


def steps(act: Callable[[], object]) -> Iterator[int]:
    """Yield after each death: the number of the step before which it came. Ends when `act` came to its end."""
    for number in range(1, ENOUGH):
        if killed_at(number, act):
            assert number > 1, "no step was counted, so nothing was killed"
            return
        yield number
    raise AssertionError("it never ended")


def whole(store: Store, name: str = "box") -> bool:
    """Tell whether there is a jail; one that there is must be whole."""
    if name not in store.names():
        return False
    found = verify(name, store)
    assert found.ok, found.findings
    return True


def clean(store: Store, *, previous: bool = False) -> None:
    """Assert that nothing but jails is left, once the next command has begun as it always does."""
    store.sweep()
    left = {folder: os.listdir(f"{store.home}/{folder}") for folder in ("drafts", "previous", "trash")
            if os.path.isdir(f"{store.home}/{folder}")}  # fmt: skip
    left.pop("previous", None) if previous else None
    assert not any(left.values()), left
    assert set(os.listdir(store.home) if os.path.isdir(store.home) else ()) <= {
        "drafts", "images", "jails", "lock", "previous", "trash", "volumes",
    }  # fmt: skip
    standing = {jail.image for folder in ("jails", "previous") for jail in jails_in(f"{store.home}/{folder}")}
    assert set(store.images()) == standing - {None}
    volumes = set(os.listdir(f"{store.home}/volumes") if os.path.isdir(f"{store.home}/volumes") else ())
    assert volumes == {name for name in store.names() if store.load(name).image}


def jails_in(folder: str) -> list[Jail]:
    return [read_jail(f"{folder}/{name}") for name in (os.listdir(folder) if os.path.isdir(folder) else ())]


def tree(store: Store) -> dict[str, str]:
    return dump(store.load("box").rootfs, owners=True)


def test_create(store: Store, wanted: Order) -> None:
    for number in steps(lambda: create(wanted, store)):
        assert not whole(store), "the rename that makes it real is the last change"
        if number % 2:  # Half of the retries find what the dead one left, as nothing has swept it yet.
            clean(store)
        create(wanted, store)
        assert whole(store), number
        destroy("box", store)
        clean(store)
    assert whole(store)


def test_destroy(store: Store, wanted: Order) -> None:
    def act() -> None:
        destroy("box", store)

    create(wanted, store)
    update("box", store)
    seen = []
    for _ in steps(act):
        there = whole(store)
        seen.append(there)
        clean(store, previous=there)
        if there:
            destroy("box", store)
        clean(store)
        create(wanted, store)
        update("box", store)
    assert seen == sorted(seen, reverse=True)
    assert set(seen) == {True, False}
    assert store.names() == []
    clean(store)


def test_update(store: Store, wanted: Order, tmp_path: Path) -> None:
    """The jail is the old one or the new one, never a mix, whatever the moment."""

    def make_old() -> None:
        (tmp_path / "data").write_text("old")
        create(wanted, store)
        Path(store.load("box").rootfs, "srv/own/mine").write_text("kept")
        (tmp_path / "data").write_text("new!")

    make_old()
    old = tree(store)
    update("box", store)
    new = tree(store)
    assert old != new
    assert Path(store.load("box").rootfs, "srv/own/mine").read_text() == "kept"
    rollback("box", store)
    seen = []
    for _ in steps(lambda: update("box", store)):
        now = tree(store)
        assert now in (old, new)
        assert Store(store.home).load("box").generation == (1 if now == old else 2)
        seen.append(now == old)
        clean(store, previous=True)
        if now == old:
            assert not update("box", store).carried.dropped
            assert tree(store) == new
        destroy("box", store)
        make_old()
    assert seen == sorted(seen, reverse=True)
    assert set(seen) == {True, False}
    assert tree(store) == new


def test_the_way_back_is_never_lost(store: Store, wanted: Order) -> None:
    """An update of a jail that can be rolled back: at no step is there nothing to go back to."""
    create(wanted, store)
    update("box", store)
    for _ in steps(lambda: update("box", store)):
        assert whole(store)
        clean(store, previous=True)
        assert store.has_previous("box")
        rollback("box", store)
        assert whole(store)
    clean(store, previous=True)


def test_rollback(store: Store, wanted: Order, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("old")
    create(wanted, store)
    old = tree(store)
    (tmp_path / "data").write_text("new!")
    update("box", store)
    new = tree(store)
    for _ in steps(lambda: rollback("box", store)):
        assert tree(store) == new, "the one rename that exchanges the trees is the last change"
        clean(store, previous=True)
        assert store.has_previous("box")
    assert tree(store) == old
    rollback("box", store)
    assert tree(store) == new


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Order:
    """Give the plan of a jail that stands on an image and has two volumes, for updates too."""
    level = "chroot-hardened"
    monkeypatch.setitem(LEVELS, level, replace(LEVELS[level], available=True))
    (tmp_path / "data").write_text("old")
    path = write_profile(
        tmp_path,
        "box",
        files=[{"source": str(tmp_path / "data"), "target": "/srv/data"}],
        text={"/srv/own/text": "text"},
        read_only_root=True,
        volumes=["/srv/own", "/var/state"],
        accept_gaps=["read-only-root"],
    )
    planned = order(str(path), level)
    monkeypatch.setattr("jailkit.lifecycle.update.replan", lambda _: (planned, True))
    return planned


def test_create_on_an_image(store: Store, shared: Order) -> None:
    for number in steps(lambda: create(shared, store)):
        assert not whole(store)
        if number % 2:
            clean(store)
        create(shared, store)
        assert whole(store), number
        destroy("box", store)
        clean(store)
    assert whole(store)
    clean(store)


def test_destroy_on_an_image(store: Store, shared: Order) -> None:
    """The last jail takes the image with it, and nobody else's."""

    def act() -> None:
        destroy("box", store)

    seen = []
    for others in ((), ("other",)):
        for name in (*others, "box"):
            create(shared, store, name=name)
        for _ in steps(act):
            seen.append(whole(store))
            assert all(whole(store, name) for name in others)
            clean(store)
            if seen[-1]:
                destroy("box", store)
            clean(store)
            create(shared, store)
        clean(store)
    assert set(seen) == {True, False}


def test_update_on_an_image(store: Store, shared: Order, tmp_path: Path) -> None:
    """The jail stands on the old image or on the new one, another on the old one, and the volumes stay."""

    def make_old() -> None:
        (tmp_path / "data").write_text("old")
        create(shared, store)
        Path(store.load("box").volume("/var/state"), "mine").write_text("kept")
        (tmp_path / "data").write_text("new!")

    make_old()
    (tmp_path / "data").write_text("old")
    create(shared, store, name="other")
    (tmp_path / "data").write_text("new!")
    seen = []
    for _ in steps(lambda: update("box", store)):
        jail = store.load("box")
        seen.append(jail.generation)
        assert Path(jail.rootfs, "srv/data").read_text() == ("old" if jail.generation == 1 else "new!")
        assert Path(store.load("other").rootfs, "srv/data").read_text() == "old"
        assert Path(jail.volume("/var/state"), "mine").read_text() == "kept"
        clean(store, previous=True)
        destroy("box", store)
        make_old()
    assert seen == sorted(seen)
    assert set(seen) == {1, 2}


def test_the_sweep_itself(store: Store) -> None:
    """What a sweep did not finish, the next one finishes."""

    def half() -> None:
        with store.draft("box") as draft:
            Path(draft, "rootfs/a/b").mkdir(parents=True)
            Path(draft, "rootfs/a/b/c").touch()
            os.kill(os.getpid(), 9)

    assert end(start(half)) == -9
    for _ in steps(store.sweep):
        clean(store)
        assert end(start(half)) == -9
    assert os.listdir(f"{store.home}/drafts") == []
