"""`jailkit profile`: validate, schema and list."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Any

import click

from jailkit.cli.complete import complete_profiles
from jailkit.cli.output import print_json, table
from jailkit.errors import Fault, ProfileError
from jailkit.profile import find_profile, json_schema, load_profile, shipped_profiles
from jailkit.text import printable


@click.group("profile")
def command() -> None:
    """Validate, list and describe profiles."""


@command.command("validate", short_help="Check profiles and what they extend.")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, shell_complete=complete_profiles)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array with every fault of every file.")
@click.pass_context
def validate(ctx: click.Context, files: tuple[str, ...], as_json: bool) -> None:
    """Check profiles, given by path or by the name of a shipped one, and what they extend.

    Every fault is printed, one a line, as FILE:LINE:COLUMN: KEY: what is wrong. Nothing of the host is looked
    at: that is what `jailkit create --dry-run` does. The exit code is 2 if any profile has a fault.
    """
    results = [_validated(file) for file in files]
    if as_json:
        print_json(results)
    else:
        for result in results:
            _print(result)
    if not all(result["ok"] for result in results):
        ctx.exit(ProfileError.exit_code)


@command.command("schema", short_help="Print the JSON Schema of profiles.")
def schema() -> None:
    """Print the JSON Schema of profiles, for editors and other programs.

    An editor with the YAML language server completes and checks a profile that begins with a line such as
    `# yaml-language-server: $schema=schema.json`.
    """
    print_json(json_schema())


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print the profiles as JSON.")
def list_profiles(as_json: bool) -> None:
    """List the profiles that come with jailkit."""
    rows = [_row(path) for path in shipped_profiles()]
    if as_json:
        print_json(rows)
    elif rows:
        table([(row["name"], row["description"].partition("\n")[0]) for row in rows], ("NAME", "DESCRIPTION"))
        click.echo(f"their files are in {printable(os.path.dirname(rows[0]['path']))}", err=True)


def _validated(file: str) -> dict[str, Any]:
    try:
        path = find_profile(file)
        profile = load_profile(path)
    except ProfileError as error:
        return {"file": file, "ok": False, "faults": [asdict(fault) for fault in error.faults]}
    return {"file": file, "ok": True, "name": profile.name, "faults": []}


def _print(result: dict[str, Any]) -> None:
    for fault in result["faults"]:
        click.echo(printable(str(Fault(**fault))), err=True)
    if result["ok"]:
        click.echo(printable(f"{result['file']}: ok"))


def _row(path: str) -> dict[str, str]:
    profile = load_profile(path)
    # A profile is asked for by its file's name, which need not be the name that it gives itself.
    name = os.path.basename(path).removesuffix(".yaml")
    return {"name": name, "description": profile.description.strip(), "path": path}
