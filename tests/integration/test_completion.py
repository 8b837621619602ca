"""Completion, driven through the functions that bash, zsh and fish really get."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from jailkit.cli.main import COMMANDS
from jailkit.levels import LADDER

Complete = Callable[[str], list[str]]

BASH = """
source "$1"
COMP_LINE=$2 COMP_POINT=${#2}
read -ra COMP_WORDS <<<"$2"
[[ $2 == *' ' ]] && COMP_WORDS+=('')
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
compopt() { printf 'compopt %s %s\\n' "$@"; }
_jailkit_completion jailkit
printf '%s\\n' "${COMPREPLY[@]}"
"""

# The completion system of zsh needs its line editor; a function that stands for compadd and _describe does not.
ZSH = """
autoload -Uz compinit && compinit -u -D
source "$1"
words=("${(@s: :)2}") CURRENT=${#words}
compadd() { printf '%s\\n' "${(@P)@[-1]}"; }
_describe() { local item; for item in "${(@P)3}"; do printf '%s\\n' "${item%%:*}"; done; }
_path_files() { printf 'files %s\\n' "$*"; }
_jailkit_completion
"""

FISH = """
source $argv[1]
complete --do-complete $argv[2] | string split --field 1 \\t
"""


@pytest.fixture
def jails(home: Path) -> Path:
    for name in ("web", "webmail", "mail"):
        (home / "jails" / name).mkdir(parents=True)
    return home


@pytest.fixture(params=[pytest.param(shell, marks=pytest.mark.needs(shell)) for shell in ("bash", "zsh", "fish")])
def complete(request: pytest.FixtureRequest, tmp_path: Path, jailkit: Callable[..., object], jails: Path) -> Complete:
    """Give a function from the line before the cursor to what the shell offers."""
    shell: str = request.param
    script = tmp_path / f"completion.{shell}"
    script.write_text(jailkit("completion", shell).stdout)  # type: ignore[attr-defined]
    driver = tmp_path / f"driver.{shell}"
    driver.write_text({"bash": BASH, "zsh": ZSH, "fish": FISH}[shell])
    console = Path(sys.executable).parent
    environment = {
        "PATH": f"{console}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "TERM": "dumb",
        "LC_ALL": "C.UTF-8",
        "JAILKIT_HOME": str(jails),
    }

    def run(line: str) -> list[str]:
        flags = {"bash": ["--norc", "--noprofile"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
        done = subprocess.run(
            [shell, *flags, driver, script, line],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.stderr == ""
        return [word for word in done.stdout.splitlines() if word]

    return run


def test_commands(complete: Complete) -> None:
    assert set(COMMANDS) <= set(complete("jailkit "))
    assert complete("jailkit des") == ["destroy"]


def test_options(complete: Complete) -> None:
    assert {"--json", "--help"} <= set(complete("jailkit doctor --"))


def test_jail_names(complete: Complete) -> None:
    assert sorted(complete("jailkit show ")) == ["mail", "web", "webmail"]
    assert sorted(complete("jailkit show w")) == ["web", "webmail"]


def test_a_jail_is_offered_once(complete: Complete) -> None:
    assert sorted(complete("jailkit destroy web ")) == ["mail", "webmail"]


def test_jails_of_another_home(complete: Complete, tmp_path: Path) -> None:
    (tmp_path / "other" / "jails" / "elsewhere").mkdir(parents=True)
    assert complete(f"jailkit --home {tmp_path}/other show ") == ["elsewhere"]


def test_no_jails_and_no_complaint(complete: Complete, tmp_path: Path) -> None:
    assert complete(f"jailkit --home {tmp_path}/none verify ") == []


def test_profiles(complete: Complete) -> None:
    assert complete("jailkit create she") == ["shell"]
    assert {"shell", "busybox", "web", "mail"} <= set(complete("jailkit run "))


def test_levels(complete: Complete) -> None:
    available = sorted(level.name for level in LADDER if level.available)
    assert sorted(complete("jailkit create --level ")) == available


def test_shells(complete: Complete) -> None:
    assert sorted(complete("jailkit completion ")) == ["bash", "fish", "zsh"]


def test_a_profile_may_be_a_file(complete: Complete, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").touch()
    offered = complete("jailkit create ./mi")
    assert offered in (["compopt -o default"], ["files -f"], ["./mine.yaml"])
