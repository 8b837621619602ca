"""`jailkit create` as people meet it: what it makes, and what it says when it cannot."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.children import NOBODY, in_child
from support.nobody import AS_NOBODY
from support.profiles import write_profile
from support.trees import dump

from jailkit.errors import JailkitError, PrivilegeError, RealizeError
from jailkit.lifecycle.create import create, order
from jailkit.lifecycle.destroy import destroy
from jailkit.lifecycle.verify import verify
from jailkit.store import Store

pytestmark = pytest.mark.needs("root", "mknod", "chroot")

Jailkit = Callable[..., subprocess.CompletedProcess[str]]
CONSOLE = Path(sys.executable).with_name("jailkit")


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    return write_profile(
        tmp_path, "small", description="for tests", binaries=["sh", "cat"], text={"/srv/text": "text"},
        smoke=[{"command": ["cat", "/srv/text"], "stdout": "text"}],
    )  # fmt: skip


def left(home: Path) -> list[str]:
    """Give what is in a home besides its fixed folders."""
    if not home.exists():
        return []
    fixed = {"/", "/lock", "/jails", "/drafts", "/previous", "/trash"}
    return [path for path in dump(home) if path not in fixed]


def failure(done: subprocess.CompletedProcess[str], code: int = 1) -> str:
    """Give what a command said that must have failed in words, not with a traceback."""
    assert done.returncode == code, (done.stdout, done.stderr)
    assert done.stderr.startswith("jailkit: cannot ")
    assert "Traceback" not in done.stderr
    return done.stderr


def test_one_line_says_what_was_made(jailkit: Jailkit, home: Path, profile: Path) -> None:
    done = jailkit("create", profile)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"created jail small at level chroot: \d+ files, [\d.]+ MiB, in \d+\.\d\d s\n", done.stdout)
    assert (home / "jails/small/rootfs/srv/text").read_text() == "text"
    assert jailkit("exec", "small", "--", "cat", "/srv/text").stdout == "text"


def test_json(jailkit: Jailkit, home: Path, profile: Path) -> None:
    done = jailkit("create", profile, "--name", "box", "--level", "chroot-root", "--json")
    assert done.stderr == ""
    made = json.loads(done.stdout)
    assert set(made) == {"name", "level", "profile", "rootfs", "paths", "bytes", "omissions", "gaps", "hindrances"}
    assert (made["name"], made["level"], made["profile"]) == ("box", "chroot-root", str(profile))
    assert made["rootfs"] == f"{home}/jails/box/rootfs"
    listed = json.loads(jailkit("list", "--json").stdout)
    assert [{key: row[key] for key in ("name", "level", "profile", "rootfs", "description")} for row in listed] == [
        {"name": "box", "level": "chroot-root", "profile": "small", "rootfs": made["rootfs"],
         "description": "for tests"},
    ]  # fmt: skip


def test_quiet_prints_nothing(jailkit: Jailkit, profile: Path) -> None:
    done = jailkit("create", profile, "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def run_on_terminal(*command: str | Path, env: dict[str, str]) -> str:
    """Run a command with standard error on a terminal, and give what it wrote there."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [CONSOLE, *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=theirs, env=env
    )
    os.close(theirs)
    seen = b""
    try:
        while chunk := os.read(ours, 4096):
            seen += chunk
    except OSError:
        pass  # EIO: the last writer is gone.
    finally:
        os.close(ours)
    process.communicate(timeout=60)
    assert process.returncode == 0
    return seen.decode()


def test_progress_on_a_terminal_only(home: Path, profile: Path) -> None:
    env = dict(os.environ) | {"TERM": "xterm"}
    assert "creating" in run_on_terminal("create", profile, env=env)
    assert run_on_terminal("create", profile, "--name", "two", "--quiet", env=env) == ""
    assert run_on_terminal("create", profile, "--name", "three", "--json", env=env) == ""
    assert sorted(os.listdir(home / "jails")) == ["small", "three", "two"]


def test_dry_run_shows_the_plan_and_makes_nothing(jailkit: Jailkit, home: Path, profile: Path) -> None:
    done = jailkit("create", profile, "--dry-run")
    assert done.returncode == 0
    assert "text      0644 /srv/text  (text: /srv/text)" in done.stdout.splitlines()
    assert "symlink   ---- /usr/bin/sh -> dash  (binaries: sh)" in done.stdout.splitlines()
    assert "copy      0755 /usr/bin/dash  (binaries: sh; target of /usr/bin/sh)" in done.stdout.splitlines()
    assert "device    0666 /dev/null  (every jail)" in done.stdout.splitlines()
    assert re.fullmatch(r"a jail at level chroot would have \d+ paths; nothing was made", done.stdout.splitlines()[-1])
    assert not home.exists()
    plan = json.loads(jailkit("create", profile, "--dry-run", "--json").stdout)
    assert {entry["type"] for entry in plan["entries"]} == {"directory", "copy", "symlink", "device", "text"}
    assert {entry["path"]: entry["reason"] for entry in plan["entries"]}["/srv/text"] == {
        "key": "text: /srv/text", "because": "named", "via": None,
    }  # fmt: skip
    assert not home.exists()


def test_without_root_it_says_so_in_a_line(jailkit: Jailkit, public: Path) -> None:
    profile = write_profile(public, "small", binaries=["sh"])
    environment = dict(os.environ) | {"JAILKIT_HOME": str(public / "home"), "HOME": str(public)}
    done = jailkit("create", profile, env=environment, prefix=AS_NOBODY)
    assert failure(done) == (
        "jailkit: cannot create at level chroot: chroot(2) and mknod(2) need root\n"
        "  Try: run it as root, for example with sudo\n"
    )
    done = jailkit("create", profile, "--dry-run", env=environment, prefix=AS_NOBODY)
    assert (done.returncode, done.stderr) == (0, "")
    assert "/usr/bin/dash" in done.stdout
    assert not (public / "home").exists()


def test_without_root_the_jails_of_root_are_out_of_reach(jailkit: Jailkit, public: Path) -> None:
    profile = write_profile(public, "small", binaries=["sh"])
    environment = dict(os.environ) | {"JAILKIT_HOME": str(public / "home")}
    assert jailkit("create", profile, env=environment).returncode == 0
    for command in (
        ["list"], ["show", "small"], ["verify", "small"], ["update", "small"], ["destroy", "small"],
        ["explain", "small", "/bin/sh"], ["destroy", "--force", "small"], ["exec", "small", "--", "true"],
        ["update", "small", "--rollback"], ["create", profile],
    ):  # fmt: skip
        done = jailkit(*command, env=environment, prefix=AS_NOBODY)
        assert "root" in failure(done, 125 if command[0] == "exec" else 1)
    assert jailkit("verify", "small", env=environment).returncode == 0


def test_what_is_missing_is_named_and_nothing_is_made(jailkit: Jailkit, home: Path, tmp_path: Path) -> None:
    profile = write_profile(tmp_path, binaries=["sh", "no-such-program"], files=["/no/such/file"])
    said = failure(jailkit("create", profile))
    assert said.splitlines() == [
        "jailkit: cannot plan small: this host lacks 2 things that it names",
        "  binaries: no-such-program: no-such-program is not on this host's PATH",
        "  files: /no/such/file: /no/such/file does not exist on this host",
        "  Try: install what is missing, take it out of the profile, or mark the entry `optional: true`",
    ]
    assert not home.exists()


def test_what_is_optional_is_left_out_and_listed(jailkit: Jailkit, tmp_path: Path) -> None:
    profile = write_profile(tmp_path, binaries=["sh", {"name": "no-such-program", "optional": True}])
    done = jailkit("create", profile)
    assert done.returncode == 0
    assert done.stderr == (
        "note: binaries: no-such-program: no-such-program is not on this host's PATH: left out\n"
    )  # fmt: skip
    assert json.loads(jailkit("create", profile, "--name", "b", "--json").stdout)["omissions"] == [
        {"key": "binaries: no-such-program", "message": "no-such-program is not on this host's PATH: left out"}
    ]


def test_a_library_that_is_missing_is_named_with_what_wanted_it(tmp_path: Path, home: Path) -> None:
    """A program without its library is found before anything is made, not when it is first run."""
    root = tmp_path / "host"
    for path in ("/bin/cat", "/lib64/ld-linux-x86-64.so.2"):
        (root / path.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(os.path.realpath(path), root / path.lstrip("/"))
    from jailkit.host import Host

    profile = write_profile(tmp_path, binaries=["cat"])
    with pytest.raises(JailkitError) as caught:
        order(str(profile), host=Host(str(root)))
    assert caught.value.details == (
        "binaries: cat: library libc.so.6 is not on this host, wanted by /bin/cat",
    )  # fmt: skip
    assert not home.exists()


def test_a_misspelt_profile(jailkit: Jailkit, home: Path, tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("name: p\nbinarys: [sh]\nlevel: chrot\n")
    said = failure(jailkit("create", path), 2)
    assert f"{path}:2:1: binarys:" in said
    assert "did you mean `binaries`?" in said
    assert f"{path}:3:8: level:" in said
    assert not home.exists()


def test_names_levels_and_gaps(jailkit: Jailkit, home: Path, profile: Path, tmp_path: Path) -> None:
    assert "as the name of a jail" in failure(jailkit("create", profile, "--name", "../x"), 2)
    assert "none of that name" in failure(jailkit("create", profile, "--level", "chrot"), 2)
    assert "no isolation at all" in failure(jailkit("create", profile, "--level", "host"))
    assert not home.exists()
    limited = write_profile(tmp_path, "limited", binaries=["sh"], limits={"memory": "64MiB", "pids": 5})
    said = failure(jailkit("create", limited))
    assert "limits.memory: " in said
    assert "limits.pids: " in said
    assert "--accept-gaps" in said
    assert left(home) == []
    done = jailkit("create", limited, "--accept-gaps")
    assert done.returncode == 0
    assert "does not hold: limits.memory: " in done.stderr
    accepting = write_profile(
        tmp_path, "accepting", binaries=["sh"], limits={"memory": "64MiB"}, accept_gaps=["limits.memory"]
    )
    assert jailkit("create", accepting).returncode == 0


def test_show_tells_which_limits_do_not_hold(jailkit: Jailkit, tmp_path: Path) -> None:
    limits = {"memory": "64MiB", "file-size": "1M", "wall-time": "90s", "open-files": 64}
    limited = write_profile(tmp_path, "limited", binaries=["sh"], limits=limits)
    assert jailkit("create", limited, "--accept-gaps").returncode == 0
    shown = jailkit("show", "limited").stdout.splitlines()
    assert "limits       memory 64.0 MiB, open-files 64, file-size 1.0 MiB, wall-time 90 s" in shown
    assert "not held     limits.memory" in shown
    assert all(line == line.rstrip() for line in shown)
    assert json.loads(jailkit("show", "limited", "--json").stdout)["gaps"] == ["limits.memory"]


def test_a_name_that_is_taken(jailkit: Jailkit, home: Path, profile: Path) -> None:
    assert jailkit("create", profile).returncode == 0
    before = dump(home)
    assert "cannot create jail small: it exists" in failure(jailkit("create", profile))
    assert dump(home) == before


def test_where_jails_live(jailkit: Jailkit, home: Path, profile: Path, tmp_path: Path) -> None:
    assert jailkit("--home", tmp_path / "other", "create", profile).returncode == 0
    assert (tmp_path / "other/jails/small").is_dir()
    assert not home.exists()
    (tmp_path / "file").touch()
    for command in (["create", profile], ["list"], ["destroy", "x"]):
        failure(jailkit("--home", tmp_path / "file", *command))


def test_list_show_and_explain(jailkit: Jailkit, profile: Path) -> None:
    assert jailkit("list").stderr.startswith("no jails in ")
    jailkit("create", profile)
    table = jailkit("list").stdout.splitlines()
    assert table[0].split() == ["NAME", "LEVEL", "STATUS", "PROFILE", "CREATED"]
    assert table[1].split()[:4] == ["small", "chroot", "stopped", "small"]
    shown = jailkit("show", "small", "--files").stdout
    assert "rollback     nothing to go back to" in shown
    assert "processes    none" in shown
    assert re.search(r"^file +0644 0:0 /srv/text$", shown, re.MULTILINE)
    data = json.loads(jailkit("show", "small", "--json", "--files").stdout)
    assert data["processes"] == []
    assert data["previous"] is False
    assert {record["path"] for record in data["files"]} >= {"/srv/text", "/dev/null"}
    assert len(data["files"]) == data["paths"]
    assert "dash" in data["packages"]
    chain = json.loads(jailkit("explain", "small", "/bin/sh", "--json").stdout)
    assert [record["path"] for record in chain] == ["/usr/bin/sh"]
    for path in ("/usr/bin/dash", "bin/dash", "/bin/../bin/dash"):
        said = jailkit("explain", "small", path).stdout.splitlines()
        assert said == [
            "/usr/bin/dash: the target of the link /usr/bin/sh [package dash]",
            "  /usr/bin/sh -> dash: named by the profile under binaries: sh",
            "    profile small, binaries: sh",
        ]
    assert "was not made with it" in failure(jailkit("explain", "small", "/etc/shadow"))
    for command in (["show"], ["explain", "/x"], ["verify"], ["update"], ["destroy"]):
        said = failure(jailkit(command[0], "ghost", *command[1:]))
        assert "cannot find jail ghost" in said


@pytest.mark.parametrize("name", ["sh", "cat"])
def test_every_path_has_a_chain_to_the_profile(home: Path, name: str, tmp_path: Path) -> None:
    from jailkit.lifecycle.verify import read_manifest

    store = Store(str(home))
    jail = create(order(str(write_profile(tmp_path, binaries=[name, "python3"]))), store)
    manifest = read_manifest(jail)
    ends = {manifest.chain(path)[-1].reason.because for path in manifest.records}
    assert ends <= {"named", "base", "hidden", "account"}


def shielded(test: Callable[[Path], Any], image: Path, point: Path, *options: str) -> Any:
    """Run a test in a child that has a small ext4 of its own on `point`, gone when the child ends."""

    def body() -> Any:
        subprocess.run(["mount", *options, "-o", "loop", image, point], check=True)
        try:
            return test(point)
        finally:
            os.chdir("/")
            subprocess.run(["umount", point], check=True)

    return in_child(body, private_mounts=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> tuple[Path, Path]:
    """Give the image of an empty file system of 8 MiB, and a folder to mount it on."""
    image, point = tmp_path / "image", tmp_path / "disk"
    point.mkdir()
    with image.open("wb") as file:
        file.truncate(8 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", image], check=True)
    return image, point


def filled(folder: Path, spare: int) -> Path:
    """Fill a file system up to `spare` bytes."""
    ballast = folder / "ballast"
    free = os.statvfs(folder)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, free.f_bavail * free.f_frsize - spare))
    return ballast


@pytest.mark.needs("mount-namespace", "loop")
@pytest.mark.parametrize("spare", [0, 4096, 16384, 65536, 1 << 20, 2 << 20])
def test_a_full_disk(small_disk: tuple[Path, Path], tmp_path: Path, spare: int) -> None:
    """Wherever in a create the disk is full, it says so and takes away all that it made."""
    wanted = order(str(write_profile(tmp_path, "big", binaries=["sh", "cat", "ls"])))
    little = order(str(write_profile(tmp_path, "little", text={"/x": "y"}, devices=[])))

    def body(disk: Path) -> tuple[str, str | None, list[str]]:
        home = disk / "home"
        store = Store(str(home))
        ballast = filled(disk, spare)
        with pytest.raises(JailkitError) as caught:
            create(wanted, store)
        after = left(home)
        ballast.unlink()
        create(little, store)
        assert verify("little", store).ok
        destroy("little", store)
        return str(caught.value), caught.value.resolution, after

    said, resolution, after = shielded(body, *small_disk)
    assert "No space left on device" in said
    assert resolution == "free some space where the jails are, or put them on another file system with --home"
    assert after == []


@pytest.mark.needs("mount-namespace", "loop")
def test_a_full_disk_on_the_command_line(small_disk: tuple[Path, Path], profile: Path) -> None:
    def body(disk: Path) -> tuple[int, str]:
        environment = dict(os.environ) | {"JAILKIT_HOME": str(disk / "home")}
        filled(disk, 1 << 20)
        done = subprocess.run(
            [CONSOLE, "create", profile], env=environment, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stderr

    code, said = shielded(body, *small_disk)
    assert code == 1
    assert re.fullmatch(r"jailkit: cannot copy /\S+: No space left on device\n  Try: free some space .*\n", said)


@pytest.mark.needs("mount-namespace", "loop")
def test_a_read_only_disk(small_disk: tuple[Path, Path], profile: Path) -> None:
    wanted = order(str(profile))

    def body(disk: Path) -> list[str]:
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        store = Store(str(disk / "home"))
        store.sweep()
        assert store.names() == []
        with pytest.raises(JailkitError) as caught:
            create(wanted, store)
        return str(caught.value).splitlines()

    said = shielded(body, *small_disk)
    assert "Read-only file system" in said[0]
    assert "--home" in said[1]


@pytest.mark.needs("mount-namespace", "loop")
def test_a_jail_on_a_disk_that_became_read_only(small_disk: tuple[Path, Path], profile: Path) -> None:
    """What only looks still works; what changes says why it cannot."""
    wanted = order(str(profile))

    def body(disk: Path) -> list[str]:
        store = Store(str(disk / "home"))
        create(wanted, store)
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        store.sweep()
        assert store.names() == ["small"]
        assert verify("small", store).ok
        said = []
        for act in (lambda: destroy("small", store), lambda: create(wanted, store, name="other")):
            with pytest.raises(JailkitError) as caught:
                act()
            said.append(caught.value.brief)
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        destroy("small", store)
        return said

    for said in shielded(body, *small_disk):
        assert "Read-only file system" in said


@pytest.mark.needs("mount-namespace", "loop")
@pytest.mark.parametrize(("option", "sign"), [("noexec", "Permission denied"), ("nodev", "/dev/null")])
def test_a_disk_on_which_no_jail_works_is_found_by_verify(
    small_disk: tuple[Path, Path], tmp_path: Path, option: str, sign: str
) -> None:
    profile = write_profile(tmp_path, "small", binaries=["sh"], smoke=[{"command": ["sh", "-c", "echo x >/dev/null"]}])
    wanted = order(str(profile))

    def body(disk: Path) -> list[str]:
        subprocess.run(["mount", "-o", f"remount,{option}", disk], check=True)
        store = Store(str(disk / "home"))
        create(wanted, store)
        return [f"{finding.check} {finding.message}" for finding in verify("small", store).findings]

    found = shielded(body, *small_disk)
    assert found.pop(0).startswith("mount ")
    assert len(found) == 1
    assert found[0].startswith("smoke ")
    assert sign in found[0]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a profile that takes a moment to make."""
    folder = tmp_path_factory.mktemp("large")
    (folder / "many").mkdir()
    for number in range(2000):
        (folder / "many" / str(number)).write_text(str(number))
    return write_profile(folder, "large", binaries=["sh"], files=[{"source": "many", "target": "/srv/many"}])


def interrupt(profile: Path, home: Path, number: signal.Signals) -> subprocess.Popen[str]:
    """Start a create, signal it as soon as its draft has content, and wait for its end."""
    process = subprocess.Popen(
        [CONSOLE, "create", profile],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not (home / "drafts/large/rootfs/srv/many").is_dir():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.send_signal(number)
    process.wait(timeout=60)
    return process


def test_control_c_leaves_nothing(jailkit: Jailkit, home: Path, large: Path) -> None:
    process = interrupt(large, home, signal.SIGINT)
    out, err = process.communicate()
    assert (process.returncode, out) == (130, "")
    assert err.strip() == "jailkit: interrupted"
    assert left(home) == []
    assert json.loads(jailkit("list", "--json").stdout) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_other_ends_are_swept_by_the_next_command(
    jailkit: Jailkit, home: Path, large: Path, number: signal.Signals
) -> None:
    process = interrupt(large, home, number)
    out, err = process.communicate()
    assert process.returncode == -number
    assert (out, err) == ("", "")
    assert os.listdir(home / "jails") == []
    assert json.loads(jailkit("list", "--json").stdout) == []
    assert left(home) == []
    if number == signal.SIGKILL:
        assert jailkit("create", large).returncode == 0
        assert jailkit("verify", "large").returncode == 0


def test_library_errors_are_of_one_tree(home: Path, tmp_path: Path) -> None:
    """What a caller of the API catches is what the command prints."""
    assert issubclass(PrivilegeError, JailkitError)
    assert issubclass(RealizeError, JailkitError)
    wanted = order(str(write_profile(tmp_path, text={"/x": "y"})))

    def body() -> str:
        with pytest.raises(PrivilegeError) as caught:
            create(wanted, Store(str(home)))
        return caught.value.brief

    assert in_child(body, uid=NOBODY).startswith("cannot create at level chroot")
