"""What several commands print alike."""

from __future__ import annotations

import contextlib
import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from jailkit.errors import JailkitError, StateError
from jailkit.store import Store
from jailkit.text import printable

if TYPE_CHECKING:
    from jailkit.backends.base import Gap
    from jailkit.plan.model import Omission

_UNITS = ("KiB", "MiB", "GiB", "TiB")
_NOTES = 20  # that are printed; a tree may bring thousands


def store_of(ctx: click.Context) -> Store:
    """Give the store that --home, JAILKIT_HOME or the default names."""
    return Store(ctx.find_root().obj)


def print_json(data: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
    """Print one JSON document."""
    click.echo(json.dumps(data, indent=2, ensure_ascii=True))


def each(names: Iterable[str], verb: str, act: Callable[[str], str | None]) -> None:
    """Do something to several jails, and go on with the others when one fails. What `act` gives is printed.

    Raises:
        JailkitError: what failed; for several, one that has them all as details.
    """
    failed: list[JailkitError] = []
    for name in dict.fromkeys(names):
        try:
            line = act(name)
        except JailkitError as error:
            failed.append(error)
        else:
            if line:
                click.echo(line)
    if len(failed) == 1:
        raise failed[0]
    if failed:
        raise StateError(f"cannot {verb} {len(failed)} jails", details=[str(error) for error in failed])


def remark(notes: Iterable[str]) -> None:
    """Say, on standard error, what was put in order along the way."""
    for note in notes:
        click.echo(printable(f"note: {note}"), err=True)


def size(count: float) -> str:
    """Write a number of bytes for people."""
    if count < 1024:
        return f"{count:.0f} B"
    power = min(len(_UNITS), int(math.log2(count) / 10))
    return f"{count / 1024**power:.1f} {_UNITS[power - 1]}"


def moment(seconds: float) -> str:
    """Write seconds since the epoch for people, in local time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def table(rows: list[tuple[str, ...]], header: tuple[str, ...]) -> None:
    """Print rows in columns as wide as their widest cell."""
    lines = [tuple(map(printable, row)) for row in [header, *rows]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for row in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def warn(omissions: Sequence[Omission], gaps: Sequence[Gap], hindrances: Iterable[str] = ()) -> None:
    """Name, on standard error, what a jail goes without."""
    notes = [f"note: {omission.key}: {omission.message}" for omission in omissions]
    if len(notes) > _NOTES:
        notes[_NOTES:] = [f"note: and {len(notes) - _NOTES} more; `jailkit create --dry-run --json` lists all"]
    notes += [f"does not hold: {gap.key}: {gap.reason}" for gap in gaps]
    notes += [f"warning: {hindrance}" for hindrance in hindrances]
    for note in notes:
        click.echo(printable(note), err=True)


@contextlib.contextmanager
def progress(label: str, entries: int | None, *, quiet: bool) -> Iterator[Callable[[object], None]]:
    """Show a bar while entries are made, on a terminal only; None where their number is not known yet."""
    if quiet or sys.stderr is None or not sys.stderr.isatty():  # None: the caller has closed it.
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=entries)
        yield lambda _: bar.advance(task)
