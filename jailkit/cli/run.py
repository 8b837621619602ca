"""`jailkit run`."""

from __future__ import annotations

import contextlib
from typing import Unpack

import click

from jailkit.backends.base import ExecRequest, ExecResult
from jailkit.cli.complete import complete_jails_and_profiles, complete_levels
from jailkit.cli.enter import EnterCommand, EnterOptions, enter_options, execute, exit_with, make_request
from jailkit.cli.output import progress, warn
from jailkit.errors import UsageError
from jailkit.lifecycle.create import Order, accept, check_gaps, is_profile, order, temporary
from jailkit.lifecycle.enter import started, started_in
from jailkit.lifecycle.place import hindrances
from jailkit.store import Store


@click.command("run", cls=EnterCommand, options_metavar="[OPTIONS]")
@click.argument("target", metavar="PROFILE|NAME", shell_complete=complete_jails_and_profiles)
@click.argument("words", metavar="[--] [CMD]...", nargs=-1, type=click.UNPROCESSED)
@click.option("--level", shell_complete=complete_levels, help="The level of a jail that is made for this run.")
@click.option("--accept-gaps", is_flag=True, help="Make it even if settings of the profile would not hold.")
@enter_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    target: str,
    words: tuple[str, ...],
    level: str | None,
    accept_gaps: bool,
    **options: Unpack[EnterOptions],
) -> None:
    """Run CMD in the jail NAME, or in one made from PROFILE for this and destroyed after.

    Without CMD it is the command of the profile. An argument with a slash or ending in .yaml is a profile's file; else
    a jail of that name is meant, and if there is none, a shipped profile. Exit codes are those of `jailkit exec`.
    """
    store = Store(ctx.find_root().obj)
    request = make_request(words, options)
    if is_profile(target, store):
        store.sweep()
        result = run_profile(accept(order(target, level), all_gaps=accept_gaps), request, store)
    elif level or accept_gaps:
        raise UsageError(
            f"cannot run in jail {target} with --level or --accept-gaps: it was made already",
            resolution="leave them out, or name a profile",
        )
    else:
        result = execute(started(target, request, store))
    exit_with(result, as_json=options["as_json"])


def run_profile(wanted: Order, request: ExecRequest, store: Store) -> ExecResult:
    """Make a jail, run the command in it and destroy the jail, whatever happened."""
    with contextlib.ExitStack() as stack:
        with progress("creating", len(wanted.plan.entries), quiet=False) as step:
            jail = stack.enter_context(temporary(wanted, store, progress=step))
        warn(wanted.plan.omissions, check_gaps(wanted.plan, accept=True), hindrances(jail.rootfs))
        return execute(started_in(jail, request))
