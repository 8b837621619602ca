"""Update brings the profile and the host of now, and keeps what the jail made its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.children import in_child, kill, start
from support.profiles import write_profile
from support.trees import dump

import jailkit as api
from jailkit.errors import JailkitError, PlanError, ProfileError, RealizeError, StateError
from jailkit.lifecycle.create import create, order
from jailkit.lifecycle.update import Update, rollback, update
from jailkit.lifecycle.verify import verify
from jailkit.store import Store

pytestmark = pytest.mark.needs("root", "mknod", "chroot")

Jailkit = Callable[..., subprocess.CompletedProcess[str]]
KEYS: dict[str, Any] = {
    "binaries": ["sh", "cat", "sleep", "mkdir", "ln", "rm"],
    "files": [
        {"source": "data", "target": "/srv/data"},
        {"source": "mine", "target": "/home/jail/mine", "owner": "jail"},
    ],
    "text": {"/etc/motd": "hello"},
    "symlinks": {"/srv/link": "data"},
    "smoke": [{"command": ["sh", "-c", "cat /srv/data >/dev/null"]}],
}


@pytest.fixture
def store(home: Path) -> Store:
    return Store(str(home))


class Box:
    """A jail and the folder of its profile and sources."""

    def __init__(self, folder: Path, store: Store) -> None:
        self.folder, self.store = folder, store
        for name in ("data", "mine"):
            (folder / name).write_text(name)
        self.profile()
        create(order(str(folder / "box.yaml")), store)

    @property
    def root(self) -> Path:
        return Path(self.store.load("box").rootfs)

    def profile(self, **keys: Any) -> None:
        """Write the profile, with other keys than before."""
        write_profile(self.folder, "box", **(KEYS | keys))

    def sh(self, script: str, user: str | None = None) -> str:
        result = api.open("box", home=self.store.home).run(["sh", "-ec", script], user=user, timeout=60)
        assert result.ok, result
        return (result.stdout or b"").decode()

    def update(self, **options: Any) -> Update:
        """Update, and verify that what was kept or left out is all that differs then."""
        result = update("box", self.store, **options)
        assert {finding.path for finding in verify("box", self.store).findings} <= set(result.carried.kept)
        return result

    def dump(self) -> dict[str, str]:
        return dump(self.root, owners=True, times=True)


@pytest.fixture
def box(tmp_path: Path, store: Store) -> Box:
    folder = tmp_path / "profile"
    folder.mkdir()
    return Box(folder, store)


def changes(result: Update) -> dict[str, Any]:
    """Give what an update says it did, without what it does not."""
    carried = result.carried
    changed = [path for path in result.changed if path != "/etc/ld.so.cache"]
    said = {"added": result.added, "removed": result.removed, "changed": changed, "kept": carried.kept,
            "replaced": carried.replaced, "dropped": carried.dropped}  # fmt: skip
    return {key: value for key, value in said.items() if value}


def test_nothing_changed(box: Box) -> None:
    before = dump(box.root, owners=True)
    result = box.update()
    assert changes(result) == {}
    assert (result.generation, result.from_file) == (2, True)
    assert dump(box.root, owners=True) == before


def test_an_edited_profile(box: Box) -> None:
    box.profile(text={"/etc/motd": "hello", "/etc/issue": "new"}, symlinks={}, binaries=["sh", "cat", "head"])
    result = box.update()
    assert "/usr/bin/head" in result.added
    assert "/etc/issue" in result.added
    assert {"/srv/link", "/usr/bin/sleep"} <= set(result.removed)
    assert not (box.root / "usr/bin/sleep").exists()
    assert box.sh("head -c 3 /etc/issue") == "new"


def test_settings_of_the_runtime(box: Box) -> None:
    box.profile(environment={"GREETING": "hi"}, users=[{"name": "other", "uid": 4321}], files=[], symlinks={}, smoke=[])
    box.update()
    assert box.sh('echo "$GREETING $USER"') == "hi other\n"


def test_a_changed_file_of_the_host(box: Box) -> None:
    (box.folder / "data").write_text("other")
    assert [finding.check for finding in verify("box", box.store).findings] == ["stale"]
    assert changes(box.update()) == {"changed": ["/srv/data"]}
    assert (box.root / "srv/data").read_text() == "other"


def test_what_the_jail_made_is_kept_and_named(box: Box) -> None:
    box.sh("echo one >~/one; mkdir -p ~/a/b; echo two >~/a/b/two; ln -s /etc/shadow ~/link; echo tmp >/tmp/three")
    (box.root / "home/jail/one").chmod(0o600)
    (box.root / "etc/motd").write_text("edited")
    (box.root / "etc/issue").write_text("by the administrator")
    before = box.dump()
    result = box.update()
    assert changes(result) == {
        "kept": ["/etc/issue", "/etc/motd", "/home/jail/a", "/home/jail/a/b", "/home/jail/a/b/two",
                 "/home/jail/link", "/home/jail/one", "/tmp/three"],
    }  # fmt: skip
    after = box.dump()
    kept = ("/home/jail", "/tmp/", "/etc/issue", "/etc/motd")
    assert {p: t for p, t in after.items() if p.startswith(kept)} == {
        p: t for p, t in before.items() if p.startswith(kept)
    }
    assert box.sh("cat ~/one ~/a/b/two /tmp/three") == "one\ntwo\ntmp\n"


def test_what_the_jail_made_its_own_survives_any_number_of_updates(box: Box) -> None:
    box.sh("echo one >~/one; echo mine >~/mine")
    for _ in range(3):
        assert changes(box.update())["kept"] == ["/home/jail/mine", "/home/jail/one"]
    assert box.sh("cat ~/one ~/mine") == "one\nmine\n"


def test_a_copy_in_the_home_follows_the_host_until_the_jail_changes_it(box: Box) -> None:
    (box.folder / "mine").write_text("second")
    assert changes(box.update()) == {"changed": ["/home/jail/mine"]}
    box.sh("echo own >~/mine")
    (box.folder / "mine").write_text("third")
    assert changes(box.update()) == {"changed": ["/home/jail/mine"], "kept": ["/home/jail/mine"]}
    assert box.sh("cat ~/mine") == "own\n"


def test_what_root_in_a_careless_jail_changed_is_its_own(tmp_path: Path, store: Store) -> None:
    profile = write_profile(tmp_path, "box", level="chroot-root", binaries=["sh", "rm"], files=["/etc/hostname"])
    create(order(str(profile)), store)
    box = api.open("box", home=store.home)
    assert box.run(["sh", "-c", "echo mine >/etc/hostname; rm /etc/hosts"]).ok
    assert changes(update("box", store)) == {"kept": ["/etc/hostname"], "replaced": ["/etc/hosts"]}
    assert Path(box.record.rootfs, "etc/hostname").read_text() == "mine\n"


def test_what_the_new_plan_goes_without_is_named(box: Box, jailkit: Jailkit) -> None:
    box.profile(binaries=["sh", "cat", {"name": "no-such-program", "optional": True}], limits={"memory": "1M"})
    done = jailkit("update", "--accept-gaps", "box")
    assert done.returncode == 0
    assert "note: binaries: no-such-program: no-such-program is not on this host's PATH" in done.stderr
    assert "does not hold: limits.memory: plain chroot has no cgroup" in done.stderr
    said = json.loads(jailkit("update", "--accept-gaps", "--json", "box").stdout)
    assert [omission["key"] for omission in said["omissions"]] == ["binaries: no-such-program"]
    assert [gap["key"] for gap in said["gaps"]] == ["limits.memory"]


def test_an_earlier_tree_without_its_marker_is_refused_before_anything_changes(box: Box, store: Store) -> None:
    box.update()
    Path(store.home, "previous/box/.jailkit").unlink()
    with pytest.raises(StateError, match="it does not carry jailkit's marker"):
        update("box", store)
    assert store.load("box").generation == 2
    assert os.listdir(f"{store.home}/drafts") == []


def test_damaged_copies_are_restored(box: Box) -> None:
    whole = dump(box.root, owners=True)
    (box.root / "usr/bin/cat").write_bytes(b"x")
    (box.root / "srv/data").chmod(0o4777)
    os.chown(box.root / "srv/data", 1, 1)
    (box.root / "usr/bin/sleep").unlink()
    (box.root / "dev/null").unlink()
    (box.root / "dev/null").touch()
    (box.root / "dev/zero").unlink()
    (box.root / "etc").chmod(0o777)
    (box.root / "tmp").chmod(0o777)
    result = box.update()
    assert changes(result)["replaced"] == [
        "/dev/null", "/dev/zero", "/etc", "/srv/data", "/tmp", "/usr/bin/cat", "/usr/bin/sleep",
    ]  # fmt: skip
    assert dump(box.root, owners=True) == whole


def test_what_is_dangerous_is_not_carried(box: Box) -> None:
    (box.root / "tmp/sh").write_text("x")
    (box.root / "tmp/sh").chmod(0o6755)
    os.mknod(box.root / "tmp/sda", 0o60666, os.makedev(8, 0))
    os.mkfifo(box.root / "tmp/fifo")
    result = box.update()
    assert changes(result) == {
        "kept": ["/tmp/sh"],
        "dropped": [(f"/tmp/{name}", "neither a file, a directory nor a link") for name in ("fifo", "sda")],
    }
    assert dump(box.root / "tmp") == {"/": "dir 1777", "/sh": "file 0755 2d711642"}


def test_links_of_the_jail_lead_nowhere_while_they_are_carried(box: Box, tmp_path: Path) -> None:
    """A link that the jail's user planted must neither be read through nor be written through."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("precious")
    before = dump(outside, owners=True, times=True)
    home = box.root / "home/jail"
    (home / "mine").unlink()
    (home / "mine").symlink_to(outside / "file")
    (home / "folder").symlink_to(outside)
    box.profile(text={"/etc/motd": "hello", "/home/jail/folder/file": {"content": "mine", "owner": "jail"}})
    update("box", box.store)
    assert dump(outside, owners=True, times=True) == before
    assert os.readlink(box.root / "home/jail/mine") == str(outside / "file")
    assert (box.root / "home/jail/folder/file").read_text() == "mine"


def test_what_finds_no_place_is_named(box: Box) -> None:
    box.sh("mkdir -p ~/a/b; echo x >~/a/b/c; echo y >~/d")
    box.profile(text={"/home/jail/a": "now a file"}, directories=["/home/jail/d"])
    result = box.update()
    dropped = dict(changes(result)["dropped"])
    assert set(dropped) == {"/home/jail/a", "/home/jail/a/b", "/home/jail/a/b/c", "/home/jail/d"}
    assert dropped["/home/jail/d"] == "the new tree has something else there"


def test_data_outlives_the_directory_that_the_profile_made_for_it(box: Box) -> None:
    """Only an update would delete it for good: the one after the next drops the tree it was in."""
    box.profile(directories=[{"path": "/var/spool/own", "owner": "jail", "mode": "0710"}])
    box.update()
    box.sh("mkdir /var/spool/own/deep; echo x >/var/spool/own/deep/data")
    before = {path: text for path, text in dump(box.root, owners=True).items() if path.startswith("/var/spool")}
    box.profile()
    for _ in range(3):
        result = update("box", box.store)
        assert result.carried.dropped == []
        assert "/var/spool/own/deep/data" in result.carried.kept
    after = dump(box.root, owners=True)
    assert {path: text for path, text in after.items() if path.startswith("/var/spool")} == before


def test_a_maze_of_the_user_stops_nothing(box: Box) -> None:
    before = os.open(".", os.O_RDONLY)
    os.chdir(box.root / "tmp")
    for name, levels in (("x" * 250, 30), ("d", 250)):
        os.chdir(box.root / "tmp")
        for _ in range(levels):
            os.mkdir(name)
            os.chdir(name)
        Path("bottom").touch()
    os.fchdir(before)
    os.close(before)
    box.sh("echo kept >~/kept")
    result = update("box", box.store)
    assert "/home/jail/kept" in result.carried.kept
    assert [reason for _, reason in result.carried.dropped if "not looked at" in reason] == [
        "what is in it was not looked at: more than 200 directories deep",
        "what is in it was not looked at: openat2: File name too long",
    ]


def test_what_the_jail_deleted_comes_back(box: Box) -> None:
    box.sh("rm ~/mine")
    box.update()
    assert box.sh("cat ~/mine") == "mine"


def test_rollback_there_and_back(box: Box) -> None:
    with pytest.raises(StateError, match="it has no earlier tree"):
        rollback("box", box.store)
    one = box.dump()
    box.profile(text={"/etc/motd": "two"})
    box.update()
    two = box.dump()
    assert one != two
    for expected, generation in ((one, 1), (two, 2), (one, 1)):
        assert rollback("box", box.store).generation == generation
        assert box.dump() == expected
        assert verify("box", box.store).ok


def test_only_the_last_tree_is_kept(box: Box) -> None:
    for number in range(3):
        box.profile(text={"/etc/motd": str(number)})
        box.update()
    rollback("box", box.store)
    assert (box.root / "etc/motd").read_text() == "1"
    assert {name: os.listdir(f"{box.store.home}/{name}") for name in ("jails", "previous", "drafts", "trash")} == {
        "jails": ["box"], "previous": ["box"], "drafts": [], "trash": [],
    }  # fmt: skip


def test_a_profile_whose_file_is_gone(box: Box) -> None:
    (box.folder / "box.yaml").unlink()
    (box.folder / "data").write_text("other")
    result = box.update()
    assert (result.from_file, changes(result)) == (False, {"changed": ["/srv/data"]})
    assert box.update().generation == 3


def test_a_profile_of_which_nothing_is_left(box: Box) -> None:
    (box.folder / "box.yaml").unlink()
    (box.root.parent / "profile.json").unlink()
    with pytest.raises(StateError, match="cannot plan jail box again") as caught:
        box.update()
    assert caught.value.resolution == f"put the profile back at {box.folder}/box.yaml"


@pytest.mark.parametrize(
    ("keys", "error"),
    [
        ({"binaries": ["sh", "no-such-program"]}, PlanError),
        ({"binarys": ["sh"]}, ProfileError),
        ({"text": {"/usr/bin": "x"}}, PlanError),
        ({"limits": {"memory": "1M"}}, JailkitError),
    ],
)
def test_an_update_that_fails_leaves_the_jail_as_it_was(
    box: Box, keys: dict[str, Any], error: type[JailkitError]
) -> None:
    before = box.dump()
    box.profile(**keys)
    with pytest.raises(error):
        update("box", box.store)
    assert box.dump() == before
    assert os.listdir(f"{box.store.home}/drafts") == []
    assert not box.store.has_previous("box")
    assert verify("box", box.store).ok


def test_an_update_that_cannot_write(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    box.sh("echo x >~/x")
    before = box.dump()
    monkeypatch.setattr("jailkit.lifecycle.carry.copy_content", full)
    with pytest.raises(RealizeError, match="cannot carry the changes of jail box over: No space left"):
        update("box", box.store)
    assert box.dump() == before
    assert os.listdir(f"{box.store.home}/drafts") == []


@pytest.fixture
def sleeper(box: Box, jailkit: Jailkit) -> Iterator[subprocess.Popen[str]]:  # noqa: ARG001 - sets the home
    """Give a command that runs in the jail."""
    import sys

    process = subprocess.Popen(
        [Path(sys.executable).with_name("jailkit"), "exec", "box", "--", "sh", "-c", "echo ready; exec sleep 600"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.communicate()


def test_a_jail_in_use_is_refused_or_ended(box: Box, sleeper: subprocess.Popen[str]) -> None:
    for act in (lambda: update("box", box.store), lambda: rollback("box", box.store)):
        with pytest.raises(StateError, match="cannot change jail box"):
            act()
    assert sleeper.poll() is None
    update("box", box.store, force=True)
    assert sleeper.wait(timeout=60) == 128 + 9
    assert verify("box", box.store).ok


def test_a_process_that_holds_no_lock_is_seen(box: Box) -> None:
    """The kernel tells of a daemon whose command ended long ago."""
    read, write = os.pipe()

    def live() -> None:
        os.chroot(box.root)
        os.write(write, b"x")
        signal.pause()

    pid = start(live)
    try:
        os.read(read, 1)
        for act in (lambda: update("box", box.store), lambda: rollback("box", box.store)):
            with pytest.raises(StateError, match="1 process in it") as caught:
                act()
            assert caught.value.details == (f"pid {pid}",)
        update("box", box.store, force=True)
        assert Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    finally:
        kill(pid)
        os.close(read)
        os.close(write)


@pytest.mark.needs("mount-namespace")
@pytest.mark.parametrize("place", ["jails/box/rootfs/tmp", "previous/box/rootfs/tmp"])
def test_something_mounted_below_is_refused(box: Box, tmp_path: Path, place: str) -> None:
    """In the older tool of this kind an update deleted host files through a bind mount."""
    box.update()
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("x")

    def body() -> list[str]:
        subprocess.run(["mount", "--bind", precious, f"{box.store.home}/{place}"], check=True)
        said = []
        for act in (lambda: update("box", box.store, force=True), lambda: rollback("box", box.store)):
            with pytest.raises(StateError) as caught:
                act()
            said.append(caught.value.brief)
        return said

    assert in_child(body, private_mounts=True) == ["cannot change jail box: 1 mount below it"] * 2
    assert (precious / "file").read_text() == "x"


def test_the_command(box: Box, jailkit: Jailkit) -> None:
    box.sh("echo x >~/x")
    (box.root / "usr/bin/cat").write_bytes(b"x")
    os.mkfifo(box.root / "tmp/\x1b[31m")
    (box.folder / "data").write_text("other")
    box.profile(text={"/etc/issue": "i"})
    done = jailkit("update", "box")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "added: /etc/issue",
        "removed: /etc/motd",
        "changed: /srv/data",
        "kept the jail's own: /home/jail/x",
        "restored from the host: /usr/bin/cat",
        "dropped: /tmp/\\x1b[31m: neither a file, a directory nor a link",
        "updated jail box to generation 2; to undo it: jailkit update --rollback box",
    ]
    assert jailkit("update", "box", "--rollback").stdout == "jail box is back at generation 1\n"
    assert json.loads(jailkit("update", "box", "--rollback", "--json").stdout) == {"name": "box", "generation": 2}
    data = json.loads(jailkit("update", "box", "--json").stdout)
    assert data == {
        "name": "box", "generation": 3, "from_file": True, "added": [], "removed": [], "changed": [],
        "carried": {"kept": ["/home/jail/x"], "replaced": [], "dropped": []}, "omissions": [], "gaps": [], "left": [],
    }  # fmt: skip
    (box.folder / "box.yaml").unlink()
    done = jailkit("update", "box", "--quiet")
    assert (done.returncode, done.stdout) == (0, "")
    assert "the copy kept with the jail was used" in jailkit("update", "box").stderr
    (box.folder / "box.yaml").write_text("name: box\nbinaries: 5\n")
    assert jailkit("update", "box").returncode == 2
