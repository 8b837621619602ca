"""Jails with a read-only root stand on one image: made once, kept as long as somebody needs it, never written to."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.children import in_child, together
from support.profiles import write_profile
from support.trees import dump

from jailkit.errors import StateError
from jailkit.levels import LEVELS
from jailkit.lifecycle.create import create, order, temporary
from jailkit.lifecycle.destroy import destroy
from jailkit.lifecycle.image import shares
from jailkit.lifecycle.update import Update, rollback, update
from jailkit.lifecycle.verify import read_manifest, verify
from jailkit.linux.mounting import mount
from jailkit.store import Jail, Store

pytestmark = pytest.mark.needs("root", "chroot")

LEVEL = "chroot-hardened"
KEYS: dict[str, Any] = {
    "binaries": ["sh", "cat"],
    "files": [
        {"source": "data", "target": "/srv/data"},
        {"source": "seed", "target": "/srv/kept/seed", "owner": "jail"},
    ],
    "text": {"/etc/motd": "hello"},
    "symlinks": {"/usr/lib/masked": "/dev/null"},
    "read_only_root": True,
    "volumes": ["/srv/kept", "/var/state"],
}  # fmt: skip


@pytest.fixture(autouse=True)
def _level(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this version have the level: what is tried here is what lies on the disk, not what is mounted."""
    monkeypatch.setitem(LEVELS, LEVEL, replace(LEVELS[LEVEL], available=True))


@pytest.fixture
def store(home: Path) -> Store:
    return Store(str(home))


Make = Callable[..., Jail]


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    for name in ("data", "seed"):
        (tmp_path / name).write_text(name)
    return write_profile(tmp_path, "box", **KEYS)


@pytest.fixture
def make(profile: Path, store: Store) -> Make:
    def make(name: str = "box", path: Path = profile) -> Jail:
        return create(order(str(path), LEVEL), store, name=name, accept_gaps=True)

    return make


def change(name: str, store: Store) -> Update:
    return update(name, store, accept_gaps=True)


def images(store: Store) -> list[str]:
    found = store.images()
    assert all(len(name) == 64 for name in found)
    return found


def left(store: Store) -> dict[str, list[str]]:
    """Give what is in the folders of a home, the lock apart."""
    return {name: found for name in sorted(os.listdir(store.home)) if name != "lock"
            if (found := sorted(os.listdir(f"{store.home}/{name}")))}  # fmt: skip


def blocks(*paths: str) -> int:
    """Give the bytes that folders take, as du(1) counts them: what has many names counts once."""
    done = subprocess.run(["du", "-s", "--block-size=1", "-c", *paths], capture_output=True, text=True, check=True)
    return int(done.stdout.splitlines()[-1].split()[0])


def test_one_tree_for_all_that_are_made_alike(make: Make, store: Store) -> None:
    first = make("one")
    (digest,) = images(store)
    before = dump(first.rootfs, owners=True, times=True), os.stat(first.rootfs).st_ino
    second = make("two")
    assert first.image == second.image == digest
    assert first.rootfs == second.rootfs == f"{store.home}/images/{digest}/rootfs"
    assert (dump(first.rootfs, owners=True, times=True), os.stat(first.rootfs).st_ino) == before
    assert not {"rootfs", "manifest.json", "volumes", "marked"} & set(os.listdir(second.directory))
    assert os.path.samefile(f"{first.directory}/profile.json", f"{second.directory}/profile.json")
    assert not [path for path, line in before[0].items() if line.startswith("char") or path.startswith("/dev/")]
    assert sorted(os.listdir(f"{store.home}/images/{digest}")) == [
        ".jailkit", "image.json", "manifest.json", "profile.json", "rootfs",
    ]  # fmt: skip


def test_a_further_jail_costs_little(make: Make, store: Store) -> None:
    make("first")
    alone = blocks(store.home)
    for number in range(50):
        make(f"box{number}")
    assert len(images(store)) == 1
    assert (blocks(store.home) - alone) / 50 < 200_000


def test_another_profile_with_the_same_tree_shares_it(make: Make, tmp_path: Path) -> None:
    first = make("one")
    other = write_profile(tmp_path, "other", **KEYS | {"limits": {"pids": 5}, "volumes": ["/srv/kept", "/var/state"]})
    second = make("two", other)
    assert second.image == first.image
    assert json.loads(Path(second.directory, "profile.json").read_text())["limits"]["pids"] == 5
    assert "pids" not in json.loads(Path(first.directory, "profile.json").read_text())["limits"]


@pytest.mark.parametrize("what", ["profile", "host", "owner"])
def test_another_tree_is_another_image(make: Make, store: Store, tmp_path: Path, what: str) -> None:
    first, keys = make("one"), dict(KEYS)
    if what == "profile":
        keys["text"] = {"/etc/motd": "other"}
    elif what == "owner":
        keys["users"] = [{"name": "jail", "uid": 5000}]
    else:
        (tmp_path / "data").write_text("DATA")
    second = make("two", write_profile(tmp_path, "box", **keys))
    assert first.image != second.image
    assert sorted(images(store)) == sorted([first.image, second.image])  # type: ignore[type-var, list-item]
    destroy("one", store)
    assert images(store) == [second.image]
    assert verify("two", store, smoke=False).ok


def test_a_file_that_was_only_touched_is_the_same(make: Make, store: Store, tmp_path: Path) -> None:
    make("one")
    os.utime(tmp_path / "data")
    make("two")
    assert len(images(store)) == 1


def test_file_capabilities_are_not_in_a_manifest_so_only_the_ctime_counts(
    make: Make, store: Store, tmp_path: Path
) -> None:
    path = write_profile(tmp_path, "box", **KEYS | {"keep_privileges": ["/srv/data"]})
    make("one", path)
    make("two", path)
    assert len(images(store)) == 1
    os.setxattr(tmp_path / "data", "security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))
    jail = make("three", path)
    assert len(images(store)) == 2
    assert os.getxattr(f"{jail.rootfs}/srv/data", "security.capability")


@pytest.mark.parametrize("damage", ["content", "mode", "extra", "gone", "tree", "record", "manifest"])
def test_a_damaged_image_is_never_given_to_another(make: Make, store: Store, damage: str) -> None:
    first = make("one")
    image = Path(store.home, "images", str(first.image))
    acts: dict[str, Callable[[], object]] = {
        "content": lambda: (image / "rootfs/etc/motd").write_text("HELLO"),
        "mode": lambda: (image / "rootfs/etc/motd").chmod(0o600),
        "extra": lambda: (image / "rootfs/etc/more").touch(),
        "gone": lambda: (image / "rootfs/etc/motd").unlink(),
        "tree": lambda: (image / "rootfs").rename(image / "elsewhere"),
        "record": lambda: (image / "image.json").write_text("{}"),
        "manifest": lambda: (image / "manifest.json").write_text('{"format":1,"packages":{},"records":[]}'),
    }
    acts[damage]()
    second = make("two")
    assert second.image != first.image
    assert verify("two", store, smoke=False).ok
    third = make("three")
    assert third.image == second.image
    # The remedy for whoever stands on the damaged one, which goes then.
    change("one", store)
    assert store.load("one").image == second.image
    change("one", store)
    assert images(store) == [second.image]
    assert verify("one", store, smoke=False).ok


def test_whatever_differs_in_an_image_is_a_finding(make: Make, store: Store) -> None:
    jail = make()
    assert verify("box", store, smoke=False).ok
    Path(jail.rootfs, "tmp/planted").touch()
    Path(jail.rootfs, "home/jail/mine").touch()
    found = verify("box", store, smoke=False)
    assert [(finding.check, finding.path) for finding in found.findings] == [
        ("extra", "/home/jail/mine"), ("extra", "/tmp/planted"),
    ]  # fmt: skip
    assert found.notes == []


def test_an_image_that_is_gone_comes_back_with_an_update(make: Make, store: Store) -> None:
    jail = make()
    subprocess.run(["rm", "-r", f"{store.home}/images/{jail.image}"], check=True)
    with pytest.raises(StateError, match="cannot read the manifest"):
        verify("box", store, smoke=False)
    change("box", store)
    assert store.load("box").image == jail.image
    assert verify("box", store, smoke=False).ok


def test_update_and_rollback(make: Make, store: Store, tmp_path: Path) -> None:
    first = make()
    make("other")
    state = Path(first.volume("/var/state"))
    (state / "mine").write_text("kept")
    (tmp_path / "data").write_text("DATA")
    write_profile(tmp_path, "box", **KEYS | {"text": {"/etc/new": "x"}, "volumes": [*KEYS["volumes"], "/srv/more"]})
    result = change("box", store)
    assert (result.added, result.removed, result.changed) == (["/etc/new", "/srv/more"], ["/etc/motd"], ["/srv/data"])
    second = store.load("box")
    assert Path(second.rootfs, "srv/data").read_text() == "DATA"
    assert (state / "mine").read_text() == "kept"
    assert os.path.isdir(second.volume("/srv/more"))
    assert len(images(store)) == 2
    destroy("other", store)
    assert sorted(images(store)) == sorted([str(first.image), str(second.image)]), "previous/ needs the first"
    rollback("box", store)
    assert store.load("box").image == first.image
    assert verify("box", store, smoke=False).findings != [], "the host has other data"
    assert (state / "mine").read_text() == "kept"
    change("box", store)
    change("box", store)
    assert images(store) == [second.image]
    destroy("box", store)
    assert left(store) == {}


def test_volumes_begin_with_what_the_tree_has(make: Make, store: Store) -> None:
    jail = make()
    kept, state = jail.volume("/srv/kept"), jail.volume("/var/state")
    assert (kept, state) == (f"{store.home}/volumes/box/srv%2Fkept", f"{store.home}/volumes/box/var%2Fstate")
    assert dump(kept, owners=True) == {"/": "dir 0755 60999:60999", "/seed": "file 0644 19b25856 60999:60999"} | {
        "/seed": dump(jail.rootfs, owners=True)["/srv/kept/seed"]
    }
    assert dump(state, owners=True) == {"/": "dir 0755 60999:60999"}
    destroy("box", store)
    assert left(store) == {}


def test_the_name_of_a_volume_is_one_name() -> None:
    jail = Jail("box", "p", "/p", "", LEVEL, 0.0, 1, None, "/h/jails/box")  # type: ignore[arg-type]
    places = {path: jail.volume(path) for path in ("/a/b", "/a%2Fb", "/.jailkit", "/a/.b", "/%2Ejailkit")}
    assert places == {
        "/a/b": "/h/volumes/box/a%2Fb", "/a%2Fb": "/h/volumes/box/a%252Fb", "/.jailkit": "/h/volumes/box/%2Ejailkit",
        "/a/.b": "/h/volumes/box/a%2F.b", "/%2Ejailkit": "/h/volumes/box/%252Ejailkit",
    }  # fmt: skip


def test_a_new_jail_never_gets_old_volumes(make: Make, store: Store) -> None:
    jail = make()
    Path(jail.volume("/var/state"), "secret").touch()
    destroy("box", store)
    assert os.listdir(make().volume("/var/state")) == []

    def body() -> str:
        mount("none", f"{store.home}/volumes/other", "tmpfs", 0)
        store.sweep()
        with pytest.raises(StateError) as caught:
            make("other")
        return caught.value.brief

    Path(store.home, "volumes/other").mkdir()
    assert in_child(body, private_mounts=True).endswith("/volumes/other is in the way")
    assert sorted(left(store)["jails"]) == ["box"]


def test_a_tree_of_its_own_becomes_shared_and_its_data_volumes(make: Make, store: Store, tmp_path: Path) -> None:
    """And back again."""
    own = make(path=write_profile(tmp_path, "box", **KEYS | {"read_only_root": False, "volumes": []}))
    assert own.image is None
    assert os.path.isdir(f"{own.directory}/rootfs")
    Path(own.rootfs, "srv/kept/mine").write_text("mine")
    Path(own.rootfs, "tmp/mine").write_text("mine")
    write_profile(tmp_path, "box", **KEYS)
    result = change("box", store)
    jail = store.load("box")
    assert jail.image is not None
    assert sorted(os.listdir(jail.volume("/srv/kept"))) == ["mine", "seed"]
    assert [path for path, _ in result.carried.dropped] == ["/tmp/mine"]
    assert verify("box", store, smoke=False).ok
    write_profile(tmp_path, "box", **KEYS | {"read_only_root": False})
    change("box", store)
    again = store.load("box")
    assert again.image is None
    assert verify("box", store, smoke=False).ok
    assert sorted(os.listdir(again.volume("/srv/kept"))) == ["mine", "seed"]
    change("box", store)
    assert images(store) == []


def test_who_makes_an_image_at_the_same_moment(make: Make, store: Store) -> None:
    made = together(*[lambda number=number: make(f"box{number}").image for number in range(6)])
    assert len(set(made)) == 1
    assert images(store) == [made[0]]
    assert sorted(left(store)) == ["images", "jails", "volumes"]
    assert verify("box0", store, smoke=False).ok


def test_who_makes_jails_while_others_destroy_the_last_that_needs_the_image(make: Make, store: Store) -> None:
    def turn(number: int) -> None:
        for _ in range(8):
            jail = make(f"box{number}")
            assert os.path.exists(f"{jail.rootfs}/etc/motd")
            assert read_manifest(jail).records
            destroy(f"box{number}", store)

    together(*[lambda number=number: turn(number) for number in range(4)])
    store.sweep()
    assert left(store) == {}


def test_a_temporary_jail_leaves_nothing(profile: Path, store: Store) -> None:
    keys = ["read-only-root"]
    wanted = order(str(profile), LEVEL)
    wanted = replace(wanted, plan=replace(wanted.plan, accept_gaps=tuple(keys)))
    with temporary(wanted, store) as jail:
        assert os.path.exists(f"{jail.rootfs}/etc/motd")
        assert os.path.isdir(jail.volume("/var/state"))
        store.sweep()
        assert os.path.exists(f"{jail.rootfs}/etc/motd")
        assert os.path.isdir(jail.volume("/var/state"))
    assert left(store) == {}


def test_no_image_goes_while_a_record_cannot_be_read(make: Make, store: Store) -> None:
    make("one")
    make("two")
    Path(store.home, "jails/two/jail.json").write_text("{")
    destroy("one", store)
    assert len(images(store)) == 1
    destroy("two", store, force=True)
    assert left(store) == {}


def test_an_image_in_which_something_is_mounted_stays(make: Make, store: Store, tmp_path: Path) -> None:
    jail = make()
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/data").touch()

    def body() -> list[str]:
        mount(str(tmp_path / "precious"), f"{jail.rootfs}/srv/kept", "none", 4096)  # MS_BIND
        destroy("box", store)
        return images(store)

    assert in_child(body, private_mounts=True) == [jail.image]
    assert (tmp_path / "precious/data").exists()
    store.sweep()
    assert left(store) == {}


def test_what_is_in_images_and_not_jailkit_s_stays(make: Make, store: Store) -> None:
    make()
    Path(store.home, "images/mine").mkdir()
    Path(store.home, "images/mine/data").touch()
    Path(store.home, "volumes/mine").mkdir()
    destroy("box", store)
    store.sweep()
    assert left(store) == {"images": ["mine"], "volumes": ["mine"]}


def test_plain_chroot_has_a_tree_of_its_own(profile: Path, store: Store) -> None:
    jail = create(order(str(profile), "chroot"), store, accept_gaps=True)
    assert (jail.image, shares(jail)) == (None, False)
    assert os.path.isdir(f"{jail.rootfs}/var/state")
    assert sorted(left(store)) == ["jails"]


Jailkit = Callable[..., subprocess.CompletedProcess[str]]


def test_show_list_and_explain(make: Make, store: Store, jailkit: Jailkit) -> None:
    jail = make()
    shown = jailkit("show", "box")
    assert f"{jail.rootfs}, shared and read-only" in shown.stdout
    assert f"/var/state in {jail.volume('/var/state')}" in shown.stdout
    data = json.loads(jailkit("show", "--json", "box").stdout)
    assert (data["image"], data["rootfs"]) == (jail.image, jail.rootfs)
    assert json.loads(jailkit("list", "--json").stdout)[0]["rootfs"] == jail.rootfs
    assert (
        "stays writable and is kept, named under volumes: /var/state" in jailkit("explain", "box", "/var/state").stdout
    )
    assert jailkit("destroy", "box").returncode == 0
    assert left(store) == {}
