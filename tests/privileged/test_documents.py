"""What the documents tell people to type, typed."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.needs("root", "mknod", "chroot")

REPOSITORY = Path(__file__).parents[2]
Jailkit = Callable[..., subprocess.CompletedProcess[str]]


def blocks(document: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", (REPOSITORY / document).read_text(), re.MULTILINE | re.DOTALL)


def test_the_python_example_runs(home: Path) -> None:
    (example,) = blocks("README.md", "python")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", example], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"exited after \d\.\d{3} s, peak \d+ MiB\n", done.stdout)
    assert list((home / "jails").iterdir()) == []


@pytest.mark.parametrize("document", ["README.md", "docs/profile.md"])
@pytest.mark.needs("git")
def test_the_profiles_make_jails_that_work(document: str, jailkit: Jailkit, tmp_path: Path) -> None:
    profiles = [text for text in blocks(document, "yaml") if text.startswith("name:")]
    assert profiles
    for number, text in enumerate(profiles):
        file = tmp_path / f"example{number}.yaml"
        file.write_text(text)
        for command in (["create", file, "--name", "example"], ["verify", "example"], ["destroy", "example"]):
            done = jailkit(*command)
            assert done.returncode == 0, done.stderr + done.stdout


def test_the_commands_of_the_readme_exist(jailkit: Jailkit) -> None:
    lines = re.findall(r"^    (?:sudo )?jailkit (.*?)(?:\s{2,}#.*)?$", (REPOSITORY / "README.md").read_text(), re.M)
    assert len(lines) >= 10
    for line in lines:
        words = line.split()
        command = words[:2] if words[0] == "profile" else words[:1]
        assert jailkit(*command, "--help").returncode == 0, line


def normal(text: str) -> list[str]:
    """Give the lines without what differs between machines: numbers, the processor's name, and spacing."""
    text = re.sub(r"x86_64|aarch64", "ARCH", text)
    return [" ".join(re.sub(r"\d[\d.:-]*", "N", line).split()) for line in text.strip().splitlines()]


def test_the_demo_prints_what_the_readme_shows(tmp_path: Path) -> None:
    before = set(Path("/var/tmp").iterdir())
    done = subprocess.run(
        [REPOSITORY / "scripts" / "demo"],
        cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    (shown,) = blocks("README.md", "console")
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if not line.startswith("note: ")] == []
    output = done.stdout[done.stdout.index("$ ") :]  # Before it the set-up may say what it does.
    assert normal(output) == normal(shown)
    assert {path.name for path in set(Path("/var/tmp").iterdir()) - before if "demo" in path.name} == set()
