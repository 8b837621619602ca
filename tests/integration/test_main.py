"""The program as a whole: interrupts and streams that are closed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

CONSOLE = Path(sys.executable).with_name("jailkit")
Jailkit = Callable[..., subprocess.CompletedProcess[str]]

INTERRUPTS = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nfor _ in range(10**6): pass\n"


@pytest.mark.parametrize("program", [[CONSOLE], [sys.executable, "-m", "jailkit"]])
def test_an_interrupt_before_anything_is_imported(tmp_path: Path, program: list[str | Path]) -> None:
    (tmp_path / "click.py").write_text(INTERRUPTS)
    done = subprocess.run(
        [*program, "levels"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, b"", b"")


def test_an_interrupt_later(tmp_path: Path) -> None:
    (tmp_path / "yaml.py").write_text(INTERRUPTS)
    done = subprocess.run(
        [CONSOLE, "profile", "validate", "x.yaml"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)}, capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"\njailkit: interrupted\n")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams(jailkit: Jailkit, closed: str) -> None:  # noqa: ARG001 - sets JAILKIT_HOME
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" create --dry-run busybox {closed}', CONSOLE],
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("words", ["exec box --user", "run box --level", "run -e", "shell --workdir"])
def test_completing_the_value_of_an_option(words: str) -> None:
    place = len(words.split()) + 1
    environment = os.environ | {"_JAILKIT_COMPLETE": "bash_complete", "COMP_WORDS": f"jailkit {words}"}
    environment["COMP_CWORD"] = str(place)
    done = subprocess.run([CONSOLE], env=environment, capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
