"""`jailkit unfreeze`."""

from __future__ import annotations

import click

from jailkit.cli.complete import complete_jails
from jailkit.cli.output import each, store_of
from jailkit.lifecycle.stop import unfreeze


@click.command("unfreeze")
@click.argument("names", nargs=-1, required=True, shell_complete=complete_jails)
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")
@click.pass_context
def command(ctx: click.Context, names: tuple[str, ...], quiet: bool) -> None:
    """Let everything in the frozen jails NAMES go on."""
    store = store_of(ctx)

    def act(name: str) -> str | None:
        unfreeze(name, store)
        return None if quiet else f"unfroze jail {name}"

    each(names, "unfreeze", act)
