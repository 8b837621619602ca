"""`jailkit stop`."""

from __future__ import annotations

import signal

import click

from jailkit.cli.complete import complete_jails
from jailkit.cli.enter import duration_of
from jailkit.cli.output import each, remark, store_of
from jailkit.lifecycle.stop import stop


def _number(_ctx: click.Context, _param: click.Parameter, value: str | None) -> int | None:
    """Read a signal as kill(1) takes it: TERM, SIGTERM, 15."""
    if value is None:
        return None
    try:
        if value.isdecimal():
            return signal.Signals(int(value)).value
        return signal.Signals[f"SIG{value.upper().removeprefix('SIG')}"].value
    except (KeyError, ValueError) as error:
        raise click.BadParameter(f"there is no signal {value}") from error


@click.command("stop")
@click.argument("names", nargs=-1, required=True, shell_complete=complete_jails)
@click.option(
    "--signal",
    "-s",
    "number",
    metavar="SIGNAL",
    callback=_number,
    help="Ask with this signal, such as HUP; KILL ends all at once. [default: the profile's]",
)
@click.option(
    "--timeout",
    metavar="TIME",
    callback=duration_of,
    help="Kill what is left after 5s, 1m30s. [default: the profile's]",
)
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")
@click.pass_context
def command(ctx: click.Context, names: tuple[str, ...], number: int | None, timeout: float | None, quiet: bool) -> None:
    """Stop the jails NAMES: all that runs in them gets a signal, and is killed when it is there after a while.

    That is the profile's `stop-signal` and `stop-timeout`, SIGTERM and 10 seconds unless it says otherwise. What
    `jailkit exec` runs there is stopped too. A jail that does not run is left as it is.
    """
    store = store_of(ctx)

    def act(name: str) -> str | None:
        stopped = stop(name, store, number=number, timeout=timeout)
        remark(stopped.notes)
        if quiet:
            return None
        return f"jail {name} was not running" if stopped.before == "stopped" else f"stopped jail {name}"

    each(names, "stop", act)
