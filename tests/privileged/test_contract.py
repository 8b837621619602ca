"""One suite for every level of the ladder: commands, and a jail's whole life, by the real console command."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.boxes import (
    COMMAND,
    CONSOLE,
    LEVELS,
    Box,
    call,
    create,
    everything_of,
    ids_below,
    kill_everything,
    nothing_left,
    profile,
)
from support.containers import alive, eventually

from jailkit.linux import apparmor

pytestmark = pytest.mark.needs("root", "chroot", "mknod", "mount-namespace", "user-namespace", "cgroups")


@pytest.fixture(scope="module", params=LEVELS)
def box(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """Give a jail that all tests of commands share: they leave it as it is."""
    folder = tmp_path_factory.mktemp("contract")
    made = create(folder / "home", request.param, profile(folder))
    jail = made.jail
    yield made
    made.good("destroy", "box")
    nothing_left(made.home, [jail])


# Commands


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["sh", "-c", "exit 0"], 0),
        (["sh", "-c", "exit 7"], 7),
        (["sh", "-c", "exit 255"], 255),
        (["sh", "-c", "kill -TERM $$"], 143),
        (["sh", "-c", "kill -KILL $$"], 137),
        (["no-such-program"], 127),
        (["/no/such/program"], 127),
        (["/etc"], 126),
        (["/etc/passwd"], 126),
    ],
)
def test_exit_codes(box: Box, words: list[str], code: int) -> None:
    done = box.call("exec", "box", "--", *words)
    assert done.returncode == code
    assert (done.stderr == "") == (code not in (126, 127))


def test_streams(box: Box) -> None:
    done = box.exec("cat; echo out; echo error >&2", input="in\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "in\nout\n", "error\n")
    assert box.exec("head -c 3000000 /dev/zero | wc -c").stdout.strip() == "3000000"
    assert box.exec("cat | wc -c", input="x" * 300_000).stdout.strip() == "300000"


def test_who_where_and_with_what(box: Box) -> None:
    done = box.exec('id -u; pwd; echo "$A-$B"', "-w", "/tmp", "-e", "A=1", "-e", "B=x y")
    assert done.stdout.splitlines() == ["60999" if box.cares else "0", "/tmp", "1-x y"]
    assert box.exec("id -u", "-u", "1234").stdout == "1234\n"
    assert box.exec("id -u", "-u", "root").stdout == ("0\n" if box.level != "chroot" else "")
    missing = box.exec("pwd", "-w", "/no/such")
    assert missing.returncode == 125
    assert "another --workdir" in missing.stderr
    nobody = box.exec("id", "-u", "nosuchuser")
    assert nobody.returncode == 125
    assert "cannot run as nosuchuser" in nobody.stderr


def test_the_caller_s_environment_stays_outside_where_a_level_cares(box: Box) -> None:
    done = box.exec('echo "$SECRET"', env=os.environ | {"SECRET": "of the host"})
    assert done.stdout == ("\n" if box.cares else "of the host\n")


def test_without_a_network_a_jail_still_has_the_loopback_interface(box: Box) -> None:
    if box.has_instances:
        # The kernel gives it the address as it is brought up.
        assert "127.0.0.1" in box.exec("cat /proc/net/fib_trie").stdout


def test_the_profile_of_apparmor_that_lxc_starts_under_is_that_of_commands_too(box: Box) -> None:
    shown = box.exec("cat /proc/self/attr/current 2>/dev/null").stdout
    if apparmor.enabled() and box.level.startswith("lxc"):
        assert shown == "lxc-container-default-cgns (enforce)\n"
    else:
        assert shown in ("", "unconfined\n")


def test_where_the_host_shares_its_mounts_as_systemd_does_none_of_the_jail_s_gets_out_or_in(box: Box) -> None:
    script = '"$0" --home "$1" exec box -- cat /proc/self/mountinfo; echo outside $?; cat /proc/self/mountinfo'
    shared = ("unshare", "--mount", "--propagation", "shared", "sh", "-c", script, CONSOLE, box.home)
    done = subprocess.run(shared, capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL)
    inside, _, outside = done.stdout.partition("outside ")
    assert outside.startswith("0\n") == box.has_instances, done.stderr  # Others have nothing in /proc.
    assert str(box.home) not in outside
    peers = [set(re.findall(r" (?:shared|master):(\d+)", part)) for part in (inside, outside)]
    assert peers[1]
    assert not peers[0] & peers[1]


def test_a_time_out(box: Box) -> None:
    before = time.monotonic()
    done = box.exec("sleep 1000", "--timeout", "300ms")
    assert done.returncode == 124
    assert time.monotonic() - before < 10


def test_results_as_data(box: Box) -> None:
    found = box.result("echo out; exit 3")
    assert (found["reason"], found["exit_code"], found["stdout"]) == ("exited", 3, "out\n")
    assert found["wall_time"] > 0
    assert box.result("kill -9 $$")["reason"] == "signalled"
    assert json.loads(box.call("exec", "--json", "box", "--", "nosuch").stdout)["reason"] == "not-found"
    assert box.result("sleep 9", "--timeout", "200ms")["reason"] == "timeout"


@pytest.mark.parametrize(
    ("script", "code", "said"),
    [
        ('trap "echo got; exit 3" TERM; echo ready; while :; do sleep 0.02; done', 3, "got\n"),
        ("echo ready; exec sleep 1000", 143, ""),
        ('trap "" TERM; echo ready; sleep 0.5; exit 5', 5, ""),
    ],
)
def test_a_signal_is_passed_on(box: Box, script: str, code: int, said: str) -> None:
    with box.popen("exec", "box", "--", "sh", "-c", script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        out, error = process.communicate(timeout=30)
    assert (process.returncode, out) == (code, said)
    assert error.replace("Terminated\n", "") == ""  # What a shell says of its sleep(1), which got the signal too.


def test_a_caller_that_is_killed_takes_the_command_along(box: Box) -> None:
    if not box.cares:
        pytest.skip("nothing ties a command to its caller at this level")
    with box.popen("exec", "box", "--", "sh", "-c", "echo ready; exec sleep 1000") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        pids = everything_of(box)
        assert len(pids) >= 1
        process.kill()
        process.wait()
        eventually(lambda: not any(map(alive, pids)))
    assert box.exec("echo next").stdout == "next\n"


def test_shell(box: Box) -> None:
    done = box.call("shell", "box", input="echo $((1 + 2))\nexit 4\n")
    assert (done.returncode, done.stdout) == (4, "3\n")


def test_run(box: Box, tmp_path: Path) -> None:
    done = box.call("run", "box", "--", "sh", "-c", "echo here; exit 6")
    assert (done.returncode, done.stdout) == (6, "here\n")
    home = tmp_path / "home"
    file = profile(tmp_path, "once", command=["sh", "-c", "echo once; exit 9"])
    done = call(home, "run", "--level", box.level, file)
    assert (done.returncode, done.stdout) == (9, "once\n")
    nothing_left(home, [])


def test_verify_and_show(box: Box) -> None:
    assert box.call("verify", "box").returncode == 0
    assert json.loads(box.good("show", "--json", "box").stdout)["level"] == box.level
    assert box.status() == "stopped"


# A life


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def test_made_once_and_destroyed_once(level: str, tmp_path: Path) -> None:
    file = profile(tmp_path)
    box = create(tmp_path / "home", level, file)
    jail = box.jail
    again = box.call("create", file, "--level", level, "--name", "box")
    assert again.returncode == 1
    assert "cannot create jail box" in again.stderr
    assert box.exec("echo there").stdout == "there\n"
    user_namespace = level in ("chroot-hardened", "lxc")
    assert (jail.ids is not None) == user_namespace
    assert ids_below(box.home) == ([jail.directory] if user_namespace else [])
    box.good("destroy", "box")
    nothing_left(box.home, [jail])
    again = box.call("destroy", "box")
    assert again.returncode == 1
    assert "cannot find jail box" in again.stderr


LIMITS = {"memory": "48MiB", "swap": 0, "pids": 8, "cpus": 0.25}


def test_limits_hold_or_are_refused(level: str, tmp_path: Path) -> None:
    file = profile(tmp_path, limits=LIMITS)
    home = tmp_path / "home"
    home.mkdir()
    made = call(home, "create", file, "--level", level, "--name", "box")
    box = Box(home, level)
    if not box.has_instances:
        assert made.returncode == 1
        assert all(f"limits.{key}" in made.stderr for key in LIMITS)
        assert "--accept-gaps" in made.stderr
        assert not (home / "jails/box").exists()
        box = create(home, level, file, "--accept-gaps")
        assert box.result("head -c 100M /dev/zero | wc -c")["reason"] == "exited"
    else:
        assert made.returncode == 0, made.stderr
        found = box.result("exec dd if=/dev/zero of=/dev/null bs=100M count=1")
        assert (found["reason"], found["signal"]) == ("out-of-memory", 9)
        found = box.result("for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 1 & done; wait")
        assert found["reason"] == "pids-limit"
        found = box.result("i=0; while [ $i -lt 400000 ]; do i=$((i + 1)); done")
        assert found["reason"] == "cpu-limit"
        assert 0.15 < found["cpu_time"] / found["wall_time"] < 0.4
        assert found["throttled_time"] > 0.1
    jail = box.jail
    box.good("destroy", "box")
    nothing_left(home, [jail])


def written(box: Box, text: str) -> None:
    eventually(lambda: box.good("logs", "box").stdout == text)


def test_started_and_stopped(level: str, tmp_path: Path) -> None:
    box = create(tmp_path / "home", level, profile(tmp_path, command=COMMAND))
    jail = box.jail
    box.good("start", "box")
    written(box, "begun\n")
    assert box.status() == "running"
    twice = box.call("start", "box")
    assert twice.returncode == 1
    assert "it is running" in twice.stderr
    assert box.call("destroy", "box").returncode == 1
    if box.level != "chroot-root":  # There nothing lasts in the background that was not started so.
        inside = box.exec("echo inside; readlink /proc/self/ns/pid")
        assert inside.stdout.startswith("inside\n")
    frozen = box.call("freeze", "box")
    if box.has_instances:
        assert frozen.returncode == 0, frozen.stderr
        assert box.status() == "frozen"
        assert "it is frozen" in box.exec("echo x").stderr
        box.good("unfreeze", "box")
        assert box.status() == "running"
    else:
        assert frozen.returncode == 1
        assert "has no cgroup" in frozen.stderr
    used = json.loads(box.good("stats", "--json", "box").stdout)
    assert used["status"] == "running"
    assert used["pids"] >= 1
    assert used["memory"] > 0
    assert box.good("stop", "box").stdout == "stopped jail box\n"
    assert box.status() == "stopped"
    assert box.good("logs", "box").stdout == "begun\nending\n"
    assert everything_of(box) == []
    assert box.good("stop", "box").stdout == "jail box was not running\n"
    assert "exited" in box.good("show", "box").stdout
    box.good("start", "box")
    box.good("destroy", "--force", "box")
    nothing_left(box.home, [jail])


def test_updated(level: str, tmp_path: Path) -> None:
    file = profile(tmp_path)
    box = create(tmp_path / "home", level, file)
    box.exec("echo mine > $HOME/file" if box.cares else "echo mine > /root/file")
    profile(tmp_path, text={"/etc/motd": "new\n"})
    box.good("update", "box")
    assert box.exec("cat /etc/motd").stdout == "new\n"
    assert box.jail.generation == 2
    box.good("update", "--rollback", "box")
    assert box.exec("cat /etc/motd").returncode == 1
    jail = box.jail
    box.good("destroy", "box")
    nothing_left(box.home, [jail])


def test_the_host_goes_down(level: str, tmp_path: Path) -> None:
    """Everything is killed at once, again and again; each next command works, and who has something to say says it."""
    box = create(tmp_path / "home", level, profile(tmp_path, command=COMMAND))
    jail = box.jail

    def crash() -> None:
        box.good("start", "box")
        kill_everything(box)
        eventually(lambda: not any(map(alive, everything_of(box))))

    lost = "the last run of jail box was lost"
    crash()
    assert box.exec("echo works").stdout == "works\n"
    assert lost in box.good("start", "box").stderr
    box.good("stop", "box")
    crash()
    assert lost in box.good("list").stderr
    assert box.status() == "stopped"
    crash()
    assert lost in box.good("stop", "box").stderr
    crash()
    box.good("update", "box")
    crash()
    box.good("destroy", "box")
    nothing_left(box.home, [jail])
