"""The life of a jail with a command: started, watched, stopped; and what keeps it from starting."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.children import together
from support.jails import UID, make_jail
from support.leftovers import supervisors
from support.profiles import write_profile
from support.services import DEAF, LOOP, descriptors, eventually, make_service, supervisor, written

import jailkit as api
from jailkit.backends import backend_for
from jailkit.errors import BackendError, JailkitError, StateError
from jailkit.lifecycle.destroy import destroy
from jailkit.lifecycle.runs import read_last, supervision
from jailkit.lifecycle.start import start
from jailkit.lifecycle.stop import freeze, stats, status, stop, unfreeze
from jailkit.store import Jail, Store

pytestmark = pytest.mark.needs("root", "mknod", "chroot", "busybox")

Jailkit = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def store(home: Path) -> Store:
    return Store(str(home))


def settled(jail: Jail) -> None:
    """Assert that nothing of a run is left: no process, no supervisor, no lock, no record but that of the last run."""
    eventually(lambda: supervisors(jail.directory) == [])  # It lets go of everything a moment before it ends.
    assert backend_for(jail.level).processes(jail) == []
    assert supervision(jail) == "none"
    assert set(os.listdir(f"{jail.directory}/logs")) <= {"last.json", "output.log"}


def test_a_life(store: Store, home: Path) -> None:
    jail = make_service(home)
    assert status("box", store) == "stopped"
    assert start("box", store) == []
    assert status("box", store) == "running"
    eventually(lambda: written(jail) == "begun\n")
    box = api.open("box", home=store.home)
    assert (box.status, b"".join(box.logs()), box.last_run) == ("running", b"begun\n", None)
    assert box.run(["sh", "-c", "echo inside"]).stdout == b"inside\n"
    assert stop("box", store) == ("running", [])
    last = read_last(jail)
    assert last is not None
    assert (last.reason, last.signal) == ("signalled", signal.SIGTERM)
    settled(jail)
    assert stop("box", store) == ("stopped", [])
    box.start()
    eventually(lambda: written(jail) == "begun\nbegun\n")
    box.stop(signal=signal.SIGKILL)
    assert box.last_run is not None
    assert box.last_run.signal == signal.SIGKILL
    assert b"".join(box.logs(tail=2)) == b"begun\nbegun\n", "a log holds more than one run"
    destroy("box", store)
    assert store.names() == []


@pytest.mark.parametrize("level", ["chroot", "chroot-root"])
def test_the_supervisor_is_alone(store: Store, home: Path, level: str) -> None:
    """It is nobody's child, has no terminal, and neither it nor the command has anything of the caller's open."""
    secret = home.parent / "secret"
    held = os.open(secret, os.O_CREAT | os.O_RDWR)
    os.set_inheritable(held, True)
    jail = make_service(home, level=level)
    start("box", store)
    os.close(held)
    pid = supervisor(jail)
    eventually(lambda: "begun" in written(jail))
    own = descriptors(pid)
    assert str(secret) not in own
    assert own.count("/dev/null") == 3
    assert {name for name in own if name.startswith("/") and name != "/dev/null"} == {
        jail.directory, f"{jail.directory}/logs/run.json", f"{jail.directory}/logs/output.log",
    }  # fmt: skip
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    assert int(fields[1]) != os.getpid()
    assert (int(fields[3]) != pid, fields[4]) == (True, "0"), "no leader of its session, which has no terminal"
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    for member in backend_for(level).processes(jail):
        streams = descriptors(member)
        assert len(streams) == 3, streams
        assert streams[0] == "/dev/null"
        assert all(name.startswith("pipe:") for name in streams[1:])
    stop("box", store)
    settled(jail)


def test_it_holds_little_memory(store: Store, home: Path) -> None:
    """However large its caller is."""
    jail = make_service(home)
    ballast = bytearray(200 << 20)
    start("box", store)
    rss = int(Path(f"/proc/{supervisor(jail)}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
    stop("box", store)
    assert len(ballast) == 200 << 20
    assert rss < 30 << 20


@pytest.mark.parametrize(
    ("command", "error", "message"),
    [
        (("nothing-such",), BackendError, r"cannot start jail box: cannot find nothing-such in jail box"),
        (("/tmp",), BackendError, r"cannot start jail box: cannot execute /tmp in jail box"),
    ],
)
def test_what_cannot_be_executed(
    store: Store, home: Path, command: tuple[str, ...], error: type[JailkitError], message: str
) -> None:
    jail = make_service(home, *command)
    with pytest.raises(error, match=message) as caught:
        start("box", store)
    assert caught.value.resolution
    settled(jail)
    assert read_last(jail) is None
    assert os.listdir(f"{jail.directory}/logs") == []
    destroy("box", store)


def test_a_user_that_is_not_there(store: Store, home: Path) -> None:
    jail = make_service(home, user="nobody-such")
    with pytest.raises(BackendError, match="cannot run as nobody-such"):
        start("box", store)
    settled(jail)


def test_a_tree_that_is_gone(store: Store, home: Path) -> None:
    jail = make_service(home)
    os.rename(jail.rootfs, f"{jail.directory}/elsewhere")
    with pytest.raises(BackendError, match="its tree"):
        start("box", store)
    os.rename(f"{jail.directory}/elsewhere", jail.rootfs)
    settled(jail)


def test_a_jail_without_a_command(store: Store, home: Path) -> None:
    (home / "jails/box").mkdir(parents=True)
    jail = make_jail(home / "jails/box")
    with pytest.raises(StateError, match="at level chroot it is no more than its command, and none is to run"):
        start("box", store)
    assert not os.path.exists(f"{jail.directory}/logs")


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("exit 0", ("exited", 0, None)),
        ("echo out; echo err >&2; exit 7", ("exited", 7, None)),
        ("kill -9 $$", ("signalled", None, 9)),
    ],
)
def test_a_command_that_ends(
    store: Store, home: Path, script: str, expected: tuple[str, int | None, int | None]
) -> None:
    jail = make_service(home, "sh", "-c", script)
    start("box", store)
    eventually(lambda: supervision(jail) == "none")
    assert status("box", store) == "stopped"
    last = read_last(jail)
    assert last is not None
    assert (last.reason, last.exit_code, last.signal) == expected
    assert written(jail) == ("out\nerr\n" if "err" in script else "")
    eventually(lambda: supervisors(jail.directory) == [])
    settled(jail)


def test_it_can_be_started_again_at_once(store: Store, home: Path) -> None:
    """Whatever its supervisor still has to do when the status says stopped."""
    jail = make_service(home, "true")
    for _ in range(5):
        start("box", store)
        eventually(lambda: status("box", store) == "stopped")
    eventually(lambda: supervision(jail) == "none")
    destroy("box", store)


def test_what_the_command_leaves_behind_ends_with_it(store: Store, home: Path) -> None:
    jail = make_service(home, "sh", "-c", "setsid sleep 600 & sleep 0.1; exit 5")
    start("box", store)
    eventually(lambda: supervision(jail) == "none")
    settled(jail)
    last = read_last(jail)
    assert last is not None
    assert last.exit_code == 5


def test_the_profiles_time_limit(store: Store, home: Path) -> None:
    from jailkit.plan.settings import Limits

    jail = make_service(home, limits=Limits(wall_time=0.3))
    start("box", store)
    eventually(lambda: supervision(jail) == "none")
    last = read_last(jail)
    assert last is not None
    assert last.reason == "timeout"
    assert 0.3 <= last.wall_time < 3
    settled(jail)


def test_the_jails_own_signal(store: Store, home: Path) -> None:
    jail = make_service(home, "sh", "-c", "trap 'echo bye; exit 3' HUP; echo begun; while :; do sleep 0.05; done",
                        stop_signal=int(signal.SIGHUP))  # fmt: skip
    start("box", store)
    eventually(lambda: "begun" in written(jail))
    stop("box", store)
    last = read_last(jail)
    assert last is not None
    assert last.exit_code == 3
    assert written(jail).endswith("bye\n")


def test_what_ignores_the_signal_is_killed_in_time(store: Store, home: Path) -> None:
    jail = make_service(home, *DEAF, stop_timeout=0.5)
    start("box", store)
    eventually(lambda: "begun" in written(jail))
    before = time.monotonic()
    stop("box", store)
    assert 0.5 <= time.monotonic() - before < 3
    last = read_last(jail)
    assert last is not None
    assert last.signal == signal.SIGKILL
    settled(jail)


def test_those_that_need_time_to_end_get_it(store: Store, home: Path) -> None:
    """Also when the command itself is quicker than what it has started."""
    slow = "trap 'sleep 0.5; echo finished; exit' TERM; while :; do sleep 0.01; done"
    jail = make_service(home, "sh", "-c", f'sh -c "{slow}" & sleep 0.2; echo begun; exec sleep 600')
    start("box", store)
    eventually(lambda: "begun" in written(jail))
    stop("box", store)
    assert written(jail).endswith("finished\n")
    settled(jail)


def test_the_supervisor_passes_the_end_of_the_host_on(store: Store, home: Path) -> None:
    jail = make_service(home, "sh", "-c", "trap 'echo bye; exit 4' TERM; echo begun; while :; do sleep 0.05; done")
    start("box", store)
    eventually(lambda: "begun" in written(jail))
    os.kill(supervisor(jail), signal.SIGTERM)
    eventually(lambda: supervision(jail) == "none")
    assert written(jail).endswith("bye\n")
    last = read_last(jail)
    assert last is not None
    assert last.exit_code == 4
    settled(jail)


def test_while_it_runs_it_is_neither_destroyed_nor_updated(store: Store, home: Path, jailkit: Jailkit) -> None:
    make_service(home)
    start("box", store)
    for words in (("destroy", "box"), ("update", "box"), ("update", "--rollback", "box")):
        done = jailkit(*words)
        assert done.returncode == 1
        assert f"cannot {words[0]} jail box: it is running" in done.stderr
        assert f"jailkit stop box, or jailkit {words[0]} --force box" in done.stderr
    assert status("box", store) == "running"
    destroy("box", store, force=True)
    assert store.names() == []
    assert supervisors(store.home) == []


def test_a_deaf_one_is_destroyed_by_force(store: Store, home: Path) -> None:
    jail = make_service(home, *DEAF)
    start("box", store)
    eventually(lambda: "begun" in written(jail))
    destroy("box", store, force=True)
    assert store.names() == []


def test_started_twice(store: Store, home: Path) -> None:
    jail = make_service(home)
    start("box", store)
    pids = list(backend_for("chroot").processes(jail))
    with pytest.raises(StateError, match="cannot start jail box: it is running") as caught:
        start("box", store)
    assert caught.value.resolution == "jailkit stop box"
    assert set(pids) & set(backend_for("chroot").processes(jail)), "the first is as it was"
    stop("box", store)


def test_started_by_many_at_once(store: Store, home: Path) -> None:
    jail = make_service(home)

    def attempt() -> str:
        try:
            start("box", store)
        except StateError as error:
            return error.brief
        return "started"

    answers = together(*[attempt] * 6)
    assert sorted(answers) == ["cannot start jail box: it is running"] * 5 + ["started"]
    assert len(supervisors(jail.directory)) == 1
    assert {stopped.before for stopped in together(*[lambda: stop("box", store)] * 4)} <= {"running", "stopped"}
    settled(jail)


def test_many_jails_at_once(store: Store, home: Path) -> None:
    jails = [make_service(home, name=f"box{number}") for number in range(8)]

    def cycle(name: str) -> list[str]:
        seen = []
        for _ in range(3):
            start(name, store)
            seen.append(status(name, store))
            stop(name, store)
            seen.append(status(name, store))
        return seen

    answers = together(*[lambda name=jail.name: cycle(name) for jail in jails])
    assert answers == [["running", "stopped"] * 3] * 8
    for jail in jails:
        settled(jail)


def test_from_several_threads(store: Store, home: Path) -> None:
    jails = [make_service(home, name=f"box{number}") for number in range(4)]
    threads = [threading.Thread(target=start, args=(jail.name, store)) for jail in jails]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    time.sleep(0.2)  # The threads are gone, and with them whatever was tied to them.
    assert [status(jail.name, store) for jail in jails] == ["running"] * 4
    for jail in jails:
        stop(jail.name, store)
        settled(jail)


def test_a_caller_that_ignores_its_children(home: Path) -> None:
    jail = make_service(home, "sh", "-c", "exit 6")
    code = "import signal, jailkit; signal.signal(signal.SIGCHLD, signal.SIG_IGN); jailkit.open('box').start()"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60)
    eventually(lambda: supervision(jail) == "none")
    last = read_last(jail)
    assert last is not None
    assert last.exit_code == 6


def test_a_caller_without_standard_streams(home: Path) -> None:
    jail = make_service(home)
    code = "import os, jailkit; os.closerange(0, 3); jailkit.open('box').start()"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    eventually(lambda: written(jail) == "begun\n")
    assert supervision(jail) == "supervised"
    stop("box", Store(str(home)))
    settled(jail)


def test_the_command_knows_nothing_of_its_caller(home: Path, jailkit: Jailkit) -> None:
    jail = make_service(home, "sh", "-c", "env; pwd; id -u")
    done = jailkit("start", "box", env={**os.environ, "TERM": "weird", "SECRET": "x", "PYTHONPATH": str(Path.cwd())})
    assert done.returncode == 0, done.stderr
    eventually(lambda: supervision(jail) == "none")
    lines = written(jail).splitlines()
    assert not [line for line in lines if line.startswith(("TERM=", "SECRET=", "PYTHON"))]
    assert lines[-2:] == ["/home/jail", str(UID)]


def test_freezing_takes_a_cgroup(store: Store, home: Path) -> None:
    make_service(home)
    for act in (freeze, unfreeze):
        with pytest.raises(StateError, match="level chroot has no cgroup") as caught:
            act("box", store)
        assert caught.value.resolution == "a jail at one of the levels chroot-hardened, lxc-privileged, lxc"


def test_what_it_uses(store: Store, home: Path) -> None:
    make_service(home, "sh", "-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; exec sleep 600")
    assert stats("box", store).pids == 0
    start("box", store)
    eventually(lambda: (stats("box", store).cpu_time or 0) >= 0.1)
    used = stats("box", store)
    assert used.pids == 1
    assert used.memory is not None
    assert 100_000 < used.memory < 10 << 20
    assert used.oom_kills is None
    stop("box", store)


@pytest.mark.parametrize("kind", ["update", "rollback"])
def test_logs_and_the_last_run_stay_with_the_name(home: Path, jailkit: Jailkit, tmp_path: Path, kind: str) -> None:
    profile = write_profile(
        tmp_path, "box", binaries=["busybox"], symlinks={"/usr/bin/sh": "busybox"}, command=["sh", "-c", "echo out"]
    )
    assert jailkit("create", profile).returncode == 0
    jail = Store(str(home)).load("box")
    assert json.loads(jailkit("show", "box", "--json").stdout)["last_run"] is None
    if kind == "rollback":
        assert jailkit("update", "box").returncode == 0
    assert jailkit("start", "box").returncode == 0
    eventually(lambda: supervision(jail) == "none")
    before = json.loads(jailkit("show", "box", "--json").stdout)
    assert (before["status"], before["last_run"]["exit_code"]) == ("stopped", 0)
    shown = jailkit("show", "box").stdout
    assert re.search(r"^status +stopped$", shown, re.M)
    assert re.search(r"^last run +exited with 0 at [0-9: -]+, after 0\.\d s$", shown, re.M)
    done = jailkit("update", "box", *(["--rollback"] if kind == "rollback" else []))
    assert done.returncode == 0, done.stderr
    assert json.loads(jailkit("show", "box", "--json").stdout)["last_run"] == before["last_run"]
    assert jailkit("logs", "box").stdout == "out\n"
    assert jailkit("destroy", "box").returncode == 0


def test_the_commands(home: Path, jailkit: Jailkit) -> None:
    jail = make_service(home, *LOOP)
    make_service(home, name="other")
    assert jailkit("start", "box", "other").stdout == "started jail box\nstarted jail other\n"
    again = jailkit("start", "box")
    assert (again.returncode, again.stdout) == (1, "")
    assert "cannot start jail box: it is running" in again.stderr
    eventually(lambda: "begun" in written(jail))
    rows = json.loads(jailkit("list", "--json").stdout)
    assert [(row["name"], row["status"]) for row in rows] == [("box", "running"), ("other", "running")]
    assert jailkit("list").stdout.split("\n")[1].split()[:4] == ["box", "chroot", "running", "small"]
    lines = [json.loads(line) for line in jailkit("stats", "--json").stdout.splitlines()]
    assert [line["name"] for line in lines] == ["box", "other"]
    assert all(line["pids"] >= 1 and line["pids_denied"] is None for line in lines)
    assert jailkit("stats", "box").stdout.splitlines()[0].split()[:3] == ["NAME", "STATUS", "CPU"]
    assert "has no cgroup" in jailkit("freeze", "box").stderr
    assert "has no cgroup" in jailkit("unfreeze", "box").stderr
    assert jailkit("stop", "--signal", "INT", "--timeout", "2s", "box", "other").stdout == (
        "stopped jail box\nstopped jail other\n"
    )
    assert jailkit("stop", "box").stdout == "jail box was not running\n"
    assert jailkit("stop", "--signal", "NONSENSE", "box").returncode == 2
    assert jailkit("start", "--quiet", "box").stdout == ""
    assert jailkit("stop", "-q", "-s", "9", "box").stdout == ""
    assert jailkit("stats").stderr == "no jail runs; start one with: jailkit start NAME\n"
    failed = jailkit("stop", "box", "none", "nothing")
    assert failed.stdout == "jail box was not running\n"
    assert "cannot stop 2 jails" in failed.stderr
