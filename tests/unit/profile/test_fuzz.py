"""Whatever the file holds, the answer is a profile or a ProfileError that is fit to print."""

from __future__ import annotations

import random
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jailkit.errors import Fault, ProfileError
from jailkit.profile import dump_profile, load_profile, restore_profile
from jailkit.profile.load import MAX_FAULTS

from .strategies import HOSTILE, PLAUSIBLE, as_yaml
from .test_load import EVERYTHING

RELAXED = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=200
)


def judge(folder: Path, content: bytes) -> None:
    """Load, and check what comes of it: a profile that can be stored, or faults that can be shown."""
    path = folder / "fuzz.yaml"
    path.write_bytes(content)
    faults: tuple[Fault, ...] = ()
    try:
        profile = load_profile(str(path))
        assert restore_profile(dump_profile(profile)) == profile
    except ProfileError as error:
        faults = error.faults
    assert len(faults) <= MAX_FAULTS + 1
    for fault in faults:
        assert str(fault).isprintable()
        assert len(str(fault)) < 1000


@given(content=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
@RELAXED
def test_any_bytes(tmp_path: Path, content: bytes) -> None:
    judge(tmp_path, content)


@given(text=st.text("ab:-? []{},&*!|>'\"%@`#\n\t.~0x", max_size=80))
@RELAXED
def test_what_yaml_is_made_of(tmp_path: Path, text: str) -> None:
    judge(tmp_path, b"name: x\n" + text.encode())


@given(data=HOSTILE)
@RELAXED
def test_known_keys_with_any_content(tmp_path: Path, data: dict[str, Any]) -> None:
    judge(tmp_path, as_yaml_or_text(data))


@given(data=PLAUSIBLE)
@RELAXED
def test_plausible_profiles(tmp_path: Path, data: dict[str, Any]) -> None:
    judge(tmp_path, as_yaml(data).encode())


@given(seed=st.integers(0, 2**32), count=st.integers(1, 8))
@RELAXED
def test_damaged_profiles(tmp_path: Path, seed: int, count: int) -> None:
    chance = random.Random(seed)
    text = EVERYTHING
    for _ in range(count):
        at, to = sorted(chance.choices(range(len(text)), k=2))
        piece = text[at : min(to, at + 40)]
        text = chance.choice(
            [
                text[:at] + text[at + 3 :],
                text[:to] + piece + text[to:],
                text[:at] + chance.choice("[]{}:&*!\n -'") + text[at:],
            ]
        )
    judge(tmp_path, text.encode())


def as_yaml_or_text(data: dict[str, Any]) -> bytes:
    try:
        return as_yaml(data).encode()
    except ValueError:  # infinities and not-a-numbers
        return repr(data).encode("utf-8", "backslashreplace")


MEBIBYTE = (1 << 20) - 10
LAUGHS = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30)
)
RANGES = "".join(f"[{chr(256 + number)}-\ufffd]" for number in range(50))
BOMBS = {
    "lists": "a: " + "[" * MEBIBYTE,
    "mappings": "a: " + "{a: " * (MEBIBYTE // 4),
    "block lists": "- " * (MEBIBYTE // 2),
    "keys": "? " * (MEBIBYTE // 2),
    "laughs": LAUGHS,
    "long text by aliases": f"a: &x {'y' * 500_000}\nb: [{'*x,' * 100_000}]",
    "tag directives": "".join(f"%TAG !a{n}! tag:x\n" for n in range(50_000)) + "--- a",
    "late tag directives": "a: 1\n...\n" + "".join(f"%TAG !a{n}! tag:x\n" for n in range(50_000)) + "--- a",
    "anchors": "".join(f"k{n}: &a{n} x\n" for n in range(40_000)),
    "unknown keys": "".join(f"k{n}: 1\n" for n in range(24_000)),
    "broken entries": f"name: x\nbinaries: [{'{nam: x},' * 14_000}]",
    "one target": f"name: x\ndirectories: [{'/a/b,' * 40_000}]",
    "digits": f"name: x\nlimits: {{memory: {'9' * 900_000}, cpus: 1.{'9' * 100_000}}}",
    "ranges": f"name: x\nlimits: {{cpuset: '{'1,' * 500_000}1'}}",
    "durations": f"name: x\nlimits: {{wall-time: {'1h' * 500_000}}}",
    "words": f"name: x\ncommand: {'a ' * 500_000}",
    "expression": f"name: x\nsmoke: [{{command: a, stdout: {{matches: '{'(' * 999}'}}}}]",
    "spaces": " " * MEBIBYTE,
    "newlines": "\n" * MEBIBYTE,
    "comment": "#" * MEBIBYTE,
    "exclamation": "a: " + "!" * MEBIBYTE,
    "expressions": "name: x\nsmoke:\n"
    + "".join(f"- {{command: a, stdout: {{matches: '(?i){number}{RANGES}'}}}}\n" for number in range(1_500)),
    "words like names": f"name: x\nisolation: {{capabilities: [{'sys_admn,' * 19_000}]}}",
    "users": "name: x\nusers:\n"
    + "".join(f"- {{name: user{number}}}\n" for number in range(5_500))
    + "directories:\n"
    + "".join(f"- {{path: /d{number}, owner: usor{number}}}\n" for number in range(300)),
    "one long word": f"name: x\ncommand: {'a' * MEBIBYTE}",
    "extends": f"name: x\nextends: [{'none.yaml,' * 19_000}]",
    "deep paths": "name: x\nsymlinks: {/b: c, /b/c: d}\ndirectories:\n"
    + "".join(f"- /{number}{'/a' * 2040}\n" for number in range(250)),
    "links": f"name: x\nsymlinks: {{{','.join(f'/a{n}: /../../x' for n in range(20_000))}}}",
}
SIX_HUNDRED_MEBIBYTES = 600 << 20


@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs_cost_little(tmp_path: Path, bomb: str) -> None:
    """Give a bomb to a process that may have 4 seconds of CPU time and little memory: far more than it needs."""
    path = tmp_path / "bomb.yaml"
    path.write_text(BOMBS[bomb])
    done = subprocess.run(
        [sys.executable, "-m", "jailkit", "profile", "validate", path],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=_limit,
    )
    assert done.returncode == 2, done.stderr[-500:]
    assert done.stderr.startswith(str(path))
    assert "Traceback" not in done.stderr


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (4, 4))
    resource.setrlimit(resource.RLIMIT_AS, (SIX_HUNDRED_MEBIBYTES, SIX_HUNDRED_MEBIBYTES))
