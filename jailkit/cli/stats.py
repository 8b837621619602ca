"""`jailkit stats`."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import click

from jailkit.backends.base import Status
from jailkit.backends.many import statuses
from jailkit.cli.complete import complete_jails
from jailkit.cli.output import size, store_of, table
from jailkit.errors import JailkitError, StateError
from jailkit.lifecycle.stop import stats, status
from jailkit.linux.figures import Stats
from jailkit.store import Store

if TYPE_CHECKING:
    from rich.table import Table

_Number = TypeVar("_Number", int, float)
_HEADER: Final = ("NAME", "STATUS", "CPU", "CPU TIME", "MEMORY", "PEAK", "PIDS", "READ", "WRITTEN", "OOM KILLS")


class Sample(NamedTuple):
    """What a jail used at a moment, time.monotonic()."""

    name: str
    status: Status
    stats: Stats
    moment: float


@click.command("stats")
@click.argument("names", nargs=-1, shell_complete=complete_jails)
@click.option("--watch", "-w", is_flag=True, help="Show it anew again and again, until Ctrl-C.")
@click.option("--interval", metavar="SECONDS", type=click.FloatRange(min=0.1), default=1.0, help="Between two looks.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line for each jail.")
@click.pass_context
def command(ctx: click.Context, names: tuple[str, ...], watch: bool, interval: float, as_json: bool) -> None:
    """Show what the jails NAMES use, or all that run: CPU, memory, processes, disk.

    A dash stands for what the jail's level, or this host, cannot tell. At the two plain chroot levels it is summed up
    over the processes that live now. The share of CPUs, where 100% is one whole, is known from the second look on.
    """
    store = store_of(ctx)
    if not watch:
        show(take(names, store), {}, as_json=as_json)
    elif as_json:
        while True:
            show(take(names, store), {}, as_json=True)
            time.sleep(interval)
    else:
        live(names, store, interval)


def take(names: Sequence[str], store: Store) -> list[Sample]:
    """Read the jails that were named, which must be there, or all that are not stopped."""
    if names:
        return [sample(name, store) for name in dict.fromkeys(names)]
    jails = []
    for name in store.names():
        with contextlib.suppress(StateError):  # A damaged record: `jailkit list` is for those.
            jails.append(store.load(name))
    found = []
    for jail, now in zip(jails, statuses(jails), strict=True):
        if now not in ("stopped", "unknown"):
            with contextlib.suppress(JailkitError):  # Stopped or destroyed just now.
                found.append(sample(jail.name, store))
    return found


def sample(name: str, store: Store) -> Sample:
    """Read one jail.

    Raises:
        StateError: there is none.
        BackendError: it cannot be read.
    """
    now = status(name, store)
    return Sample(name, now, Stats() if now == "stopped" else stats(name, store), time.monotonic())


def show(samples: Sequence[Sample], before: Mapping[str, Sample], *, as_json: bool) -> None:
    """Print samples once."""
    if as_json:
        for taken in samples:
            data = {"name": taken.name, "status": taken.status, **taken.stats._asdict()}
            click.echo(json.dumps(data))
    elif samples:
        table([cells(taken, before.get(taken.name)) for taken in samples], _HEADER)
    else:
        click.echo("no jail runs; start one with: jailkit start NAME", err=True)


def live(names: Sequence[str], store: Store, interval: float) -> None:
    """Show samples in one place of the terminal, until interrupted."""
    from rich.live import Live

    before: dict[str, Sample] = {}
    with Live(auto_refresh=False, screen=False) as display:
        while True:
            samples = take(names, store)
            display.update(grid([cells(taken, before.get(taken.name)) for taken in samples]), refresh=True)
            before = {taken.name: taken for taken in samples}
            time.sleep(interval)


def grid(rows: Sequence[tuple[str, ...]]) -> Table:
    """Give the rows as rich shows them."""
    from rich.table import Table
    from rich.text import Text

    result = Table(box=None, pad_edge=False)
    for name in _HEADER:
        result.add_column(name, no_wrap=True, justify="left" if name in _HEADER[:2] else "right")
    for row in rows:
        result.add_row(*map(Text, row))
    return result


def cells(taken: Sample, before: Sample | None) -> tuple[str, ...]:
    """Write a sample for people."""
    now = taken.stats
    return (
        taken.name,
        taken.status,
        share(taken, before),
        _or_dash(now.cpu_time, "{:.2f} s".format),
        _or_dash(now.memory, size),
        _or_dash(now.memory_peak, size),
        _or_dash(now.pids, str),
        _or_dash(now.read_bytes, size),
        _or_dash(now.written_bytes, size),
        _or_dash(now.oom_kills, str),
    )


def share(taken: Sample, before: Sample | None) -> str:
    """Give the CPUs that a jail used between two samples, in per cent of one."""
    if before is None or taken.stats.cpu_time is None or before.stats.cpu_time is None:
        return "-"
    used = max(0.0, taken.stats.cpu_time - before.stats.cpu_time)
    return f"{100 * used / max(taken.moment - before.moment, 0.001):.0f}%"


def _or_dash(value: _Number | None, write: Callable[[_Number], str]) -> str:
    return "-" if value is None else write(value)
