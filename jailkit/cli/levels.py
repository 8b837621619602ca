"""`jailkit levels`: the ladder, and how much of it stands here."""

from __future__ import annotations

import click

from jailkit.cli.doctor import verdict_data
from jailkit.cli.output import print_json
from jailkit.doctor import Verdict, examine
from jailkit.levels import DEFAULT_LEVEL


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array, the weakest level first.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Show the ladder of isolation levels, the weakest first, and which of them work on this host."""
    verdicts = examine(ctx.obj).verdicts
    if as_json:
        print_json([verdict_data(verdict) for verdict in verdicts])
        return
    for verdict in verdicts:
        click.echo("\n".join(level_lines(verdict)))


def level_lines(verdict: Verdict) -> list[str]:
    """Give the lines of a level: what it is, and whether it works here."""
    level = verdict.level
    default = " (the default)" if level.name == DEFAULT_LEVEL else ""
    root = "needs root" if level.needs_root else "needs no root"
    here = verdict.reason if verdict.reason.startswith(root) else f"{root}; {verdict.reason}"
    name = click.style(level.name, bold=True)
    return [f"{name}{default}", f"    {level.summary}", f"    {here}"]
