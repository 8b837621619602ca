"""`jailkit list`."""

from __future__ import annotations

import os
from typing import Any

import click

from jailkit.backends.many import statuses
from jailkit.cli.output import moment, print_json, remark, store_of, table
from jailkit.errors import JailkitError, StateError
from jailkit.lifecycle.runs import supervision
from jailkit.lifecycle.settle import settle
from jailkit.store import Jail, Store
from jailkit.store.jail import SUDO


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print the jails as JSON.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """List the jails of this home, and whether they run."""
    store = store_of(ctx)
    store.sweep()
    rows = _rows(store)
    if as_json:
        print_json(rows)
    elif rows:
        columns = ("name", "level", "status", "profile")
        header = (*map(str.upper, columns), "CREATED")
        table([(*(row[column] for column in columns), _date(row["created"])) for row in rows], header)
    else:
        click.echo(
            f"no jails in {store.home}; make one with: jailkit create shell{SUDO if os.geteuid() else ''}", err=True
        )


def _rows(store: Store) -> list[dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    jails = []
    for name in store.names():
        rows[name] = {"name": name, "level": "damaged", "status": "-", "profile": "-", "created": None}
        try:
            jails.append(store.load(name))
        except StateError as error:
            rows[name]["error"] = error.brief
    for jail, status in zip(jails, statuses(jails), strict=True):
        rows[jail.name] = _row(jail, status)
        _settle(jail, store)
    return list(rows.values())


def _row(jail: Jail, status: str) -> dict[str, Any]:
    return {
        "name": jail.name,
        "level": jail.level,
        "status": status,
        "profile": jail.profile,
        "created": jail.created,
        "rootfs": jail.rootfs,
        "description": jail.description,
    }


def _settle(jail: Jail, store: Store) -> None:
    if supervision(jail) == "lost":
        try:
            remark(settle(jail.name, store, kill=False))
        except JailkitError:
            return  # Somebody uses it: the next command will do.


def _date(created: float | None) -> str:
    return "-" if created is None else moment(created)
