"""`jailkit create`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict

import click

from jailkit.backends.base import Gap
from jailkit.cli.complete import complete_levels, complete_profiles
from jailkit.cli.output import print_json, progress, size, store_of, warn
from jailkit.lifecycle.create import Order, check_gaps, create, order
from jailkit.lifecycle.place import hindrances
from jailkit.manifest import Record
from jailkit.plan.model import Because, Copy, Device, Directory, Entry, Plan, Reason, Symlink
from jailkit.store import Jail
from jailkit.text import counted, printable


@click.command("create")
@click.argument("profile", shell_complete=complete_profiles)
@click.option("--name", help="The jail's name.  [default: the profile's name]")
@click.option("--level", shell_complete=complete_levels, help="The level of isolation, over the profile's own.")
@click.option("--dry-run", is_flag=True, help="Print the plan and make nothing; needs no root.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("--accept-gaps", is_flag=True, help="Make it even if settings of the profile would not hold.")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")
@click.pass_context
def command(
    ctx: click.Context,
    profile: str,
    name: str | None,
    level: str | None,
    dry_run: bool,
    as_json: bool,
    accept_gaps: bool,
    quiet: bool,
) -> None:
    """Make a jail from PROFILE, a YAML file or the name of a shipped profile.

    Everything that the jail needs is looked up on this host first; if something is missing, nothing is made.
    """
    started = time.perf_counter()
    store = store_of(ctx)
    store.sweep()
    wanted = order(profile, level)
    if dry_run:
        show_plan(wanted.plan, check_gaps(wanted.plan, accept=True), as_json=as_json)
        return
    with progress("creating", len(wanted.plan.entries), quiet=quiet or as_json) as step:
        records: list[Record] = []

        def note(record: Record) -> None:
            records.append(record)
            step(record)

        jail = create(wanted, store, name=name, accept_gaps=accept_gaps, progress=note)
    if as_json:
        print_json(created(jail, wanted, records))
    elif not quiet:
        report(jail, wanted, records, time.perf_counter() - started)


def created(jail: Jail, wanted: Order, records: Sequence[Record]) -> dict[str, object]:
    """Describe a new jail for programs."""
    return {
        "name": jail.name,
        "level": jail.level,
        "profile": jail.source,
        "rootfs": jail.rootfs,
        "paths": len(records),
        "bytes": sum(record.size for record in records),
        "omissions": [asdict(omission) for omission in wanted.plan.omissions],
        "gaps": [asdict(gap) for gap in check_gaps(wanted.plan, accept=True)],
        "hindrances": list(hindrances(jail.rootfs)),
    }


def report(jail: Jail, wanted: Order, records: Sequence[Record], seconds: float) -> None:
    """Tell a person what was made, and what was not."""
    warn(wanted.plan.omissions, check_gaps(wanted.plan, accept=True), hindrances(jail.rootfs))
    files = sum(record.kind == "file" for record in records)
    total = size(sum(record.size for record in records))
    click.echo(f"created jail {jail.name} at level {jail.level}: {files} files, {total}, in {seconds:.2f} s")


def show_plan(plan: Plan, gaps: Sequence[Gap], *, as_json: bool) -> None:
    """Print what create would do."""
    if as_json:
        entries = [{"type": kind(entry), **asdict(entry)} for entry in plan.entries]
        print_json({**asdict(plan), "entries": entries, "gaps": [asdict(gap) for gap in gaps]})
        return
    for entry in plan.entries:
        click.echo(printable(_line(entry)))
    warn(plan.omissions, gaps)
    click.echo(f"a jail at level {plan.level} would have {counted(len(plan.entries), 'path')}; nothing was made")


def kind(entry: Entry) -> str:
    """Name the type of an entry."""
    return type(entry).__name__.lower()


def _line(entry: Entry) -> str:
    match entry:
        case Symlink():
            what = f"{entry.path} -> {entry.target}"
        case Copy() if entry.source != entry.path:
            what = f"{entry.path} <- {entry.source}"
        case Directory() | Copy() | Device() | _:
            what = entry.path
    mode = "----" if isinstance(entry, Symlink) else f"{entry.mode:04o}"
    return f"{kind(entry):<9} {mode} {what}  ({_why(entry.reason)})"


def _why(reason: Reason) -> str:
    key = "every jail" if reason.key == "base" else reason.key
    return f"{key}; {_RELATIONS[reason.because]} {reason.via}" if reason.via else key


# How an entry with a `via` belongs to it.
_RELATIONS: dict[Because, str] = {
    "parent": "on the way to",
    "link": "target of",
    "library": "library of",
    "variant": "variant of",
    "interpreter": "loader of",
    "script-interpreter": "interpreter of",
    "tree": "below",
}
