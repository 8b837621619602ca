"""Jails on disk: names, records, drafts, locks, and a home in any state that it may be found in."""

from __future__ import annotations

import fcntl
import json
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from support.children import NOBODY, end, in_child, start
from support.trees import dump

from jailkit.errors import JailkitError, PrivilegeError, StateError, UsageError
from jailkit.plan.model import Account, Destination, IoLimit, Isolation, Limits, Mount, Port, Runtime, Smoke
from jailkit.store import MARKER, Jail, Store, check_name, default_home, is_marked, read_jail

RUNTIME = Runtime(
    user="jail",
    accounts=(Account("jail", 60999, 60999, "/home/jail", "/bin/sh", (1, 2)),),
    environment=(("LANG", "C"), ("TZ", "UTC")),
    workdir="/home/jail",
    command=("sh", "-l"),
    limits=Limits(memory=64, cpus=1.5, cpu_weight=200, io=(IoLimit("/", 1, None, 2),), wall_time=2.5),
    isolation=Isolation(
        ("mount", "pid"), ("CAP_NET_RAW",), True, "default", "bridge",
        (Port("127.0.0.1", 8080, 80, "tcp"), Port("0.0.0.0", 53, 53, "udp")),
        (Destination("192.0.2.0/24", None, None), Destination("192.0.2.7/32", 443, "tcp")),
    ),
    mounts=(Mount("bind", "/data", "/srv", True), Mount("tmpfs", "/run", size=4096)),
    smoke=(Smoke(("true",), 0, "in", "equals", None, None, "jail", 2.0), Smoke(("false",), 1)),
    serves=True,
    devices=("null", "tty"),
    read_only_root=True,
    volumes=("/srv/data", "/var/lib/app"),
    stop_signal=1,
    stop_timeout=2.5,
)  # fmt: skip
BARE = Runtime("root", (), (), "/", ("/bin/sh",), root_accepted=True)


def record(directory: str = "/nowhere", runtime: Runtime = RUNTIME) -> Jail:
    return Jail("box", "shell", "/p/shell.yaml", "text", "chroot", 1.5, 3, runtime, directory)


@pytest.fixture
def store(home: Path) -> Store:
    return Store(str(home))


def make(store: Store, name: str = "box", content: str = "") -> None:
    """Publish a jail that has a record and one file."""
    with store.draft(name) as draft:
        Path(draft, "content").write_text(content)
        Path(draft, "jail.json").write_text(record().dumps().replace('"box"', f'"{name}"'))
        store.publish(draft, name)


def content(store: Store, name: str = "box") -> str:
    return Path(store.home, "jails", name, "content").read_text()


def left(store: Store) -> list[str]:
    """Give what is in the home besides its fixed folders and the jails."""
    return [path for path in dump(store.home) if path.count("/") > 1 and not path.startswith("/jails/")]


@pytest.mark.parametrize("runtime", [RUNTIME, BARE])
def test_a_record_is_the_same_after_json(runtime: Runtime) -> None:
    assert Jail.loads(record(runtime=runtime).dumps(), "/nowhere") == record(runtime=runtime)


LATER = ("serves", "devices", "read_only_root", "volumes", "stop_signal", "stop_timeout")


def test_a_record_from_before_there_were_namespaces_still_loads() -> None:
    data = json.loads(record().dumps())
    runtime = data["runtime"]
    for name in LATER:
        del runtime[name]
    del data["image"]
    del runtime["limits"]["cpu_weight"], runtime["isolation"]["ports"], runtime["isolation"]["allow"]
    loaded = Jail.loads(json.dumps(data), "/nowhere").runtime
    assert {name: getattr(loaded, name) for name in LATER} == {
        "serves": False, "devices": ("null", "zero", "full", "random", "urandom", "tty"), "read_only_root": False,
        "volumes": (), "stop_signal": 15, "stop_timeout": 10.0,
    }  # fmt: skip
    assert (loaded.limits.cpu_weight, loaded.isolation.ports, loaded.isolation.allow) == (None, (), None)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "/x", "a/b", "-x", ".x", "A", "a b", "a\n", "a\0", "x" * 64, "é", "a\x1b[31m"]
)
def test_names_that_no_jail_can_have(store: Store, name: str) -> None:
    for use in (check_name, store.load, lambda bad: store.locked(bad, exclusive=True).__enter__()):
        with pytest.raises(UsageError, match="as the name of a jail") as caught:
            use(name)
        assert str(caught.value).isprintable() or "\x1b" not in str(caught.value)
    assert not os.path.exists(store.home)


@pytest.mark.parametrize("name", ["a", "0", "x" * 63, "web-1.example_2"])
def test_names_that_a_jail_can_have(name: str) -> None:
    assert check_name(name) == name


def test_where_jails_live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Store(str(tmp_path)).home == str(tmp_path)
    assert Store("relative").home == os.path.abspath("relative")
    monkeypatch.setenv("JAILKIT_HOME", "/from-environment")
    assert Store().home == "/from-environment"
    monkeypatch.delenv("JAILKIT_HOME")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_home() == "/var/lib/jailkit"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert Store().home == "/data/jailkit"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert Store().home == "/home/me/.local/share/jailkit"


def test_a_jail_on_an_image_has_its_tree_there() -> None:
    own, shared = record("/home/jails/box"), replace(record("/home/jails/box"), image="a" * 64)
    assert (own.rootfs, own.manifest) == ("/home/jails/box/rootfs", "/home/jails/box/manifest.json")
    folder = f"/home/images/{'a' * 64}"
    assert (shared.rootfs, shared.manifest) == (f"{folder}/rootfs", f"{folder}/manifest.json")
    assert Jail.loads(shared.dumps(), shared.directory) == shared
    assert replace(shared, directory="/home/drafts/box").volume("/a/b") == "/home/volumes/box/a%2Fb"


IMAGE = {"format": 1, "plan": "x", "number": 0, "sealed": 5}


@pytest.mark.parametrize(
    ("text", "good"),
    [
        (json.dumps(IMAGE), True), ("", False), ("[]", False), (json.dumps(IMAGE | {"format": 2}), False),
        (json.dumps(IMAGE | {"sealed": "5"}), False), (json.dumps(IMAGE | {"more": 1}), False),
        (json.dumps(IMAGE | {"directory": "/etc"}), False), ('{"format": 1}', False),
    ],
)  # fmt: skip
def test_records_of_images(store: Store, text: str, good: bool) -> None:
    folder = Path(store.home, "images", "a" * 64)
    folder.mkdir(parents=True)
    (folder / MARKER).touch()
    (folder / "image.json").write_text(text)
    with store.held_image("a" * 64) as image:
        assert (image is not None) == good
        assert image is None or json.loads(image.dumps()) == IMAGE
    with store.held_image("b" * 64) as image:
        assert image is None


def test_an_image_that_somebody_is_about_to_name_stays(store: Store) -> None:
    make(store)
    folder = Path(store.home, "images", "a" * 64)
    folder.mkdir(parents=True)
    (folder / MARKER).touch()
    (folder / "image.json").write_text(json.dumps(IMAGE))
    with store.held_image("a" * 64) as image:
        assert image is not None
        store.sweep()
        assert store.collect() == []
        assert store.images() == ["a" * 64]
    assert store.collect() == []
    assert store.images() == []


def test_looking_makes_nothing(store: Store) -> None:
    assert store.names() == []
    store.sweep()
    with pytest.raises(StateError, match="cannot find jail box"):
        store.load("box")
    assert not os.path.exists(store.home)


def test_publish_and_load(store: Store) -> None:
    make(store, "box", "one")
    assert store.names() == ["box"]
    assert store.load("box").rootfs == f"{store.home}/jails/box/rootfs"
    assert left(store) == ["/lock"] or left(store) == []


def test_the_home_is_for_its_owner_alone(store: Store) -> None:
    before = os.umask(0)
    try:
        make(store)
    finally:
        os.umask(before)
    modes = {path: text[:8] for path, text in dump(store.home).items() if path.count("/") < 3}
    assert modes == {
        "/": "dir 0700", "/drafts": "dir 0700", "/jails": "dir 0700", "/jails/box": "dir 0700", "/lock": "file 060",
        "/previous": "dir 0700", "/trash": "dir 0700",
    }  # fmt: skip


def test_a_draft_that_fails_is_gone(store: Store) -> None:
    def fail() -> None:
        with store.draft("box") as draft:
            Path(draft, "rootfs/deep").mkdir(parents=True)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert store.names() == []
    assert [path for path in left(store) if path != "/lock"] == []


def test_a_draft_that_nobody_publishes_is_gone(store: Store) -> None:
    with store.draft("box") as draft:
        assert is_marked(draft)
    assert not os.path.exists(draft)


def test_two_drafts_of_one_name_at_once(store: Store) -> None:
    with store.draft("box"), pytest.raises(StateError, match="another command is building it"), store.draft("box"):
        pass
    make(store)
    assert store.names() == ["box"]


def test_publishing_never_replaces_a_jail(store: Store) -> None:
    make(store, content="first")
    with pytest.raises(StateError, match="cannot create jail box: it exists"):
        make(store, content="second")
    assert content(store) == "first"
    assert os.listdir(f"{store.home}/drafts") == []


def test_what_a_dead_command_left_is_swept_and_what_a_living_one_builds_is_not(store: Store) -> None:
    def die() -> None:
        with store.draft("dead") as draft:
            Path(draft, "rootfs").mkdir()
            os.kill(os.getpid(), 9)

    assert end(start(die)) == -9
    assert os.listdir(f"{store.home}/drafts") == ["dead"]
    with store.draft("alive"):
        assert os.listdir(f"{store.home}/drafts") == ["alive"]
        os.mkdir(f"{store.home}/trash/old.123")
        store.sweep()
        assert os.listdir(f"{store.home}/drafts") == ["alive"]
        assert os.listdir(f"{store.home}/trash") == []


def test_a_sweep_takes_no_file_and_no_link_for_a_draft(store: Store, tmp_path: Path) -> None:
    make(store)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/data").touch()
    os.symlink(tmp_path / "precious", f"{store.home}/drafts/link")
    Path(store.home, "trash/file").touch()
    store.sweep()
    assert (tmp_path / "precious/data").exists()
    make(store, "other")


@pytest.mark.parametrize("folder", ["drafts", "trash"])
def test_a_folder_that_only_has_the_same_name_is_not_swept(store: Store, folder: str) -> None:
    """A home may be chosen that holds somebody's own drafts."""
    mine = Path(store.home, folder, "novel")
    mine.mkdir(parents=True, mode=0o755)
    (mine / "chapter").touch()
    os.chmod(store.home, 0o755)
    Path(store.home, "drafts").mkdir(exist_ok=True)
    store.sweep()
    make(store)
    assert (mine / "chapter").exists()


def test_swap_and_rollback(store: Store) -> None:
    make(store, content="one")
    for text in ("two", "three"):
        with store.locked("box", exclusive=True), store.draft("box") as draft:
            Path(draft, "content").write_text(text)
            Path(draft, "jail.json").write_text(record().dumps())
            store.swap(draft, "box")
    seen = [content(store)]
    for _ in range(2):
        store.rollback("box")
        seen.append(content(store))
    assert seen == ["three", "two", "three"]
    assert store.has_previous("box")
    assert os.listdir(f"{store.home}/drafts") == os.listdir(f"{store.home}/trash") == []


def test_rollback_without_an_earlier_tree(store: Store) -> None:
    make(store)
    with pytest.raises(StateError, match="it has no earlier tree"):
        store.rollback("box")
    assert content(store) == ""


def test_discard_deletes_both_trees(store: Store) -> None:
    make(store)
    with store.draft("box") as draft:
        Path(draft, "content").write_text("two")
        store.swap(draft, "box")
    assert store.discard("box") == []
    assert store.names() == []
    assert [path for path in left(store) if path != "/lock"] == []


def test_discard_refuses_what_has_no_marker(store: Store) -> None:
    make(store)
    Path(store.home, "jails/box", MARKER).unlink()
    with pytest.raises(StateError, match="does not carry jailkit's marker"):
        store.discard("box")
    assert content(store) == ""


def test_what_counts_as_marked(tmp_path: Path) -> None:
    for name in ("real", "link-marker", "folder-marker", "none"):
        (tmp_path / name).mkdir()
    (tmp_path / "real" / MARKER).touch()
    (tmp_path / "link-marker" / MARKER).symlink_to(tmp_path / "real" / MARKER)
    (tmp_path / "folder-marker" / MARKER).mkdir()
    (tmp_path / "link").symlink_to("real")
    marked = [name for name in sorted(os.listdir(tmp_path)) if is_marked(str(tmp_path / name))]
    assert marked == ["real"]


def test_locks(store: Store) -> None:
    make(store)

    def lock(*, exclusive: bool) -> None:
        with store.locked("box", exclusive=exclusive):
            pass

    with store.locked("box", exclusive=False):
        lock(exclusive=False)
        with pytest.raises(StateError, match="cannot change jail box: another command is using it"):
            lock(exclusive=True)
    with store.locked("box", exclusive=True), pytest.raises(StateError, match="cannot enter jail box"):
        lock(exclusive=False)
    lock(exclusive=True)


def test_a_lock_waits_if_told_to(store: Store) -> None:
    make(store)
    held = store.locked("box", exclusive=True)
    held.__enter__()
    timer = threading.Timer(0.1, lambda: held.__exit__(None, None, None))
    timer.start()
    with store.locked("box", exclusive=False, patience=60.0):
        pass
    timer.join()


def test_a_lock_is_of_the_jail_that_has_the_name_now(store: Store) -> None:
    """A process that opened the old folder must not work in it once an update has swapped it away."""
    make(store, content="old")
    old = os.open(f"{store.home}/jails/box", os.O_RDONLY)
    fcntl.flock(old, fcntl.LOCK_EX)
    seen: list[str] = []

    def wait() -> None:
        with store.locked("box", exclusive=False, patience=60.0):
            seen.append(content(store))

    waiting = threading.Thread(target=wait)
    waiting.start()
    with store.draft("box") as draft:
        Path(draft, "content").write_text("new")
        Path(draft, "jail.json").write_text(record().dumps())
        store.swap(draft, "box")
    os.close(old)
    waiting.join()
    assert seen == ["new"]


@pytest.mark.parametrize("ids", [None, (1, 2), (1_000_000, 65536), (2**32 - 65537, 65536)])
@pytest.mark.parametrize("accepted", [(), ("limits.memory", "isolation.user")])
def test_ids_and_accepted_gaps_are_kept(ids: tuple[int, int] | None, accepted: tuple[str, ...]) -> None:
    jail = replace(record(), ids=ids, accepted=accepted, image="a" * 64)
    assert Jail.loads(jail.dumps(), jail.directory) == jail


def test_a_record_of_before_there_were_ids() -> None:
    data = json.loads(record().dumps())
    for name in ("ids", "accepted", "image"):
        del data[name]
    found = Jail.loads(json.dumps(data), "/nowhere")
    assert (found.ids, found.accepted, found.image) == (None, (), None)


def damaged(text: str, name: str, value: object) -> str:
    data = json.loads(text)
    target = data
    *way, last = name.split(".")
    for step in way:
        target = target[int(step) if step.isdigit() else step]
    target[last] = value
    return json.dumps(data)


WHOLE = record().dumps()
HOSTILE = [
    *((name, value) for name in ("name", "profile", "source", "description", "level") for value in (5, None, ["x"])),
    ("created", "yesterday"), ("created", None), ("generation", "3"), ("generation", 1.5), ("format", 2),
    ("level", "bogus"),
    ("image", 5), ("image", ""), ("image", "../box"), ("image", "a" * 63), ("image", "A" * 64),
    *(("ids", value) for value in (5, "1:65536", [], [1], [1, 2, 3], ["1", 65536], [1.5, 65536], [1, None], [[1], 2])),
    *(("ids", value) for value in ([0, 65536], [-1, 65536], [1, -5], [2**32 - 5, 65536], [1, 2**32], {})),
    *(("ids", value) for value in ([True, 65536], [1, True])),
    ("accepted", "limits.memory"), ("accepted", [5]), ("accepted", None), ("accepted", {"limits.memory": 1}),
    ("directory", "/etc"), ("unknown", 1), ("runtime", None), ("runtime", []), ("runtime", {}),
    ("runtime.user", 0), ("runtime.accounts", 5), ("runtime.accounts", [5]), ("runtime.accounts", [{}]),
    ("runtime.accounts.0.uid", "0"), ("runtime.accounts.0.groups", 5), ("runtime.accounts.0.groups", ["x"]),
    ("runtime.environment", 5), ("runtime.environment", [["A"]]), ("runtime.environment", [["A", 5]]),
    ("runtime.environment", ["AB"]), ("runtime.workdir", 5), ("runtime.command", "sh"), ("runtime.command", [5]),
    ("runtime.root_accepted", "yes"), ("runtime.limits", None), ("runtime.limits.memory", "1M"),
    ("runtime.limits.wall_time", "1s"),
    ("runtime.limits.io", 5), ("runtime.limits.io", [{"path": 5}]), ("runtime.isolation", 5),
    ("runtime.isolation.namespaces", 5), ("runtime.isolation.capabilities", [5]), ("runtime.mounts", [[]]),
    ("runtime.mounts.0.source", 5), ("runtime.smoke.0.command", 5), ("runtime.smoke.0.stdin", 5), ("runtime.smoke", 5),
    ("created", float("nan")), ("created", float("inf")), ("created", 1e300), ("generation", -1),
    ("runtime.accounts.0.uid", 2**70), ("runtime.accounts.0.uid", -1), ("runtime.accounts.0.groups", [2**32]),
    ("runtime.limits.open_files", -5), ("runtime.limits.wall_time", float("nan")),
    ("runtime.smoke.0.timeout", float("nan")), ("runtime.isolation.capabilities", ["CAP_NOPE"]),
    ("runtime.devices", ["sda"]), ("runtime.devices", None), ("runtime.volumes", "/srv"), ("runtime.volumes", [5]),
    ("runtime.stop_signal", "TERM"), ("runtime.stop_timeout", -1), ("runtime.read_only_root", "no"),
    ("runtime.isolation.ports", 5), ("runtime.isolation.ports.0.port", "80"), ("runtime.isolation.ports.0.protocol", 5),
    ("runtime.isolation.allow", 5), ("runtime.isolation.allow.0.network", 5), ("runtime.limits.cpu_weight", "100"),
    ("runtime.isolation.allow.0.protocol", "icmp"), ("runtime.isolation.ports.0.protocol", None),
    ("runtime.isolation.allow.1.protocol", None), ("runtime.isolation.allow.0.protocol", "tcp"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), HOSTILE)
def test_a_damaged_record_says_so(store: Store, name: str, value: object) -> None:
    make(store)
    Path(store.home, "jails/box/jail.json").write_text(damaged(WHOLE, name, value))
    with pytest.raises(StateError, match="cannot read the record of jail box") as caught:
        store.load("box")
    assert caught.value.resolution == "jailkit destroy --force box"


@pytest.mark.parametrize(
    "text", [b"", b"{", b"null", b'"x"', b"[1]", b"\xff\xfe", b"[" * 100_000, WHOLE.encode()[:-5], b"\0" * 4096]
)
def test_a_record_that_is_no_record(store: Store, text: bytes) -> None:
    make(store)
    Path(store.home, "jails/box/jail.json").write_bytes(text)
    with pytest.raises(StateError, match="cannot read the record of jail box"):
        store.load("box")


@pytest.mark.parametrize("kind", ["fifo", "link", "huge"])
def test_a_record_that_would_never_end(store: Store, kind: str) -> None:
    make(store)
    path = Path(store.home, "jails/box/jail.json")
    path.unlink()
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to("/dev/zero")
    else:
        path.touch()
        os.truncate(path, 1 << 40)
    with pytest.raises(StateError, match="cannot read the record of jail box"):
        store.load("box")


def test_a_draft_that_no_sweep_takes_away_is_named(store: Store) -> None:
    make(store)
    Path(store.home, "drafts/other/kept").mkdir(parents=True)
    with pytest.raises(StateError, match="drafts/other is in the way"), store.draft("other"):
        pass


def test_a_record_that_is_gone(store: Store) -> None:
    make(store)
    Path(store.home, "jails/box/jail.json").unlink()
    with pytest.raises(StateError, match=r"cannot use jail box: its record jail.json is gone") as caught:
        store.load("box")
    assert caught.value.resolution == "jailkit destroy --force box"


def test_a_record_that_is_a_folder(store: Store) -> None:
    make(store)
    Path(store.home, "jails/box/jail.json").unlink()
    Path(store.home, "jails/box/jail.json").mkdir()
    with pytest.raises(StateError, match="cannot read the record of jail box"):
        read_jail(f"{store.home}/jails/box")
    with pytest.raises(StateError):
        store.load("box")


def test_a_file_where_a_jail_should_be(store: Store) -> None:
    make(store)
    Path(store.home, "jails/file").touch()
    assert store.names() == ["box"]
    for use in (store.load, lambda name: store.locked(name, exclusive=False).__enter__()):
        with pytest.raises(StateError, match="cannot find jail file"):
            use("file")


@pytest.mark.parametrize("kind", ["file", "dangling link", "file for jails", "long name"])
def test_a_home_that_is_none(tmp_path: Path, kind: str) -> None:
    home = tmp_path / "home"
    if kind == "file":
        home.touch()
    elif kind == "dangling link":
        home.symlink_to("nowhere")
    elif kind == "file for jails":
        home.mkdir()
        (home / "jails").touch()
    else:
        home = tmp_path / ("x" * 300)
    store = Store(str(home))
    with pytest.raises(JailkitError, match="cannot use"):
        make(store)
    store.sweep()
    with pytest.raises(JailkitError):
        store.load("box")
    if kind != "dangling link":
        with pytest.raises(JailkitError, match="cannot use"):
            store.names()


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770])
def test_a_home_that_others_may_change_is_refused(home: Path, mode: int) -> None:
    home.mkdir()
    home.chmod(mode)
    with pytest.raises(StateError, match="others than its owner may change it"):
        make(Store(str(home)))
    assert not (home / "jails/box").exists()


def test_a_link_in_the_place_of_the_lock_is_not_followed(store: Store, tmp_path: Path) -> None:
    make(store)
    Path(store.home, "lock").unlink()
    os.symlink(tmp_path / "elsewhere", f"{store.home}/lock")
    with pytest.raises(JailkitError, match="cannot use"):
        make(store, "other")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.needs("root")
def test_another_user_is_told_to_become_root(public: Path) -> None:
    store = Store(str(public / "home"))
    make(store)

    def look() -> list[str]:
        told = []
        for use in (store.names, lambda: store.load("box"), lambda: store.locked("box", exclusive=False).__enter__()):
            with pytest.raises(PrivilegeError) as caught:
                use()
            told.append(caught.value.brief)
        store.sweep()
        return told

    assert in_child(look, uid=NOBODY) == [
        f"cannot use {store.home} for jails: Permission denied",
        "cannot read jail box: Permission denied",
        "cannot read jail box: Permission denied",
    ]
