"""`jailkit update`."""

from __future__ import annotations

from dataclasses import asdict

import click

from jailkit.cli.complete import complete_jails
from jailkit.cli.output import print_json, progress, store_of, warn
from jailkit.lifecycle.update import Update, rollback, update
from jailkit.text import printable


@click.command("update")
@click.argument("name", shell_complete=complete_jails)
@click.option(
    "--rollback",
    "back",
    is_flag=True,
    help="Exchange the tree for the one from before the last update; a second time, back again.",
)
@click.option("--accept-gaps", is_flag=True, help="Update even if settings of the profile would not hold.")
@click.option("--force", "-f", is_flag=True, help="Kill the processes in the jail first.")
@click.option("--json", "as_json", is_flag=True, help="Print what changed as JSON.")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")
@click.pass_context
def command(
    ctx: click.Context, name: str, back: bool, accept_gaps: bool, force: bool, as_json: bool, quiet: bool
) -> None:
    """Rebuild the jail NAME from its profile and the host as they are now.

    The new tree is built beside the old one and takes its place in one step. What the jail changed itself is kept.
    """
    store = store_of(ctx)
    store.sweep()
    if back:
        jail = rollback(name, store, force=force)
        if as_json:
            print_json({"name": name, "generation": jail.generation})
        elif not quiet:
            click.echo(f"jail {name} is back at generation {jail.generation}")
        return
    with progress("updating", None, quiet=quiet or as_json) as step:
        result = update(name, store, accept_gaps=accept_gaps, force=force, progress=step)
    if as_json:
        print_json(asdict(result))
    elif not quiet:
        report(result)


def report(result: Update) -> None:
    """Name what changed."""
    warn(result.omissions, result.gaps, (f"an older tree's {path}, in the trash for now" for path in result.left))
    carried = result.carried
    lists = {"added": result.added, "removed": result.removed, "changed": result.changed}
    lists |= {"kept the jail's own": carried.kept, "restored from the host": carried.replaced}
    for label, paths in lists.items():
        for path in paths:
            click.echo(printable(f"{label}: {path}"))
    for path, reason in carried.dropped:
        click.echo(printable(f"dropped: {path}: {reason}"))
    if not result.from_file:
        click.echo("the profile's file is gone; the copy kept with the jail was used", err=True)
    if not any(paths for paths in lists.values()) and not carried.dropped:
        click.echo("nothing differs from before")
    back = f"jailkit update --rollback {result.name}"
    click.echo(f"updated jail {result.name} to generation {result.generation}; to undo it: {back}")
