"""`jailkit exec`: its words, its exit codes, the signals it passes on, and what it may import."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import uncovered
from support.children import in_child
from support.jails import UID
from support.terminals import session

from jailkit.backends.base import ExecRequest
from jailkit.backends.chroot import ChrootBackend
from jailkit.cli.enter import Forwarding
from jailkit.linux.process import read_process
from jailkit.store import Jail

pytestmark = pytest.mark.needs("root", "chroot", "mknod", "busybox", "gcc")

MakeJail = Callable[..., Jail]
CONSOLE = Path(sys.executable).with_name("jailkit")
WAIT = 60.0
FORWARDED = [
    signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM,
    signal.SIGVTALRM, signal.SIGPROF, signal.SIGIO, signal.SIGPWR,
]  # fmt: skip


@pytest.fixture
def jail(small_jail: MakeJail, monkeypatch: pytest.MonkeyPatch) -> Jail:
    jail = small_jail("chroot", command=("echo", "the profile's own"), root_accepted=True)
    monkeypatch.setenv("JAILKIT_HOME", str(Path(jail.directory).parents[1]))
    return jail


@pytest.fixture(autouse=True)
def _nothing_is_left(jail: Jail) -> Iterator[None]:
    yield
    assert ChrootBackend().processes(jail) == []


def test_a_time_out_spares_what_the_caller_started_before(jail: Jail, tmp_path: Path) -> None:  # noqa: ARG001
    """A shell's process substitutions are children of the program that the shell becomes."""
    script = 'sleep 1000 & echo $! >"$1"; exec "$2" exec --timeout 0.3 box -- sh -c "sleep 1000"'
    begun = time.monotonic()
    done = subprocess.run(["sh", "-c", script, "sh", tmp_path / "pid", CONSOLE], check=False, timeout=WAIT)
    assert done.returncode == 124
    assert time.monotonic() - begun < 3, "it waited for what is none of its own"
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


def execute(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    defaults = {"capture_output": True, "text": True, "timeout": WAIT, "check": False, "stdin": subprocess.DEVNULL}
    return subprocess.run([CONSOLE, "exec", *words], **(defaults | options))


# Words


@pytest.mark.parametrize(
    ("words", "output"),
    [
        (["box", "echo", "-n", "--user", "root"], "--user root"),
        (["box", "--", "echo", "--", "x"], "-- x\n"),
        (["--", "box", "echo", "x"], "x\n"),
        (["box", "--user", "root", "--", "id", "-u"], "0\n"),
        (["--user", "root", "box", "id", "-u"], "0\n"),
        (["-u", "root", "box", "-w", "/tmp", "pwd"], "/tmp\n"),
        (["box", "-uroot", "id", "-u"], "0\n"),
        (["box", "--workdir=/tmp", "pwd"], "/tmp\n"),
        (["box", "--env", "A=b=c", "--env", "B=", "sh", "-c", "echo $A/$B."], "b=c/.\n"),
        (["box", "-e", "FROM_HERE", "sh", "-c", "echo $FROM_HERE"], "the caller\n"),
        (["box"], "the profile's own\n"),
        (["box", "--"], "the profile's own\n"),
    ],
)
def test_words(monkeypatch: pytest.MonkeyPatch, words: list[str], output: str) -> None:
    monkeypatch.setenv("FROM_HERE", "the caller")
    done = execute(*words)
    assert (done.stdout, done.stderr, done.returncode) == (output, "", 0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Missing argument"),
        (["nowhere", "true"], "cannot find jail nowhere"),
        (["../box", "true"], "cannot use '../box'"),
        (["box", "--frobnicate", "true"], "No such option"),
        (["box", "--user"], "requires an argument"),
        (["box", "--user", "who", "true"], "no such user"),
        (["box", "--timeout", "soon", "true"], "duration"),
        (["box", "--timeout", "-1", "true"], "duration"),
        (["box", "--env", "=x", "true"], "NAME=VALUE"),
        (["box", "--env", "NOT_SET_HERE", "true"], "NOT_SET_HERE is not set"),
        (["box", "--workdir", "/nowhere", "true"], "cannot change to the directory /nowhere"),
        (["box", ""], "cannot find"),
    ],
)
def test_failures_of_our_own(words: list[str], message: str) -> None:
    done = execute(*words)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == (127 if words == ["box", ""] else 125)


# Exit codes and streams


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["sh", "-c", "exit 42"], 42, ""),
        (["sh", "-c", "kill -SEGV $$"], 128 + signal.SIGSEGV, ""),
        (["frobnicate"], 127, "add `frobnicate` to `binaries`"),
        (["/home"], 126, "cannot execute /home"),
    ],
)
def test_exit_codes(words: list[str], code: int, message: str) -> None:
    done = execute("box", *words)
    assert done.returncode == code
    assert message in done.stderr
    assert bool(done.stderr) == bool(message)


def test_a_time_out() -> None:
    done = execute("box", "--timeout", "300ms", "sh", "-c", "echo begun; sleep 1000 & wait")
    assert (done.stdout, done.returncode) == ("begun\n", 124)
    assert re.search(r"killed after [0-9]+\.[0-9] s", done.stderr)


def test_streams_are_the_caller_s() -> None:
    done = execute("box", "sh", "-c", "cat; echo err >&2", input="in\n", stdin=None)
    assert (done.stdout, done.stderr, done.returncode) == ("in\n", "err\n", 0)


@pytest.mark.parametrize("level", ["chroot", "chroot-root"])
@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)])
def test_closed_streams(small_jail: MakeJail, level: str, closed: tuple[int, ...]) -> None:
    """Where ours would take their place; at chroot-root they are the caller's, closed or not."""
    small_jail(level)
    done = execute("box", "probe", "open-streams", preexec_fn=lambda: [os.close(stream) for stream in closed])
    assert done.returncode == (7 if level == "chroot" else 7 - sum(1 << stream for stream in closed))


def test_json() -> None:
    done = execute("box", "--json", "sh", "-c", "cat; printf 'a\\377'; echo b >&2; exit 3")
    data = json.loads(done.stdout)
    assert (data["reason"], data["exit_code"], data["stdout"], data["stderr"]) == ("exited", 3, "a\\xff", "b\n")
    assert data["wall_time"] > 0
    assert data["cpu_time"] > 0
    assert data["peak_memory"] > 0
    assert (done.returncode, done.stderr) == (3, "")


def test_json_of_what_never_ran() -> None:
    done = execute("box", "--json", "frobnicate")
    data = json.loads(done.stdout)
    assert (data["reason"], data["exit_code"], done.returncode) == ("not-found", None, 127)
    assert "frobnicate" in data["message"]


# Signals


class Started:
    """A `jailkit exec` whose command has said that it is there."""

    def __init__(self, script: str, **options: Any) -> None:
        command = [CONSOLE, "exec", "box", "sh", "-c", script]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)
        assert self.process.stdout is not None
        self.output = self.process.stdout
        assert self.output.readline() == "ready\n"

    def end(self) -> tuple[str, int]:
        rest, _ = self.process.communicate(timeout=WAIT)
        return rest, self.process.returncode


@pytest.mark.parametrize("number", [*FORWARDED, signal.SIGWINCH])
def test_signals_reach_the_group(number: signal.Signals) -> None:
    name = int(number)
    inner = f"trap 'echo inner; exit' {name}; echo ready; while :; do sleep 0.05; done"
    started = Started(f"trap 'echo outer; exit 5' {name}; sh -c \"{inner}\"")
    started.process.send_signal(number)
    output, code = started.end()
    assert sorted(output.split()) == ["inner", "outer"]
    assert code == 5


@pytest.mark.parametrize("number", FORWARDED)
def test_a_command_that_dies_of_one(jail: Jail, number: signal.Signals) -> None:
    # No shell may stand between `ready` and the command that is to die: busybox's is deaf to SIGQUIT.
    started = Started("echo ready; exec cat", stdin=subprocess.PIPE)
    try:
        assert started.process.stdin is not None
        started.process.stdin.write("there\n")
        started.process.stdin.flush()
        assert started.output.readline() == "there\n"
        started.process.send_signal(number)
        assert started.process.wait(WAIT) == 128 + number
    finally:
        ChrootBackend().kill(jail)
        started.end()


def test_a_signal_that_comes_before_the_command_is_waited_for(jail: Jail) -> None:
    """Nothing else wakes the wait for it."""

    def enter() -> int:
        with Forwarding() as forwarding:
            running = ChrootBackend().spawn(jail, ExecRequest(("sleep", "1000")))
            os.kill(os.getpid(), signal.SIGALRM)
            return running.wait(forwarding.to(running)).signal or 0

    assert in_child(enter) == signal.SIGALRM


def test_an_ignored_signal_stays_ignored_here_and_is_not_passed_on() -> None:
    """As with nohup(1)."""
    started = Started(
        "echo ready; sleep 0.5; echo done", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)
    )
    started.process.send_signal(signal.SIGHUP)
    assert started.end() == ("done\n", 0)


def state(pid: int) -> str:
    process = read_process(pid)
    return process.state if process else "gone"


def await_states(pids: list[int], wanted: str) -> None:
    deadline = time.monotonic() + WAIT
    while any(state(pid) not in wanted for pid in pids):
        assert time.monotonic() < deadline, [state(pid) for pid in pids]
        time.sleep(0.01)


def test_stopping_and_going_on(jail: Jail) -> None:
    started = Started("echo ready; read word; echo got $word", stdin=subprocess.PIPE)
    pids = [started.process.pid, *ChrootBackend().processes(jail)]
    assert len(pids) == 2
    started.process.send_signal(signal.SIGTSTP)
    await_states(pids, "T")
    started.process.send_signal(signal.SIGCONT)
    await_states(pids, "SR")
    rest, _ = started.process.communicate("it\n", timeout=WAIT)
    assert (rest, started.process.returncode) == ("got it\n", 0)


def test_a_caller_that_ignores_its_children() -> None:
    done = execute("box", "sh", "-c", "exit 9", preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
    assert (done.returncode, done.stderr) == (9, "")


@pytest.mark.parametrize("level", ["chroot", "chroot-root"])
def test_the_keys_of_a_terminal_arrive_once(small_jail: MakeJail, level: str) -> None:
    small_jail(level)
    script = "trap 'echo int' INT; echo ready; i=0; while [ $i -lt 20 ]; do sleep 0.1; i=$((i+1)); done; echo end"
    with session([CONSOLE, "exec", "box", "sh", "-c", script]) as terminal:
        terminal.expect("ready")
        terminal.type("\x03")
        before = terminal.expect(r"(?s)\^C(.*?)end\r\n")
        assert before[1].count("int") == 1
        assert terminal.wait() == 0


def test_killing_jailkit_kills_the_command(jail: Jail) -> None:
    started = Started("echo ready; exec sleep 1000")
    (pid,) = ChrootBackend().processes(jail)
    started.process.kill()
    assert started.end()[1] == -signal.SIGKILL
    await_states([pid], "goneZ")


# Identity and cost


def test_whom_it_runs_as() -> None:
    assert execute("box", "id").stdout == f"uid={UID} gid={UID} groups=50,51\n"


def test_it_imports_nothing_that_costs() -> None:
    program = (
        "import os, sys\n"
        "leave = os._exit\n"
        "os._exit = lambda code: (print(*sys.modules, flush=True), leave(code))\n"
        "sys.argv = ['jailkit', 'exec', 'box', 'true']\n"
        "from jailkit.cli import main\n"
        "main()\n"
    )
    options = {"capture_output": True, "text": True, "timeout": WAIT, "env": uncovered.environment()}
    done = subprocess.run([sys.executable, "-c", program], check=True, **options)
    imported = set(done.stdout.split())
    assert {"click", "jailkit.backends.chroot", "jailkit.linux.spawn"} <= imported
    heavy = {"pydantic", "yaml", "rich", "subprocess", "hashlib", "_hashlib", "asyncio", "shutil", "logging"}
    unused = {"jailkit.plan.model", "jailkit.profile", "jailkit.host", "jailkit.realize", "jailkit.backends.gaps"}
    assert not imported & (heavy | unused)
