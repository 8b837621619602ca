"""`jailkit doctor` and `jailkit levels` as any user may run them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

from jailkit.levels import DEFAULT_LEVEL, LADDER

Jailkit = Callable[..., subprocess.CompletedProcess[str]]


def test_json_and_exit_code_agree(jailkit: Jailkit, home: Path) -> None:
    done = jailkit("doctor", "--json")
    data = json.loads(done.stdout)
    levels = {level["name"]: level for level in data["levels"]}
    assert data["home"] == str(home)
    assert list(levels) == [level.name for level in LADDER]
    assert data["works"] is levels[DEFAULT_LEVEL]["works"] is (done.returncode == 0)
    assert done.stderr == ""


def test_every_no_that_counts_has_evidence_and_a_remedy(jailkit: Jailkit) -> None:
    checks = json.loads(jailkit("doctor", "--json").stdout)["checks"]
    assert len(checks) >= 15
    for check in checks:
        assert check["evidence"]
        assert check["works"] == (check["remedy"] is None)


def test_text_has_a_line_for_each_check_and_level(jailkit: Jailkit) -> None:
    text = jailkit("doctor").stdout
    data = json.loads(jailkit("doctor", "--json").stdout)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    for item in [*data["checks"], *data["levels"]]:
        word = "yes" if item["works"] else "no"
        assert any(line.startswith(f"{word} {item['name']} ") for line in lines), item["name"]
    assert "\x1b" not in text


def test_nothing_stays(jailkit: Jailkit, home: Path, tmp_path: Path) -> None:
    jailkit("doctor")
    assert not home.exists()
    assert list(tmp_path.iterdir()) == []
    home.mkdir()
    jailkit("doctor")
    assert list(home.iterdir()) == []


def test_levels_shows_the_ladder(jailkit: Jailkit) -> None:
    names = [line for line in jailkit("levels").stdout.splitlines() if not line.startswith(" ")]
    assert names == [f"{level.name} (the default)" if level.name == DEFAULT_LEVEL else level.name for level in LADDER]
    rows = json.loads(jailkit("levels", "--json").stdout)
    assert [row["name"] for row in rows] == [level.name for level in LADDER]
    assert all({"summary", "works", "reason", "needs_root", "available"} <= set(row) for row in rows)
