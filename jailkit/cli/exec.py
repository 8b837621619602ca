"""`jailkit exec`: the command that runs most often, so it imports as little as it can."""

from __future__ import annotations

from typing import Unpack

import click

from jailkit.cli.enter import (
    EnterCommand,
    EnterOptions,
    complete_jails,
    enter_options,
    execute,
    exit_with,
    make_request,
)
from jailkit.lifecycle.enter import started
from jailkit.store import Store


@click.command("exec", cls=EnterCommand, options_metavar="[OPTIONS]")
@click.argument("name", shell_complete=complete_jails)
@click.argument("words", metavar="[--] [CMD]...", nargs=-1, type=click.UNPROCESSED)
@enter_options
@click.pass_context
def command(ctx: click.Context, /, name: str, words: tuple[str, ...], **options: Unpack[EnterOptions]) -> None:
    """Run CMD in the jail NAME; without CMD, the command of its profile.

    Options may stand before or after NAME; the first word that is none of them begins CMD.

    The exit code is the command's own, or 128 and the number of the signal that ended it. jailkit's own are
    124 for a time-out, 125 for a jail that could not be entered, 126 for a command that cannot be executed,
    and 127 for one that is not there.
    """
    result = execute(started(name, make_request(words, options), Store(ctx.find_root().obj)))
    exit_with(result, as_json=options["as_json"])
