"""Running commands in jails that exist. Imports nothing that reads profiles, because it runs most often."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

from jailkit.backends import backend_for, prepare
from jailkit.backends.accounts import find_account
from jailkit.backends.base import ExecRequest, ExecResult, Running
from jailkit.errors import ProfileError, StateError
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


def prepare_run(name: str, store: Store) -> None:
    """Begin what an instance of its own takes, for a command that most probably will have one: `started` goes on.

    Raises:
        StateError: there is no such jail.
        BackendError: no process is to be had.
    """
    prepare(store.load(name).level)


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


def is_profile(argument: str, store: Store) -> bool:
    """Tell whether `jailkit run`'s argument names a profile: it looks like a file, or no jail has that name.

    Raises:
        StateError: it is neither a file nor a name.
    """
    if "/" in argument or argument.endswith((".yaml", ".yml")):
        return True
    if argument in store.names():
        return False
    from jailkit.profile import find_profile  # Not for every command in a jail.

    try:
        find_profile(argument)
    except ProfileError as error:
        raise StateError(
            f"cannot run in {argument}: there is neither a jail nor a shipped profile of that name",
            resolution="jailkit list, or jailkit profile list",
        ) from error
    return True
