"""`jailkit start`."""

from __future__ import annotations

import click

from jailkit.cli.complete import complete_jails
from jailkit.cli.output import each, remark, store_of
from jailkit.lifecycle.start import start


@click.command("start")
@click.argument("names", nargs=-1, required=True, shell_complete=complete_jails)
@click.option("--idle", is_flag=True, help="Without the command: only for others to enter.")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")
@click.pass_context
def command(ctx: click.Context, names: tuple[str, ...], idle: bool, quiet: bool) -> None:
    """Start the jails NAMES: the command that the profile names, in the background.

    It is back as soon as the command runs, and fails when that cannot be executed. What the command writes is in
    `jailkit logs`. When the command ends, the jail is stopped and `jailkit show` tells how it ended: so it must not put
    itself into the background. At the levels with namespaces a jail can be started without a command too, for
    `jailkit exec`: with --idle, or when its profile names none.
    """
    store = store_of(ctx)

    def act(name: str) -> str | None:
        remark(start(name, store, idle=idle))
        return None if quiet else f"started jail {name}"

    each(names, "start", act)
