"""`jailkit run`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

import click

from jailkit.cli.enter import EnterCommand, EnterOptions, enter_options, execute, exit_with, make_request
from jailkit.errors import UsageError
from jailkit.lifecycle.enter import is_profile, prepare_run, started
from jailkit.store import Store

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


def complete_targets(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer jails and profiles; what that takes is imported when a shell asks."""
    from jailkit.cli.complete import complete_jails_and_profiles

    return complete_jails_and_profiles(ctx, param, incomplete)


def complete_level(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the levels, likewise."""
    from jailkit.cli.complete import complete_levels

    return complete_levels(ctx, param, incomplete)


@click.command("run", cls=EnterCommand, options_metavar="[OPTIONS]")
@click.argument("target", metavar="PROFILE|NAME", shell_complete=complete_targets)
@click.argument("words", metavar="[--] [CMD]...", nargs=-1, type=click.UNPROCESSED)
@click.option("--level", shell_complete=complete_level, help="The level of a jail that is made for this run.")
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
        from jailkit.cli.passing import run_profile  # Reading profiles costs more than to enter a jail.

        result = run_profile(target, request, store, level, accept_gaps=accept_gaps)
    elif level or accept_gaps:
        raise UsageError(
            f"cannot run in jail {target} with --level or --accept-gaps: it was made already",
            resolution="leave them out, or name a profile",
        )
    else:
        prepare_run(target, store)
        result = execute(started(target, request, store))
    exit_with(result, as_json=options["as_json"])
