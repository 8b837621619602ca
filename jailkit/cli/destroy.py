"""`jailkit destroy`."""

from __future__ import annotations

import click

from jailkit.cli.complete import complete_jails
from jailkit.cli.output import each, store_of
from jailkit.lifecycle.destroy import destroy


@click.command("destroy")
@click.argument("names", nargs=-1, required=True, shell_complete=complete_jails)
@click.option(
    "--force", "-f", is_flag=True, help="Stop it and kill what runs in it; delete it even if its record is damaged."
)
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")
@click.pass_context
def command(ctx: click.Context, names: tuple[str, ...], force: bool, quiet: bool) -> None:
    """Delete the jails NAMES with all that is in them. Goes on with the others when one fails."""
    store = store_of(ctx)
    store.sweep()

    def act(name: str) -> str | None:
        destroy(name, store, force=force)
        return None if quiet else f"destroyed jail {name}"

    each(names, "destroy", act)
