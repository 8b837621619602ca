"""What an ordinary user can do: the whole life of a jail without root, with subordinate ids and without."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.containers import eventually
from support.nobody import BLOCKS, FIRST, ORDINARY
from support.profiles import write_profile
from support.users import CONSOLE, User, delegated, foreign, settled

pytestmark = pytest.mark.needs("root", "user-namespace", "newuidmap", "seccomp-filter")

LEVELS = ["chroot-hardened", pytest.param("lxc", marks=pytest.mark.needs("lxc"))]
LIMITED = {"memory": "64M", "pids": 16}
JAIL_USER = 60999  # that of the profiles here, inside


@pytest.fixture
def home(public: Path) -> Path:
    folder = public / "home"
    folder.mkdir()
    os.chown(folder, ORDINARY, ORDINARY)
    return folder


@pytest.fixture
def user(home: Path) -> Iterator[User]:
    yield User(home)
    assert settled() == {}


@pytest.fixture
def lone(home: Path) -> Iterator[User]:
    """Give a user without subordinate ids."""
    yield User(home, subids=False)
    assert settled() == {}


def small(user: User, **keys: Any) -> Path:
    """Write a profile that the user can read."""
    programs = ["sh", "cat", "id", "ls", "sleep", "readlink", "touch", "mkdir", "rm", "stat"]
    return write_profile(user.home, **({"binaries": programs} | keys))


def said(done: subprocess.CompletedProcess[str], code: int = 0) -> str:
    assert done.returncode == code, (done.stdout, done.stderr)
    return done.stdout.strip()


def refused(done: subprocess.CompletedProcess[str], code: int = 1) -> str:
    assert done.returncode == code, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize("level", LEVELS)
def test_the_whole_life_of_a_jail(user: User, level: str) -> None:
    said(user("create", small(user), "--level", level, "--name", "box"))
    root = user.jails / "box/rootfs"
    base = root.stat().st_uid
    assert base in range(FIRST, FIRST + BLOCKS * 65536, 65536)
    assert {path.lstat().st_uid - base for path in root.rglob("*")} == {0, JAIL_USER}
    assert {path.lstat().st_gid - base for path in root.rglob("*")} == {0, JAIL_USER}
    assert (root / "home/jail").stat().st_uid == base + JAIL_USER

    assert said(user("exec", "box", "--", "sh", "-c", "id -u; id -G; exit 7"), 7) == f"{JAIL_USER}\n{JAIL_USER}"
    said(user("exec", "box", "--", "sh", "-c", "kill -9 $$"), 137)
    assert "127.0.0.1" in said(user("exec", "box", "cat", "/proc/net/fib_trie"))
    refused(user("exec", "box", "no-such-program"), 127)
    assert settled() == {}

    said(user("start", "box", "--idle"))
    assert json.loads(said(user("list", "--json")))[0]["status"] == "running"
    namespace = ("exec", "box", "readlink", "/proc/self/ns/pid")
    assert said(user(*namespace)) == said(user(*namespace))
    assert said(user("exec", "-u", "root", "box", "id", "-u")) == "0"
    said(user("exec", "box", "touch", "/home/jail/mine"))
    assert said(user("shell", "box", input="echo $HOME; exit 3\n"), 3) == "/home/jail"
    assert "running" in refused(user("destroy", "box"))
    said(user("stop", "box"))
    assert json.loads(said(user("list", "--json")))[0]["status"] == "stopped"
    assert settled() == {}

    assert "/home/jail/mine" in said(user("verify", "--json", "box"))
    assert "/home/jail/mine" in said(user("update", "box"))
    assert (root / "home/jail/mine").stat().st_uid == root.stat().st_uid + JAIL_USER == base + JAIL_USER
    said(user("update", "--rollback", "box"))
    said(user("verify", "box"))

    said(user("destroy", "box"))
    assert foreign(user.home / ".local") == []
    assert os.listdir(user.jails) == os.listdir(user.jails.parent / "trash") == []


@pytest.mark.parametrize("level", LEVELS)
def test_a_service_under_its_supervisor(user: User, level: str) -> None:
    profile = small(user, command=["sh", "-c", "echo served; exec sleep 1000"])
    said(user("create", profile, "--level", level, "--name", "box"))
    said(user("start", "box"))
    eventually(lambda: "served" in said(user("logs", "box")))
    assert json.loads(said(user("stats", "--json", "box")))
    refused(user("start", "box"))
    said(user("destroy", "--force", "box"))
    assert settled() == {}
    assert foreign(user.home / ".local") == []


@pytest.mark.parametrize("level", LEVELS)
def test_a_run_leaves_nothing(user: User, level: str) -> None:
    assert said(user("run", "--level", level, small(user), "--", "id", "-u")) == str(JAIL_USER)
    assert foreign(user.home / ".local") == []
    assert os.listdir(user.jails.parent / "drafts") == []
    assert [name for name in os.listdir(user.jails.parent / "ids") if name != "lock"] == []


def test_two_jails_have_two_ranges(user: User) -> None:
    for name in ("one", "two"):
        said(user("create", small(user), "--level", "chroot-hardened", "--name", name))
    bases = [(user.jails / name / "rootfs").stat().st_uid for name in ("one", "two")]
    assert abs(bases[0] - bases[1]) >= 65536
    said(user("start", "one", "--idle"))
    # Each is entered from the user namespace above it, which differ.
    said(user("start", "two", "--idle"))
    assert [said(user("exec", name, "id", "-u")) for name in ("one", "two")] == [str(JAIL_USER)] * 2
    said(user("destroy", "--force", "one"))
    assert said(user("exec", "two", "id", "-u")) == str(JAIL_USER)
    said(user("destroy", "--force", "two"))


def test_what_others_changed_is_found(user: User) -> None:
    said(user("create", small(user), "--level", "chroot-hardened", "--name", "box"))
    os.chown(user.jails / "box/rootfs/etc/passwd", 0, 0)
    found = json.loads(said(user("verify", "--json", "--no-smoke", "box"), 1))
    assert [(finding["check"], finding["path"]) for finding in found["findings"]] == [("owner", "/etc/passwd")]
    said(user("destroy", "box"))


@pytest.mark.parametrize("level", LEVELS)
def test_a_read_only_root_and_its_volumes(user: User, level: str) -> None:
    profile = small(user, read_only_root=True, volumes=["/data"], directories=[{"path": "/data", "owner": "jail"}])
    said(user("create", profile, "--level", level, "--name", "box"))
    assert (user.jails / "box/rootfs").is_dir()  # Its own: an image would have but one owner.
    refused(user("exec", "box", "touch", "/home/jail/x"))
    said(user("exec", "box", "touch", "/data/x"))
    said(user("exec", "box", "ls", "/data/x"))
    said(user("run", "--ephemeral", "box", "--", "rm", "/data/x"))
    said(user("exec", "box", "ls", "/data/x"))
    said(user("destroy", "box"))
    assert foreign(user.home / ".local") == []


@pytest.mark.parametrize("level", LEVELS)
def test_killing_the_caller_kills_the_jail(user: User, level: str) -> None:
    said(user("create", small(user), "--level", level, "--name", "box"))
    running = user.start("exec", "box", "--", "sh", "-c", "echo begun; sleep 1000 & exec sleep 1000")
    assert running.stdout
    assert running.stdout.readline() == b"begun\n"
    running.kill()
    running.wait()
    running.stdout.close()
    assert settled() == {}
    assert said(user("exec", "box", "id", "-u")) == str(JAIL_USER)
    said(user("destroy", "box"))


def test_killed_while_it_creates_leaves_only_what_the_next_command_sweeps(user: User) -> None:
    profile = small(user)
    said(user("create", profile, "--level", "chroot-hardened", "--name", "other"))
    for delay in (0.2, 0.3, 0.4, 0.5):
        building = user.start("create", str(profile), "--level", "chroot-hardened", "--name", "box")
        time.sleep(delay)
        building.kill()
        building.communicate()
        assert settled() == {}
        said(user("list"))
        assert os.listdir(user.jails.parent / "drafts") == []
        if (user.jails / "box").exists():
            said(user("destroy", "box"))
    said(user("destroy", "other"))
    assert foreign(user.home / ".local") == []


def test_from_a_program_with_threads(user: User) -> None:
    said(user("create", small(user), "--level", "chroot-hardened", "--name", "box"))
    program = (
        "import jailkit, concurrent.futures\n"
        "box = jailkit.open('box')\n"
        "with concurrent.futures.ThreadPoolExecutor(4) as pool:\n"
        "    found = list(pool.map(lambda n: box.run(['sh', '-c', f'cat; exit {n}'], input=str(n)), range(8)))\n"
        "print([(int(r.stdout), r.exit_code, r.reason) for r in found] == [(n, n, 'exited') for n in range(8)])\n"
        "box.update()\nprint(box.verify().ok)\nbox.destroy()\n"
    )
    assert said(user.run((sys.executable, "-c", program))) == "True\nTrue"


def test_with_the_standard_streams_closed(user: User) -> None:
    said(user("create", small(user), "--level", "chroot-hardened", "--name", "box"))
    script = 'exec "$@" <&- >&- 2>&-'
    done = user.run(("sh", "-c", script, "sh", CONSOLE, "exec", "box", "--", "sh", "-c", "exit 5"))
    assert done.returncode == 5
    said(user("destroy", "box"))


# Without subordinate ids


def test_one_id_is_a_gap(lone: User) -> None:
    message = refused(lone("create", small(lone), "--level", "chroot-hardened"))
    assert "users: with no ids but 61234" in message
    assert "usermod --add-subuids" in message


@pytest.mark.needs("lxc")
def test_one_id_is_too_few_for_lxc(lone: User) -> None:
    message = refused(lone("create", small(lone), "--level", "lxc", "--accept-gaps"))
    assert "give ordinary none" in message
    assert "usermod --add-subuids" in message


def test_a_life_with_one_id(lone: User) -> None:
    said(lone("create", small(lone, accept_gaps=["users"]), "--level", "chroot-hardened", "--name", "box"))
    assert foreign(lone.home / ".local") == []
    whole = "id -u; id -g; stat -c %u /etc/passwd /home/jail; exit 7"
    assert said(lone("exec", "box", "--", "sh", "-c", whole), 7).split() == [str(JAIL_USER)] * 4
    assert "only its own user jail has an id" in refused(lone("exec", "-u", "root", "box", "id"), 125)
    # That of the first process too, which has no filter of system calls.
    assert "ermission denied" in refused(lone("exec", "box", "--", "sh", "-c", ": >>/proc/1/mem"), 2)
    said(lone("start", "box", "--idle"))
    said(lone("exec", "box", "touch", "/home/jail/mine"))
    assert json.loads(said(lone("list", "--json")))[0]["status"] == "running"
    said(lone("stop", "box"))
    said(lone("verify", "box"))
    assert "/home/jail/mine" in said(lone("update", "box"))
    # It keeps its one id when there are more later.
    more = User(lone.home)
    said(more("update", "box"))
    assert said(more("exec", "box", "id", "-u")) == str(JAIL_USER)
    said(more("destroy", "box"))


# What needs root, and limits


@pytest.mark.parametrize("level", ["chroot", "chroot-root", "lxc-privileged"])
def test_levels_that_need_root_say_so(user: User, level: str) -> None:
    assert "root" in refused(user("create", small(user), "--level", level, "--accept-gaps"))
    assert not user.jails.exists() or os.listdir(user.jails) == []


@pytest.mark.parametrize("level", LEVELS)
def test_what_does_not_hold_is_refused(user: User, level: str) -> None:
    mounts = [{"type": "bind", "source": "/srv", "target": "/srv", "read-only": False}]
    profile = small(user, limits=LIMITED, isolation={"network": "bridge"}, mounts=mounts)
    message = refused(user("create", profile, "--level", level))
    for key in ("limits.memory", "limits.pids", "isolation.network", "mounts"):
        assert f"  {key}: " in message
    assert "not delegated to this user" in message


@pytest.mark.needs("cgroups")
@pytest.mark.parametrize("level", LEVELS)
def test_limits_hold_in_a_group_that_was_delegated(home: Path, level: str) -> None:
    with delegated("memory", "pids") as groups:
        user = User(home, groups=groups)
        said(user("create", small(user, limits=LIMITED), "--level", level, "--name", "box"))
        grow = "x=0123456789abcdef; while :; do x=$x$x; done"
        result = json.loads(said(user("exec", "--json", "box", "--", "sh", "-c", grow), 137))
        assert (result["reason"], result["signal"]) == ("out-of-memory", signal.SIGKILL)
        fork = "for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18; do sleep 1 & done; exit 1"
        result = json.loads(said(user("exec", "--json", "box", "--", "sh", "-c", fork), 2))
        assert result["reason"] == "pids-limit"
        said(user("start", "box", "--idle"))
        assert json.loads(said(user("exec", "--json", "box", "--", "sh", "-c", grow), 137))["reason"] == "out-of-memory"
        said(user("destroy", "--force", "box"))
        assert settled() == {}
        assert [name for folder in groups for name in os.listdir(folder) if os.path.isdir(f"{folder}/{name}")] == []


# The same for root


@pytest.mark.needs("mount-namespace")
def test_where_no_mount_can_map_ids_roots_files_are_shifted_too(public: Path) -> None:
    """A ramfs cannot (FS_ALLOW_IDMAP); it is mounted where nobody else sees it."""
    profile = write_profile(
        public,
        binaries=["sh", "id", "touch", "stat"],
        volumes=["/data"],
        directories=[{"path": "/data", "owner": "jail"}],
    )
    # So that other commands on this host, who do not see the mount, take the jail's ids for used.
    (public / "home/jails/box").mkdir(parents=True)
    script = """
    set -eu
    cd "$2"
    mount -t ramfs -o mode=755 ramfs home
    export JAILKIT_HOME="$2/home"
    "$1" create "$2/small.yaml" --level chroot-hardened --name box
    stat -c %u home/jails/box/rootfs
    "$1" exec box -- sh -c 'id -u; touch /home/jail/x /data/y; stat -c %u /etc/passwd /home/jail/x'
    stat -c %u home/jails/box/rootfs/home/jail/x home/volumes/box/data/y
    "$1" verify box
    "$1" update box
    "$1" exec box -- stat -c %u /home/jail/x
    "$1" destroy box
    """
    arguments = ("sh", CONSOLE, profile.parent)
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, (done.stdout, done.stderr)
    lines = [line for line in done.stdout.splitlines() if line.isdecimal()]
    base = int(lines[0])
    assert base > 0
    assert lines[1:] == [str(n) for n in (JAIL_USER, 0, JAIL_USER, base + JAIL_USER, base + JAIL_USER, JAIL_USER)]
