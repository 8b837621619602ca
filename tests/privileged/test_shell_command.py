"""`jailkit shell`, driven through a terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.jails import UID
from support.terminals import WAIT, Session, session

from jailkit.backends.chroot import ChrootBackend
from jailkit.store import Jail

pytestmark = pytest.mark.needs("root", "chroot", "mknod", "busybox", "gcc")

MakeJail = Callable[..., Jail]
CONSOLE = Path(sys.executable).with_name("jailkit")
PROMPT = r"[$#] "


@pytest.fixture(params=["chroot", "chroot-root"])
def jail(request: pytest.FixtureRequest, small_jail: MakeJail) -> Jail:
    return small_jail(request.param, environment=(("PS1", "$ "), ("HISTFILE", "")))


@pytest.fixture
def home(jail: Jail) -> str:
    return str(Path(jail.directory).parents[1])


@pytest.fixture
def shell(home: str) -> Iterator[Session]:
    with session([CONSOLE, "--home", home, "shell", "box"]) as shell:
        shell.expect(PROMPT)
        yield shell


def test_a_command_and_the_exit_code(shell: Session, jail: Jail) -> None:
    shell.type("id -u\r")
    shell.expect(rf"\r\n{UID if jail.level == 'chroot' else 0}\r\n")
    shell.type("exit 7\r")
    assert shell.wait() == 7
    assert shell.settings() == shell.before


def test_it_is_a_terminal_of_its_own(shell: Session) -> None:
    shell.type("test -t 0 && test -t 1 && test -t 2 && echo terminal''s\r")
    shell.expect("terminals")
    assert shell.settings() != shell.before, "ours lets every key through meanwhile"


def test_the_size_of_the_window(shell: Session) -> None:
    def size() -> str:
        shell.type("stty size\r")
        return shell.expect(r"\n(\d+ \d+)\r\n")[1]

    assert size() == "24 80"
    shell.resize(30, 100)
    deadline = time.monotonic() + WAIT
    while size() != "30 100":
        assert time.monotonic() < deadline


def start_a_job(shell: Session) -> None:
    """Run something in the foreground; before it says so, keys would reach the shell's line editor instead."""
    shell.type("sh -c 'echo go''ing; read word; echo got $word'\r")
    shell.expect(r"going\r\n")


def test_keys_reach_the_command_and_not_the_relay(shell: Session) -> None:
    start_a_job(shell)
    shell.type("\x03")
    shell.expect(PROMPT)
    shell.type("echo code $?\r")
    shell.expect("code 130")


def test_job_control(shell: Session) -> None:
    start_a_job(shell)
    shell.type("\x1a")
    shell.expect("Stopped")
    shell.expect(PROMPT)
    shell.type("jobs\r")
    shell.expect(r"Stopped +sh -c")
    shell.type("fg\r")
    shell.expect(r"\nsh -c .*\r\n")
    shell.type("it\r")
    shell.expect(r"\ngot it\r\n")


def test_end_of_file_ends_it(shell: Session) -> None:
    shell.type("\x04")
    assert shell.wait() == 0
    assert shell.settings() == shell.before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_it_and_restores_the_terminal(shell: Session, jail: Jail, number: signal.Signals) -> None:
    start_a_job(shell)
    shell.process.send_signal(number)
    assert shell.wait() == 128 + number
    assert shell.settings() == shell.before
    deadline = time.monotonic() + WAIT
    while ChrootBackend().processes(jail):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_much_output_and_much_input_at_once(shell: Session) -> None:
    shell.type("stty -echo; cat\r")
    shell.expect(r"cat\r\n")
    for number in range(200):
        shell.type(f"{number} {'x' * 100}\r")
        shell.expect(rf"{number} x+\r\n")
    shell.type("\x04")
    shell.expect(PROMPT)


def test_a_background_process_does_not_keep_it(shell: Session, jail: Jail) -> None:
    shell.type("setsid sleep 1000 &\r")
    shell.expect(PROMPT)
    shell.type("exit\r")
    assert shell.wait() == 0
    for pid in ChrootBackend().processes(jail):
        os.kill(pid, signal.SIGKILL)


def test_user_environment_and_directory(home: str) -> None:
    options = ["--user", "1234", "--env", "COLOUR=blue", "--workdir", "/tmp"]
    with session([CONSOLE, "--home", home, "shell", "box", *options]) as shell:
        shell.expect(PROMPT)
        shell.type("echo $(id -u) $COLOUR $PWD\r")
        shell.expect(r"\r\n1234 blue /tmp\r\n")


def test_a_shell_that_is_not_there(jail: Jail, home: str) -> None:
    os.unlink(f"{jail.rootfs}/bin/sh")
    with session([CONSOLE, "--home", home, "shell", "box"]) as shell:
        assert shell.wait() == 127
        shell.expect("cannot find /bin/sh in jail box")
        assert shell.settings() == shell.before


@pytest.mark.parametrize("arguments", [["nobody-here"], ["box", "--user", "nobody-here"], ["box", "word"], []])
def test_what_is_wrong_is_said_with_125(home: str, arguments: list[str]) -> None:
    with session([CONSOLE, "--home", home, "shell", *arguments]) as shell:
        assert shell.wait() == 125
        shell.expect("cannot|Usage")
        assert shell.settings() == shell.before


def test_without_a_terminal_it_reads_commands(home: str) -> None:
    done = subprocess.run(
        [CONSOLE, "--home", home, "shell", "box"],
        input="echo $((6 * 7)); tty; exit 5", capture_output=True, text=True, timeout=WAIT, check=False,
    )  # fmt: skip
    assert (done.stdout, done.returncode) == ("42\nnot a tty\n", 5)
