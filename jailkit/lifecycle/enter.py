"""Running commands in jails that exist. Imports nothing that reads profiles, because it runs most often."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

from jailkit.backends import backend_for
from jailkit.backends.accounts import find_account
from jailkit.backends.base import ExecRequest, ExecResult, Running
from jailkit.store import Jail, Store, read_jail


def run(name: str, request: ExecRequest, store: Store) -> ExecResult:
    """Run one command in a jail and wait for it; the jail can be neither updated nor destroyed meanwhile.

    The profile's `limits.wall-time` is an upper bound of the request's time-out.

    Raises:
        StateError: there is no such jail, or another command is changing it.
        BackendError: the jail could not be entered.
    """
    with started(name, request, store) as running:
        return running.wait()


@contextlib.contextmanager
def started(name: str, request: ExecRequest, store: Store) -> Iterator[Running]:
    """Start one command in a jail, for a caller that passes signals on while it waits; else as `run`.

    Raises:
        StateError, BackendError: as `run`.
    """
    with store.locked(name, exclusive=False) as directory, started_in(read_jail(directory), request) as running:
        yield running


@contextlib.contextmanager
def started_in(jail: Jail, request: ExecRequest) -> Iterator[Running]:
    """Start one command in a jail that the caller keeps from changing.

    Raises:
        BackendError: it could not be entered.
    """
    yield backend_for(jail.level).spawn(jail, bounded(request, jail.runtime.limits.wall_time))


def shell_of(name: str, user: str | None, store: Store) -> str:
    """Give the path of the shell of a user of a jail, None being the jail's own user.

    Raises:
        StateError: there is no such jail.
        UsageError: it has no such user.
    """
    return find_account(store.load(name), user).shell


def bounded(request: ExecRequest, wall_time: float | None) -> ExecRequest:
    """Shorten a request's time-out to the jail's own limit."""
    bounds = [bound for bound in (request.timeout, wall_time) if bound is not None]
    return replace(request, timeout=min(bounds)) if bounds else request
