"""The idle program as the first process of a PID namespace."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jailkit.linux.idle import idle_program

pytestmark = pytest.mark.needs("root")


@pytest.fixture
def init(tmp_path: Path) -> Iterator[int]:
    """Give the pid of an idle program that is PID 1 of a namespace."""
    program = tmp_path / "idle"
    program.write_bytes(idle_program())
    program.chmod(0o755)
    outer = subprocess.Popen(["unshare", "--pid", "--fork", "--kill-child", program])
    pid = wait_for(lambda: first_child(outer.pid))
    wait_for(lambda: Path(f"/proc/{pid}/comm").read_text() == "idle\n")
    yield pid
    outer.kill()
    outer.wait()


def wait_for(question: Callable[[], int | bool]) -> int:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if answer := question():
            return int(answer)
        time.sleep(0.005)
    raise AssertionError("it did not come")


def first_child(pid: int) -> int:
    return int((Path(f"/proc/{pid}/task/{pid}/children").read_text().split() or ["0"])[0])


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_it_sleeps_and_holds_next_to_no_memory(init: int) -> None:
    wait_for(lambda: state(init) == "S")
    before = Path(f"/proc/{init}/schedstat").read_text()
    time.sleep(0.2)
    assert Path(f"/proc/{init}/schedstat").read_text() == before
    status = Path(f"/proc/{init}/status").read_text()
    assert int(status.split("VmRSS:")[1].split()[0]) <= 64


def test_orphans_are_reaped(init: int) -> None:
    code = "(sleep 0.1 & exec true); (true & exec true); :"
    subprocess.run(["nsenter", "--target", str(init), "--pid", "sh", "-c", code], check=True)
    time.sleep(0.3)
    assert Path(f"/proc/{init}/task/{init}/children").read_text() == ""


def test_an_orphan_that_lives_is_its_child(init: int) -> None:
    subprocess.run(["nsenter", "--target", str(init), "--pid", "sh", "-c", "sleep 30 & exec true"], check=True)
    orphan = wait_for(lambda: first_child(init))
    os.kill(orphan, signal.SIGKILL)
    wait_for(lambda: not Path(f"/proc/{orphan}").exists())
    assert state(init) == "S"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL, signal.SIGSEGV, signal.SIGCHLD])
def test_signals_from_inside_do_not_end_it(init: int, number: signal.Signals) -> None:
    code = f"kill -{number.name.removeprefix('SIG')} 1"
    subprocess.run(["nsenter", "--target", str(init), "--pid", "sh", "-c", code], check=True)
    time.sleep(0.05)
    assert state(init) == "S"


def test_its_death_ends_the_namespace(init: int) -> None:
    subprocess.run(["nsenter", "--target", str(init), "--pid", "sh", "-c", "sleep 30 & exec true"], check=True)
    orphan = wait_for(lambda: first_child(init))
    os.kill(init, signal.SIGKILL)
    wait_for(lambda: not Path(f"/proc/{orphan}").exists())
