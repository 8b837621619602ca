"""`jailkit freeze`."""

from __future__ import annotations

import click

from jailkit.cli.complete import complete_jails
from jailkit.cli.output import each, store_of
from jailkit.lifecycle.stop import freeze


@click.command("freeze")
@click.argument("names", nargs=-1, required=True, shell_complete=complete_jails)
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")
@click.pass_context
def command(ctx: click.Context, names: tuple[str, ...], quiet: bool) -> None:
    """Keep everything in the running jails NAMES from going on, until `jailkit unfreeze`.

    What is frozen gets no signal and no time on a processor, and keeps its memory.
    """
    store = store_of(ctx)

    def act(name: str) -> str | None:
        freeze(name, store)
        return None if quiet else f"froze jail {name}"

    each(names, "freeze", act)
