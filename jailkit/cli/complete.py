"""What a shell offers for the words of a command line. Never an error: a prompt is no place for one."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from jailkit.errors import JailkitError
from jailkit.levels import LADDER
from jailkit.profile.find import shipped_profiles
from jailkit.store import Store

if TYPE_CHECKING:
    Items = list[CompletionItem[str]]  # Generic since click 8.2 only, and here 8.1 will do.


def complete_jails(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Offer the names of the jails, except those that the line has already."""
    given = ctx.params.get(param.name or "")
    return _items(_jails(ctx, given if isinstance(given, tuple) else ()), incomplete)


def complete_profiles(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> Items:
    """Offer the shipped profiles, and files where no shipped profile begins so."""
    return _items(_profiles(), incomplete) or _files(incomplete)


def complete_jails_and_profiles(ctx: click.Context, _param: click.Parameter, incomplete: str) -> Items:
    """Offer the jails and the shipped profiles, else files."""
    return _items([*_jails(ctx), *_profiles()], incomplete) or _files(incomplete)


def complete_levels(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> Items:
    """Offer the levels that this version can create jails at."""
    return [
        CompletionItem(level.name, help=level.summary)
        for level in LADDER
        if level.available and level.name.startswith(incomplete)
    ]


def _items(names: Iterable[str], incomplete: str) -> Items:
    return [CompletionItem(name) for name in dict.fromkeys(names) if name.startswith(incomplete)]


def _files(incomplete: str) -> Items:
    return [CompletionItem(incomplete, type="file")]


def _jails(ctx: click.Context, given: tuple[str, ...] = ()) -> list[str]:
    # While a line is completed no command runs, so the group's own has not put --home into ctx.obj.
    try:
        names = Store(ctx.find_root().params.get("home")).names()
    except (JailkitError, OSError):
        return []
    return [name for name in names if name not in given]


def _profiles() -> list[str]:
    try:
        return [os.path.basename(path).removesuffix(".yaml") for path in shipped_profiles()]
    except OSError:
        return []
