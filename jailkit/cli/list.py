"""`jailkit list`."""

from __future__ import annotations

import os
from typing import Any

import click

from jailkit.cli.output import moment, print_json, store_of, table
from jailkit.errors import StateError
from jailkit.store import Store
from jailkit.store.jail import SUDO


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print the jails as JSON.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """List the jails of this home."""
    store = store_of(ctx)
    store.sweep()
    rows = [_row(store, name) for name in store.names()]
    if as_json:
        print_json(rows)
    elif rows:
        header = ("NAME", "LEVEL", "PROFILE", "CREATED")
        table([(row["name"], row["level"], row["profile"], _date(row["created"])) for row in rows], header)
    else:
        click.echo(
            f"no jails in {store.home}; make one with: jailkit create shell{SUDO if os.geteuid() else ''}", err=True
        )


def _row(store: Store, name: str) -> dict[str, Any]:
    try:
        jail = store.load(name)
    except StateError as error:
        return {"name": name, "level": "damaged", "profile": "-", "created": None, "error": error.brief}
    return {
        "name": name,
        "level": jail.level,
        "profile": jail.profile,
        "created": jail.created,
        "rootfs": jail.rootfs,
        "description": jail.description,
    }


def _date(created: float | None) -> str:
    return "-" if created is None else moment(created)
