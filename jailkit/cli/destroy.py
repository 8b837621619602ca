"""`jailkit destroy`."""

from __future__ import annotations

import click

from jailkit.cli.complete import complete_jails
from jailkit.cli.output import store_of
from jailkit.errors import JailkitError, StateError
from jailkit.lifecycle.destroy import destroy


@click.command("destroy")
@click.argument("names", nargs=-1, required=True, shell_complete=complete_jails)
@click.option("--force", "-f", is_flag=True, help="Kill the processes in it; delete it even if its record is damaged.")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")
@click.pass_context
def command(ctx: click.Context, names: tuple[str, ...], force: bool, quiet: bool) -> None:
    """Delete the jails NAMES with all that is in them. Goes on with the others when one fails."""
    store = store_of(ctx)
    store.sweep()
    failed: list[JailkitError] = []
    for name in dict.fromkeys(names):
        try:
            destroy(name, store, force=force)
        except JailkitError as error:
            failed.append(error)
        else:
            if not quiet:
                click.echo(f"destroyed jail {name}")
    if len(failed) == 1:
        raise failed[0]
    if failed:
        raise StateError(f"cannot destroy {len(failed)} jails", details=[str(error) for error in failed])
