"""The mark `needs`: tried, skipped, required."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import capabilities, leftovers

TESTS = Path(__file__).parents[1]


def test_required_reads_names_all_and_exceptions() -> None:
    assert capabilities.required("root, gcc") == {"root", "gcc"}
    assert capabilities.required("all,-gcc-multilib") == set(capabilities.TRIALS) - {"gcc-multilib"}
    assert capabilities.required("") == frozenset()


@pytest.mark.parametrize("setting", ["rot", "all,-nothing"])
def test_required_refuses_what_is_no_capability(setting: str) -> None:
    with pytest.raises(ValueError, match="names no capability"):
        capabilities.required(setting)


def test_a_missing_capability_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(capabilities.TRIALS, "absent", capabilities._runs("no-such-program"))
    assert capabilities.missing("absent") == "no-such-program is not installed"


def _pytest(folder: Path, mark: str, require: str) -> subprocess.CompletedProcess[str]:
    folder.joinpath("conftest.py").write_text(
        "from support import capabilities\n"
        "capabilities.TRIALS['absent'] = lambda folder: 'there is none'\n"
        f"exec(compile(open({str(TESTS / 'conftest.py')!r}).read(), 'conftest', 'exec'))\n"
    )
    folder.joinpath("test_it.py").write_text(
        f"import pytest\n@pytest.mark.needs({mark!r})\ndef test_it():\n    assert True\n"
    )
    folder.joinpath("pytest.ini").write_text("[pytest]\nmarkers =\n    needs(*capabilities): see the project's\n")
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-ra",
            "-p",
            "no:cacheprovider",
            "--basetemp",
            folder / "base",
            folder,
        ],
        env={**os.environ, "PYTHONPATH": str(TESTS), "JAILKIT_REQUIRE": require},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_needs_skips_fails_or_refuses(tmp_path: Path) -> None:
    skipped = _pytest(tmp_path, "absent", "")
    assert skipped.returncode == 0
    assert "absent: there is none" in skipped.stdout
    failed = _pytest(tmp_path, "absent", "all")
    assert failed.returncode == 1
    assert "JAILKIT_REQUIRE asks for absent: there is none" in failed.stdout
    refused = _pytest(tmp_path, "abzent", "")
    assert refused.returncode == pytest.ExitCode.USAGE_ERROR
    assert "abzent, which is no capability" in refused.stderr
    unknown = _pytest(tmp_path, "absent", "abzent")
    assert unknown.returncode == pytest.ExitCode.USAGE_ERROR
    assert "names no capability: abzent" in unknown.stderr


def test_the_guard_sees_a_change_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "passwd"
    file.write_text("root")
    monkeypatch.setattr(leftovers, "WATCHED", (str(file), str(tmp_path / "absent")))
    before = leftovers.Host.now()
    assert before.leftovers(str(tmp_path)) == []
    file.write_text("toor")
    assert before.leftovers(str(tmp_path)) == [f"{file} was changed"]
