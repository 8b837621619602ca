"""Verify finds what is wrong with a jail, every time, and nothing in one that is as it was made."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.children import in_child
from support.profiles import write_profile
from support.trees import dump

from jailkit.errors import StateError
from jailkit.lifecycle.create import create, order
from jailkit.lifecycle.verify import Verification, verify
from jailkit.store import Jail, Store

pytestmark = pytest.mark.needs("root", "mknod", "chroot")

Jailkit = Callable[..., subprocess.CompletedProcess[str]]
CONSOLE = Path(sys.executable).with_name("jailkit")
UID = 60999
CAPABILITY = bytes.fromhex("01000002" + "00200000" + "0" * 24)  # cap_net_raw=ep, as setcap(8) writes it
LIBRARIES = "usr/lib/*/libc.so.6"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a home with a jail in it, and the files of the host that it was made from beside it."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "host").mkdir()
    (folder / "host/data").write_text("data")
    (folder / "host/tool").write_text("#!/bin/sh\necho tool\n")
    (folder / "host/tool").chmod(0o755)
    profile = write_profile(
        folder,
        "box",
        binaries=["sh", "cat", "touch", str(folder / "host/tool")],
        files=[
            {"source": "host/data", "target": "/srv/data"},
            {"source": "host/data", "target": "/home/jail/mine", "owner": "jail"},
        ],
        text={"/etc/motd": "hello"},
        symlinks={"/srv/link": "data"},
        directories=[{"path": "/srv/own", "owner": "jail"}],
        smoke=[{"command": ["sh", "-c", "cat /srv/data; tool"], "stdout": "datatool\n"}],
        environment={"PATH": f"/usr/bin:{folder}/host"},
    )
    create(order(str(profile)), Store(str(folder / "home")))
    return folder


@pytest.fixture
def box(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Jail:
    """Give a copy of the jail that a test may damage, in its own home."""
    home = tmp_path / "jailkit-home"
    monkeypatch.setenv("JAILKIT_HOME", str(home))
    subprocess.run(["cp", "-a", "--reflink=auto", made / "home", home], check=True)
    return Store(str(home)).load("box")


@pytest.fixture
def store(home: Path) -> Store:
    return Store(str(home))


@pytest.fixture
def root(box: Jail) -> Path:
    return Path(box.rootfs)


def look(box: Jail, *, smoke: bool = False) -> Verification:
    return verify("box", Store(str(Path(box.directory).parents[1])), smoke=smoke)


def found(box: Jail, *, smoke: bool = False) -> list[tuple[str, str]]:
    return [(finding.check, finding.path) for finding in look(box, smoke=smoke).findings]


def libc(root: Path) -> Path:
    return next(path for path in root.glob(LIBRARIES) if path.is_file())


def test_a_new_jail_is_good(box: Jail) -> None:
    result = look(box, smoke=True)
    assert (result.findings, result.notes, result.smoke) == ([], [], 1)
    assert result.ok
    assert result.paths == len(dump(box.rootfs))


def test_a_link_whose_target_the_jail_itself_makes(tmp_path: Path, store: Store) -> None:
    links = {"/srv/later": "/run/later", "/srv/now": "/etc/motd", "/srv/loop": "loop"}
    profile = write_profile(tmp_path, "box", text={"/etc/motd": "hello"}, symlinks=links)
    box = create(order(str(profile)), store)
    assert verify("box", store).ok
    Path(box.rootfs, "etc/motd").unlink()
    assert [(finding.check, finding.path) for finding in verify("box", store).findings] == [
        ("missing", "/etc/motd"), ("dangling", "/srv/now"),
    ]  # fmt: skip


def test_a_source_changed_with_its_size_and_time_as_before(tmp_path: Path, store: Store) -> None:
    source = tmp_path / "data"
    source.write_text("before")
    status = source.stat()
    create(order(str(write_profile(tmp_path, "box", files=[{"source": str(source), "target": "/srv/data"}]))), store)
    source.write_text("beside")
    os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert [(finding.check, finding.path) for finding in verify("box", store).findings] == [("stale", "/srv/data")]


def test_a_tree_that_is_a_link(box: Jail, root: Path) -> None:
    root.rename(f"{root}.away")
    root.symlink_to("/etc")
    with pytest.raises(StateError, match="cannot verify jail box: its tree"):
        look(box)


@pytest.mark.parametrize(("option", "word"), [("nodev", "device"), ("noexec", "command")])
def test_a_file_system_on_which_no_jail_works(tmp_path: Path, option: str, word: str) -> None:
    profile = write_profile(tmp_path, "box", binaries=["true"])

    def body() -> tuple[str, str, list[str]]:
        (tmp_path / "home").mkdir(mode=0o700)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"mode=0700,{option}", "none", tmp_path / "home"], check=True)
        environment = os.environ | {"JAILKIT_HOME": str(tmp_path / "home")}
        done = subprocess.run(
            [CONSOLE, "create", profile], env=environment, capture_output=True, text=True, check=True, timeout=60
        )
        found = verify("box", Store(str(tmp_path / "home")), smoke=False).findings
        return done.stdout, done.stderr, [f"{finding.check} {finding.message}" for finding in found]

    made, warned, findings = in_child(body, private_mounts=True)
    assert made.startswith("created jail box")
    [message] = findings
    assert message.startswith(f"mount {tmp_path}/home is mounted {option}, so no {word} of the jail can")
    assert f"warning: {message.removeprefix('mount ')}" in warned


def test_verify_changes_nothing(box: Jail) -> None:
    before = dump(box.directory, owners=True, times=True)
    look(box, smoke=True)
    assert dump(box.directory, owners=True, times=True) == before


@pytest.mark.parametrize("place", [0.0, 0.1, 0.31, 0.5, 0.77, 0.99999])
def test_one_flipped_bit_in_the_libc_is_found(box: Jail, root: Path, place: float) -> None:
    """In the older tool of this kind it passed three times of three."""
    path = libc(root)
    status = path.stat()
    offset = int(status.st_size * place)
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    (first, *_) = (finding for finding in look(box).findings if finding.check == "content")
    assert first.path == str(path)[len(box.rootfs) :]
    assert first.package == "libc6"


Damage = Callable[[Path], object]


def write(path: str, content: str) -> Damage:
    return lambda root: (root / path).write_text(content)


def chmod(path: str, mode: int) -> Damage:
    return lambda root: (root / path).chmod(mode)


def chown(path: str, uid: int, gid: int) -> Damage:
    return lambda root: os.lchown(root / path, uid, gid)


def replaced(path: str, make: Callable[[Path], object]) -> Damage:
    """Give the damage of having something else in the place of what was made."""

    def act(root: Path) -> None:
        there = root / path
        if there.is_dir() and not there.is_symlink():
            there.rmdir()
        else:
            there.unlink(missing_ok=True)
        there.parent.mkdir(parents=True, exist_ok=True)
        make(there)

    return act


def node(mode: int, major: int, minor: int) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        os.mknod(path, mode, os.makedev(major, minor))
        path.chmod(mode & 0o7777)

    return make


def program(mode: int) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        path.touch()
        path.chmod(mode)

    return make


def to(target: str) -> Callable[[Path], object]:
    return lambda path: path.symlink_to(target)


def capability(root: Path) -> None:
    os.setxattr(root / "usr/bin/cat", "security.capability", CAPABILITY)


DAMAGES: dict[str, tuple[Damage, list[str]]] = {
    "content": (write("etc/motd", "HELLO"), ["content /etc/motd"]),
    "grown": (write("etc/motd", "hello!"), ["content /etc/motd"]),
    "emptied": (write("etc/motd", ""), ["content /etc/motd"]),
    "cache": (write("etc/ld.so.cache", "x"), ["content /etc/ld.so.cache"]),
    "mode": (chmod("etc/motd", 0o600), ["mode /etc/motd"]),
    "writable": (chmod("etc/motd", 0o646), ["mode /etc/motd"]),
    "writable folder": (chmod("etc", 0o777), ["mode /etc"]),
    "root": (chmod(".", 0o700), ["mode /"]),
    "sticky": (chmod("tmp", 0o777), ["mode /tmp"]),
    "setuid": (chmod("usr/bin/cat", 0o4755), ["mode /usr/bin/cat", "setuid /usr/bin/cat"]),
    "setgid": (chmod("usr/bin/cat", 0o2755), ["mode /usr/bin/cat", "setuid /usr/bin/cat"]),
    "capability": (capability, ["capabilities /usr/bin/cat"]),
    "owner": (chown("srv/data", 1, 0), ["owner /srv/data"]),
    "group": (chown("srv/data", 0, 1), ["owner /srv/data"]),
    "owner of a link": (chown("srv/link", 1, 1), ["owner /srv/link"]),
    "file gone": (lambda root: (root / "srv/data").unlink(), ["missing /srv/data", "dangling /srv/link"]),
    "folder gone": (lambda root: (root / "srv/own").rmdir(), ["missing /srv/own"]),
    "extra file": (replaced("etc/new", program(0o644)), ["extra /etc/new"]),
    "extra folder": (replaced("usr/lib/new", Path.mkdir), ["extra /usr/lib/new"]),
    "extra link": (replaced("usr/bin/new", to("cat")), ["extra /usr/bin/new"]),
    "extra in dev": (replaced("dev/sda", program(0o644)), ["extra /dev/sda"]),
    "target": (replaced("srv/link", to("../etc/motd")), ["target /srv/link"]),
    "dangling": (replaced("srv/link", to("nowhere")), ["dangling /srv/link", "target /srv/link"]),
    "file for link": (replaced("srv/link", program(0o644)), ["type /srv/link"]),
    "link for file": (replaced("etc/motd", to("/etc/passwd")), ["type /etc/motd"]),
    "folder for file": (replaced("etc/motd", Path.mkdir), ["type /etc/motd"]),
    "fifo for file": (replaced("etc/motd", os.mkfifo), ["type /etc/motd"]),
    "link for folder": (replaced("srv/own", to("/etc")), ["type /srv/own"]),
    "file for device": (replaced("dev/null", program(0o666)), ["type /dev/null"]),
    "other device": (replaced("dev/null", node(0o20666, 1, 5)), ["device /dev/null"]),
    "block device": (replaced("dev/null", node(0o60666, 1, 3)), ["device /dev/null"]),
    "setuid in tmp": (replaced("tmp/sh", program(0o4755)), ["setuid /tmp/sh"]),
    "setgid deep in home": (replaced("home/jail/a/b/sh", program(0o2711)), ["setuid /home/jail/a/b/sh"]),
    "block device in tmp": (replaced("tmp/sda", node(0o60666, 8, 0)), ["device /tmp/sda"]),
    "device in home": (replaced("home/jail/kmem", node(0o20600, 1, 2)), ["device /home/jail/kmem"]),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_found(box: Jail, root: Path, name: str) -> None:
    damage, expected = DAMAGES[name]
    damage(root)
    assert [f"{check} {path}" for check, path in found(box)] == expected


def test_a_removed_library_leaves_programs_unresolved(box: Jail, root: Path) -> None:
    path = libc(root)
    path.unlink()
    findings = look(box).findings
    gone = str(path)[len(box.rootfs) :]
    assert ("missing", gone) in [(finding.check, finding.path) for finding in findings]
    unresolved = {finding.path: finding.message for finding in findings if finding.check == "unresolved"}
    assert unresolved["/usr/bin/cat"] == "does not find libc.so.6 in the jail"
    assert set(unresolved) >= {"/usr/bin/cat", "/usr/bin/dash", "/usr/bin/touch"}


def test_a_removed_loader_and_a_removed_interpreter(box: Jail, root: Path, made: Path) -> None:
    (root / "usr/bin/dash").unlink()
    checks = look(box, smoke=True).findings
    assert {(finding.check, finding.path) for finding in checks} == {
        ("missing", "/usr/bin/dash"), ("dangling", "/usr/bin/sh"), ("interpreter", f"{made}/host/tool"),
        ("smoke", "smoke[0]"),
    }  # fmt: skip


def test_what_the_user_of_the_jail_makes_is_noted_and_not_found(box: Jail, root: Path) -> None:
    for name in ("tmp/one", "home/jail/two", "srv/own/three", "tmp/folder/four"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(name)
        os.chown(root / name, UID, UID)
    os.mkfifo(root / "tmp/fifo")
    (root / "tmp/dangling").symlink_to("/nowhere")
    (root / "tmp/\x1b[2J\n").touch()
    result = look(box, smoke=True)
    assert result.ok
    assert {(note.check, note.path) for note in result.notes} == {
        ("extra", path)
        for path in ("/tmp/one", "/home/jail/two", "/srv/own/three", "/tmp/folder", "/tmp/folder/four", "/tmp/fifo",
                     "/tmp/dangling", "/tmp/\x1b[2J\n")
    }  # fmt: skip


def test_a_file_of_the_user_that_became_something_else_does_no_harm(box: Jail, root: Path) -> None:
    """What the jail's user owns can become a link out, a FIFO that nobody writes to, or a device of the host."""
    mine = root / "home/jail/mine"
    for make in (
        lambda: mine.symlink_to("/etc/shadow"),
        lambda: mine.symlink_to("../../../../../../etc/shadow"),
        lambda: os.mkfifo(mine),
        mine.mkdir,
    ):
        mine.rmdir() if mine.is_dir() and not mine.is_symlink() else mine.unlink()
        make()
        result = look(box)
        assert result.ok
        assert [(note.check, note.path) for note in result.notes] == [("type", "/home/jail/mine")]
    mine.rmdir()
    os.mknod(mine, 0o60666, os.makedev(8, 0))
    assert found(box) == [("device", "/home/jail/mine"), ("type", "/home/jail/mine")]


def test_a_maze_of_the_user_is_walked_without_harm(box: Jail, root: Path) -> None:
    before = os.open(".", os.O_RDONLY)
    os.chdir(root / "tmp")
    for _ in range(250):
        os.mkdir("d")
        os.chdir("d")
    os.chdir(root / "home/jail")
    for _ in range(30):
        os.mkdir("x" * 250)
        os.chdir("x" * 250)
    os.fchdir(before)
    os.close(before)
    (root / "tmp/loop").symlink_to("loop")
    (root / "tmp/root").symlink_to("/")
    result = look(box)
    assert result.ok
    assert {note.message.partition(":")[0] for note in result.notes if note.check == "unread"} == {
        "what is in it was not looked at"
    }


@pytest.mark.parametrize("parent", ["srv", "etc", "usr"])
def test_a_folder_that_became_a_link_out_of_the_jail(box: Jail, root: Path, tmp_path: Path, parent: str) -> None:
    """Verify must not read the host through it, and must say what it found."""
    shutil.move(root / parent, tmp_path / "moved")
    (root / parent).symlink_to(tmp_path / "moved")
    findings = found(box)
    assert ("type", f"/{parent}") in findings
    assert ("missing", {"srv": "/srv/data", "etc": "/etc/motd", "usr": "/usr/bin/cat"}[parent]) in findings


@pytest.fixture
def fresh(home: Path, tmp_path: Path) -> tuple[Path, Jail]:
    """Give a folder of sources on the host, and a jail made from it just now."""
    (tmp_path / "data").write_text("data")
    (tmp_path / "script").write_text("#!/bin/sh\n")
    (tmp_path / "script").chmod(0o755)
    profile = write_profile(
        tmp_path, "box", binaries=[str(tmp_path / "script")], files=[{"source": "data", "target": "/srv/data"}]
    )
    return tmp_path, create(order(str(profile)), Store(str(home)))


def test_what_the_host_changed_since_is_stale(fresh: tuple[Path, Jail]) -> None:
    folder, box = fresh
    assert found(box) == []
    (folder / "data").write_text("other data")
    (folder / "script").unlink()
    assert {f.path: (f.check, f.message) for f in look(box).findings} == {
        f"{folder}/script": ("stale", f"{folder}/script is gone from the host"),
        "/srv/data": ("stale", f"{folder}/data has changed on the host since it was copied"),
    }
    (folder / "data").unlink()
    (folder / "data").mkdir()
    assert ("stale", "/srv/data") in found(box)


def test_what_was_only_touched_is_not_stale(fresh: tuple[Path, Jail]) -> None:
    folder, box = fresh
    os.utime(folder / "data")
    assert found(box) == []


@pytest.mark.usefixtures("box")
def test_stale_names_the_package(tmp_path: Path) -> None:
    from jailkit.host import Host

    (tmp_path / "empty").mkdir()
    result = verify("box", Store(os.environ["JAILKIT_HOME"]), smoke=False, host=Host(str(tmp_path / "empty")))
    stale = {finding.path: finding.package for finding in result.findings if finding.check == "stale"}
    assert stale["/usr/bin/cat"] == "coreutils"


def test_smoke_commands_that_fail(home: Path, tmp_path: Path) -> None:
    profile = write_profile(
        tmp_path,
        "box",
        binaries=["sh", "sleep"],
        smoke=[
            {"command": ["sh", "-c", "exit 3"], "exit-code": 3},
            {"command": ["sh", "-c", "exit 4"], "exit-code": 3},
            {"command": ["nothing"]},
            {"command": ["sh", "-c", "echo a"], "stdout": "b\n"},
            {"command": ["sleep", "60"], "timeout": "100ms"},
            {"command": ["sh", "-c", "kill -9 $$"]},
            {"command": ["sh", "-c", "read x; echo $x"], "stdin": "in\n", "stdout": "in\n"},
            {"command": ["sh", "-c", "cat"], "user": "root"},
        ],
        accept_gaps=["isolation.user"],
    )
    create(order(str(profile)), Store(str(home)))
    started = time.monotonic()
    result = verify("box", Store(str(home)))
    assert time.monotonic() - started < 50
    assert [(finding.check, finding.path) for finding in result.findings] == [
        ("smoke", f"smoke[{number}]") for number in (1, 2, 3, 4, 5, 7)
    ]
    assert result.smoke == 8
    assert found(Store(str(home)).load("box")) == []


def test_a_jail_without_its_tree(box: Jail, jailkit: Jailkit) -> None:
    shutil.rmtree(box.rootfs)
    for command in (["verify"], ["exec", "--", "sh"]):
        done = jailkit(command[0], "box", *command[1:])
        assert done.returncode in (1, 125)
        assert done.stderr.startswith("jailkit: cannot ")
        assert "No such file or directory" in done.stderr
        assert "Try: jailkit update box" in done.stderr
    assert jailkit("update", "box").returncode == 0
    assert jailkit("verify", "box").returncode == 0


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("manifest.json", None), ("manifest.json", b""), ("manifest.json", b"{}"), ("manifest.json", b"\xff\xfe"),
        ("manifest.json", b'{"format": 1, "packages": {}, "records": [1]}'),
        ("jail.json", None), ("jail.json", b"{}"), ("jail.json", b"\xff\xfe"), ("jail.json", b"null"),
    ],
)  # fmt: skip
def test_damaged_records(box: Jail, jailkit: Jailkit, name: str, content: bytes | None) -> None:
    path = Path(box.directory, name)
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    for command in (["verify"], ["show"], ["update"], ["explain", "/bin/sh"], ["exec", "--", "sh"]):
        if name == "manifest.json" and command[0] == "exec":
            continue
        done = jailkit(command[0], "box", *command[1:])
        assert done.returncode in (1, 125)
        assert done.stderr.startswith("jailkit: cannot "), done.stderr
    assert jailkit("list").returncode == 0
    if name == "jail.json":
        assert "damaged" in jailkit("list").stdout
        assert "jailkit destroy --force box" in jailkit("destroy", "box").stderr
    done = jailkit("destroy", "--force", "box")
    assert (done.returncode, done.stdout) == (0, "destroyed jail box\n")


def test_exit_codes_and_output(root: Path, jailkit: Jailkit) -> None:
    done = jailkit("verify", "box")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"verified jail box: {len(dump(root))} paths, 1 smoke command: nothing found\n"
    (root / "tmp/note").touch()
    (root / "etc/\x1b[31m\n").touch()
    done = jailkit("verify", "box", "--no-smoke")
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "extra: /etc/\\x1b[31m\\n: file that the manifest does not have",
        f"verified jail box: {len(dump(root)) - 2} paths, 0 smoke commands: 1 finding",
    ]
    assert done.stderr == (
        "note: 1 path where the jail's user may write, added since the jail was made, not checked\n"
        "  Try: jailkit update box, which rebuilds it from its profile and this host; "
        "what is extra stays, delete it by hand\n"
    )
    done = jailkit("verify", "box", "--json")
    assert done.returncode == 1
    data = json.loads(done.stdout)
    assert set(data) == {"name", "ok", "findings", "notes", "paths", "smoke"}
    assert data["ok"] is False
    assert data["findings"] == [
        {"check": "extra", "path": "/etc/\x1b[31m\n", "message": "file that the manifest does not have",
         "package": None},
    ]  # fmt: skip
    assert [note["path"] for note in data["notes"]] == ["/tmp/note"]


@pytest.mark.usefixtures("box")
def test_a_jail_that_is_being_changed_is_refused() -> None:
    store = Store(os.environ["JAILKIT_HOME"])
    with store.locked("box", exclusive=True), pytest.raises(StateError, match="another command is using it"):
        verify("box", store)
    with store.locked("box", exclusive=False):
        assert verify("box", store, smoke=False).ok
