"""`jailkit run` and jailkit.run: a jail for one command, or a command in a jail that is there."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.profiles import write_profile

import jailkit as api

pytestmark = pytest.mark.needs("root", "chroot", "mknod")

Jailkit = Callable[..., subprocess.CompletedProcess[str]]
CONSOLE = Path(sys.executable).with_name("jailkit")


@pytest.fixture
def profile(tmp_path: Path, home: Path) -> Iterator[Path]:
    """Give a profile whose jails print where they are, and look that none of them is left."""
    yield write_profile(tmp_path, "one", binaries=["sh", "id", "sleep"], command=["sh", "-c", "echo $PWD"])
    assert [list((home / folder).iterdir()) for folder in ("drafts", "trash") if home.exists()] == [[], []]


def test_a_jail_for_one_command(profile: Path, jailkit: Jailkit) -> None:
    done = jailkit("run", profile, "--", "id", "-un")
    assert (done.returncode, done.stdout, done.stderr) == (0, "jail\n", "")
    assert api.jails() == []


def test_the_command_of_the_profile(profile: Path, jailkit: Jailkit) -> None:
    assert jailkit("run", profile).stdout == "/home/jail\n"


def test_a_jail_that_is_there_is_used_and_stays(profile: Path, jailkit: Jailkit) -> None:
    api.create(profile, name="box")
    assert jailkit("run", "box", "--", "sh", "-c", "echo made > kept; exit 7").returncode == 7
    assert jailkit("run", "box", "--", "sh", "-c", "read word < kept; echo $word").stdout == "made\n"
    assert api.jails() == ["box"]


@pytest.mark.parametrize("option", [["--level", "chroot-root"], ["--level", "bogus"], ["--accept-gaps"]])
def test_options_of_a_new_jail_are_refused_for_one_that_is_there(
    profile: Path, jailkit: Jailkit, option: list[str]
) -> None:
    api.create(profile, name="box")
    done = jailkit("run", *option, "box", "--", "id")
    assert (done.returncode, done.stdout) == (125, "")
    assert "cannot run in jail box with --level or --accept-gaps: it was made already" in done.stderr


def test_what_the_jail_goes_without_is_named(tmp_path: Path, home: Path, jailkit: Jailkit) -> None:  # noqa: ARG001
    profile = write_profile(
        tmp_path, "poor", binaries=["sh", {"name": "no-such-program", "optional": True}], limits={"memory": "1M"}
    )
    assert jailkit("run", profile, "--", "sh", "-c", ":").returncode == 125
    done = jailkit("run", "--accept-gaps", profile, "--", "sh", "-c", "echo ran")
    assert (done.returncode, done.stdout) == (0, "ran\n")
    assert "note: binaries: no-such-program: no-such-program is not on this host's PATH" in done.stderr
    assert "does not hold: limits.memory:" in done.stderr


def test_a_jail_comes_before_a_shipped_profile(profile: Path, jailkit: Jailkit) -> None:
    api.create(profile, name="busybox")
    assert jailkit("run", "busybox").stdout == "/home/jail\n"
    assert api.jails() == ["busybox"]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["sh", "-c", "exit 9"], 9),
        (["sh", "-c", "kill -KILL $$"], 137),
        (["no-such-program"], 127),
        (["/etc"], 126),
        (["--timeout", "0.2", "sleep", "1000"], 124),
        (["--user", "nobody-here", "id"], 125),
        (["--level", "chroot-root", "sh", "-c", "[ $(id -u) = 0 ] && exit 3"], 3),
    ],
)
def test_the_jail_is_gone_however_the_command_ends(
    profile: Path, jailkit: Jailkit, words: list[str], code: int
) -> None:
    assert jailkit("run", profile, *words).returncode == code
    assert api.jails() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_command_and_then_the_jail_goes(profile: Path, number: signal.Signals) -> None:
    script = "echo ready; exec sleep 1000"
    with subprocess.Popen([CONSOLE, "run", profile, "--", "sh", "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        assert process.wait(60) == 128 + number
    assert api.jails() == []


def test_killed_it_leaves_what_the_next_command_sweeps(profile: Path, home: Path, jailkit: Jailkit) -> None:
    script = "echo ready; exec sleep 1000"
    with subprocess.Popen([CONSOLE, "run", profile, "--", "sh", "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        assert api.jails() == []
        assert len(list((home / "drafts").iterdir())) == 1
        jailkit("list")
        assert len(list((home / "drafts").iterdir())) == 1, "a run that lives keeps its jail"
        process.kill()
    jailkit("list")
    assert list((home / "drafts").iterdir()) == []


def test_json(profile: Path, jailkit: Jailkit) -> None:
    result = json.loads(jailkit("run", "--json", profile, "--", "sh", "-c", "echo out; echo err >&2").stdout)
    assert (result["reason"], result["exit_code"], result["stdout"], result["stderr"]) == (
        "exited",
        0,
        "out\n",
        "err\n",
    )


def test_gaps_are_refused_unless_accepted(tmp_path: Path, jailkit: Jailkit) -> None:
    limited = write_profile(tmp_path, "limited", binaries=["id"], limits={"memory": "64MiB"})
    refused = jailkit("run", limited, "id", "-u")
    assert (refused.returncode, refused.stdout) == (125, "")
    assert "limits.memory" in refused.stderr
    assert jailkit("run", "--accept-gaps", limited, "id", "-u").returncode == 0


@pytest.mark.parametrize("target", ["no-such-jail-or-profile", "./no-such-profile.yaml"])
def test_nothing_of_that_name(home: Path, jailkit: Jailkit, target: str) -> None:
    done = jailkit("run", target, "--", "id")
    assert (done.returncode, done.stdout) == (125, "")
    assert target.removeprefix("./") in done.stderr
    assert not home.exists() or api.jails() == []


def test_from_python(profile: Path, home: Path) -> None:
    result = api.run(profile, ["sh", "-c", "read word; echo $word; exit 4"], input="hello\n", timeout=60, home=home)
    assert (result.exit_code, result.stdout) == (4, b"hello\n")
    assert api.jails(home=home) == []
    with pytest.raises(api.JailkitError, match="cannot use level"):
        api.run(profile, ["id"], level="no-such-level", home=home)
