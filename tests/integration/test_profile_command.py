"""`jailkit profile`, as a user or a program calls it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

Jailkit = Callable[..., CompletedProcess[str]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder with a good and a bad profile, and work in it."""
    (tmp_path / "good.yaml").write_text("name: good\nbinaries: [sh]\n")
    (tmp_path / "bad.yaml").write_text("name: bad\nbinarys: [sh]\nlimits: {memory: lots}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_good_profiles(jailkit: Jailkit) -> None:
    done = jailkit("profile", "validate", "good.yaml", "shell")
    assert (done.returncode, done.stdout, done.stderr) == (0, "good.yaml: ok\nshell: ok\n", "")


@pytest.mark.usefixtures("folder")
def test_all_files_are_checked_and_all_faults_told(jailkit: Jailkit) -> None:
    done = jailkit("profile", "validate", "bad.yaml", "none.yaml", "good.yaml", "shel")
    assert done.returncode == 2
    assert done.stdout == "good.yaml: ok\n"
    assert done.stderr.splitlines() == [
        "bad.yaml:2:1: binarys: unknown key (did you mean `binaries`?)",
        "bad.yaml:3:18: limits.memory: expected a size such as 64MiB, got 'lots'",
        "none.yaml: cannot read it: No such file or directory",
        "'shel': there is no file and no shipped profile named 'shel' (did you mean `shell`?)",
    ]


@pytest.mark.usefixtures("folder")
def test_json(jailkit: Jailkit) -> None:
    done = jailkit("profile", "validate", "--json", "good.yaml", "bad.yaml")
    assert (done.returncode, done.stderr) == (2, "")
    good, bad = json.loads(done.stdout)
    assert good == {"file": "good.yaml", "ok": True, "name": "good", "faults": []}
    assert (bad["file"], bad["ok"]) == ("bad.yaml", False)
    assert bad["faults"][0] == {
        "file": "bad.yaml",
        "line": 2,
        "column": 1,
        "key": "binarys",
        "message": "unknown key",
        "suggestion": "binaries",
    }
    assert len(bad["faults"]) == 2


@pytest.mark.usefixtures("folder")
def test_a_bad_profile_stops_create_before_anything_is_made(jailkit: Jailkit, home: Path) -> None:
    done = jailkit("create", "bad.yaml")
    assert done.returncode == 2
    assert "bad.yaml:3:18: limits.memory: expected a size" in done.stderr
    assert "Traceback" not in done.stderr
    assert not home.exists() or not any(home.rglob("*.json"))


def test_names_do_not_steer_the_terminal(jailkit: Jailkit, folder: Path) -> None:
    path = folder / "a\x1b[2J.yaml"
    path.write_text("name: x\n\"b\\tc\": 1\n? 'd\u202ee'\n: 1\n")
    done = jailkit("profile", "validate", path)
    assert done.returncode == 2
    assert done.stderr.replace("\n", "").isprintable()
    assert len(done.stderr.splitlines()) == 2


def test_no_files_is_a_usage_error(jailkit: Jailkit) -> None:
    done = jailkit("profile", "validate")
    assert done.returncode == 2
    assert "FILE" in done.stderr


def test_schema(jailkit: Jailkit) -> None:
    done = jailkit("profile", "schema")
    assert done.returncode == 0
    assert json.loads(done.stdout)["additionalProperties"] is False


def test_list(jailkit: Jailkit) -> None:
    rows = json.loads(jailkit("profile", "list", "--json").stdout)
    assert {"shell", "base"} <= {row["name"] for row in rows}
    for row in rows:
        assert Path(row["path"]).is_file()
        assert row["description"]
    shown = jailkit("profile", "list").stdout.splitlines()
    assert shown[0].split() == ["NAME", "DESCRIPTION"]
    assert max(map(len, shown)) <= 80
    assert [line.split()[0] for line in shown[1:]] == [row["name"] for row in rows]


def test_a_fifo_does_not_hang(jailkit: Jailkit) -> None:
    done = jailkit("profile", "validate", "/dev/stdin")
    assert (done.returncode, done.stderr) == (2, "/dev/stdin: it is not a regular file\n")


def test_a_misspelt_command_is_corrected(jailkit: Jailkit) -> None:
    done = jailkit("verfy", "box")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "Error: No such command 'verfy'. Did you mean 'verify'?"
    assert "Did you mean" not in jailkit("zzz").stderr
