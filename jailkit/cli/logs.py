"""`jailkit logs`."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import click

from jailkit.cli.complete import complete_jails
from jailkit.cli.output import store_of
from jailkit.lifecycle.logs import read, read_console
from jailkit.text import printable


@click.command("logs")
@click.argument("name", shell_complete=complete_jails)
@click.option("--follow", "-f", is_flag=True, help="Go on with what is written from now on, until the command ends.")
@click.option("--tail", "-n", metavar="N", type=click.IntRange(min=0), help="Only the last N lines.")
@click.option("--console", is_flag=True, help="Print the console of the jail's container instead.")
@click.pass_context
def command(ctx: click.Context, name: str, follow: bool, tail: int | None, console: bool) -> None:
    """Print what the command of the started jail NAME wrote, to standard output and error alike.

    The last 30 MiB are kept, over all its runs. On a terminal, characters that would control it are shown escaped.
    """
    jail = store_of(ctx).load(name)
    pieces = (read_console if console else read)(jail, tail=tail, follow=follow)
    if sys.stdout.isatty():
        pieces = _shown(pieces)
    for piece in pieces:
        sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()


def _shown(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Escape what a terminal would obey: a jail wrote it."""
    for piece in pieces:
        text = piece.decode("utf-8", "surrogateescape")
        yield "\n".join(map(_line, text.split("\n"))).encode("utf-8", "surrogateescape")


def _line(line: str) -> str:
    return "\t".join(map(printable, line.removesuffix("\r").split("\t")))
