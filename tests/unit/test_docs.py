"""The reference says all that the code can do, and the documents lead to files that are there."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from pydantic import BaseModel

from jailkit.cli.main import COMMANDS, cli
from jailkit.levels import LADDER
from jailkit.profile.keys import keys_of
from jailkit.profile.model import Profile

REPOSITORY = Path(__file__).parents[2]
DOCUMENTS = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")])


def read(name: str) -> str:
    return (REPOSITORY / name).read_text()


def commands(group: click.Group, path: str = "jailkit") -> Iterator[tuple[str, click.Command]]:
    ctx = click.Context(group)
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        assert command is not None
        yield f"{path} {name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")


def section(document: str, heading: str) -> str:
    """Give the text below a heading, up to the next one of its rank."""
    marks = heading.split(" ")[0]
    found = re.search(rf"^{re.escape(heading)}$(.*?)(?=^{marks} |\Z)", document, re.MULTILINE | re.DOTALL)
    assert found, f"no section {heading}"
    return found[1]


def models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    yield model
    for text in (str(field.annotation) for field in keys_of(model).values()):
        for name in re.findall(r"jailkit\.profile\.model\.(\w+)", text):
            yield from models(getattr(sys.modules[Profile.__module__], name))


def test_the_generated_parts_are_up_to_date() -> None:
    script = REPOSITORY / "scripts" / "reference.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_every_command_and_option_is_described() -> None:
    document = read("docs/commands.md")
    for path, command in commands(cli):
        text = section(document, f"## {path}")
        for param in command.params:
            assert param.name is not None
            if isinstance(param, click.Option):
                missing = [option for option in param.opts if option not in text]
                assert missing == [], path
            else:
                assert (param.metavar or param.name.upper()).split("]")[-1].strip("[].") in text, path


def test_every_command_has_a_short_help() -> None:
    assert set(COMMANDS) == {path.split()[1] for path, _ in commands(cli)}
    assert all(text.endswith(".") for _, text in COMMANDS.values())


def test_every_field_of_a_profile_is_described() -> None:
    document = read("docs/profile.md")
    for model in models(Profile):
        text = section(document, f"### {model.__name__}")
        for key, field in keys_of(model).items():
            assert f"\n| `{key}` |" in text, f"{model.__name__}.{key}"
            assert field.description, f"{model.__name__}.{key}"


@pytest.mark.parametrize("name", ["README.md", "SECURITY.md", "docs/profile.md"])
def test_every_level_is_named(name: str) -> None:
    text = read(name)
    assert [level.name for level in LADDER if level.name != "host" and f"`{level.name}`" not in text] == []


def test_links_lead_somewhere() -> None:
    broken = [
        f"{path.name}: {target}"
        for path in DOCUMENTS
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text())
        if "://" not in target and not (path.parent / target).exists()
    ]
    assert broken == []


def test_the_layers_of_the_contributing_guide_are_those_of_the_test() -> None:
    parts = {path.stem if path.is_file() else path.name for path in (REPOSITORY / "jailkit").iterdir()}
    described = set(re.findall(r"`(\w+)`", section(read("CONTRIBUTING.md"), "## Layers")))
    assert parts - {"__init__", "__main__", "__pycache__", "py", "profiles"} <= described


def test_the_ladder_of_the_readme_is_the_codes() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \| .* \| (yes|no) \| ([\w ,]+) \|$", read("README.md"), re.MULTILINE)
    told = [(name, root == "yes", version.startswith("yes")) for name, root, version in rows]
    assert told == [(level.name, level.needs_root, level.available) for level in LADDER if level.name != "host"]
