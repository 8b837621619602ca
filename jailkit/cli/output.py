"""What several commands print alike."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import click

from jailkit.store import Store
from jailkit.text import printable

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def store_of(ctx: click.Context) -> Store:
    """Give the store that --home, JAILKIT_HOME or the default names."""
    return Store(ctx.find_root().obj)


def print_json(data: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
    """Print one JSON document."""
    click.echo(json.dumps(data, indent=2, ensure_ascii=True))


def size(count: float) -> str:
    """Write a number of bytes for people."""
    for unit in _UNITS:
        if count < 1024 or unit == _UNITS[-1]:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError


def moment(seconds: float) -> str:
    """Write seconds since the epoch for people, in local time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def table(rows: list[tuple[str, ...]], header: tuple[str, ...]) -> None:
    """Print rows in columns as wide as their widest cell."""
    lines = [tuple(map(printable, row)) for row in [header, *rows]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for row in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@contextlib.contextmanager
def progress(label: str, entries: int, *, quiet: bool) -> Iterator[Callable[[], None]]:
    """Show a bar while entries are made, on a terminal only."""
    if quiet or sys.stderr is None or not sys.stderr.isatty():  # None: the caller has closed it.
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=entries)
        yield lambda: bar.advance(task)
