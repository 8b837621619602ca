"""Stopping jails, freezing them, and asking how they are."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final, NamedTuple

from jailkit.backends import backend_for
from jailkit.backends.base import Backend, Status
from jailkit.errors import BackendError, StateError
from jailkit.levels import LEVELS
from jailkit.lifecycle.runs import PATIENCE, await_end, close_lost, in_turn, supervision
from jailkit.linux.figures import Stats
from jailkit.store import Jail, Store, read_jail

_ROUND: Final = 1.0  # seconds for a supervisor to end once nothing runs


class Stopped(NamedTuple):
    """What `stop` found: how the jail was, and a line for each thing that was not in order."""

    before: Status
    notes: list[str]


def stop(name: str, store: Store, *, number: int | None = None, timeout: float | None = None) -> Stopped:
    """Signal what runs in a jail, kill what is left after a while, and take the instance down. No error when stopped.

    `number` is the signal, and `timeout` the seconds until what is left is killed; None takes the profile's.

    Raises:
        StateError: there is no such jail, another command is changing it, or something could not be ended.
        BackendError: the supervisor of its command does not end.
    """
    with _one_at_a_time(name, store) as (jail, backend):
        runtime = jail.runtime
        before = backend.status(jail)
        end(
            jail,
            runtime.stop_signal if number is None else number,
            runtime.stop_timeout if timeout is None else timeout,
        )
        note = close_lost(jail)
        return Stopped(before, [note] if note else [])


def end(jail: Jail, number: int, timeout: float) -> None:
    """End what runs in a jail and its supervisor.

    Raises:
        StateError, BackendError: as `stop`.
    """
    backend = backend_for(jail.level)
    for _ in range(round(PATIENCE / _ROUND)):
        backend.stop(jail, number, timeout)
        # One whose caller was killed may start the command only now: so once more.
        if await_end(jail, _ROUND):
            return
    raise BackendError(f"cannot stop jail {jail.name}: the supervisor of its command does not end")


def freeze(name: str, store: Store) -> None:
    """Keep everything in a running jail from going on, until `unfreeze`. No error when it is frozen.

    Raises:
        StateError: there is no such jail, it does not run, or its level cannot.
        BackendError: the kernel did not.
    """
    with _one_at_a_time(name, store) as (jail, backend):
        _check_running(jail, backend, "freeze")
        backend.freeze(jail)


def unfreeze(name: str, store: Store) -> None:
    """Let everything in a frozen jail go on. No error when it is not frozen.

    Raises:
        StateError, BackendError: as `freeze`.
    """
    with _one_at_a_time(name, store) as (jail, backend):
        _check_running(jail, backend, "unfreeze")
        backend.unfreeze(jail)


def status(name: str, store: Store) -> Status:
    """Ask the kernel whether a jail runs.

    Raises:
        StateError: there is no such jail.
        BackendError: it cannot be told.
    """
    jail = store.load(name)
    return backend_for(jail.level).status(jail)


def stats(name: str, store: Store) -> Stats:
    """Read what a jail uses.

    Raises:
        StateError: there is no such jail.
        BackendError: it cannot be read.
    """
    jail = store.load(name)
    return backend_for(jail.level).stats(jail)


def refuse_supervised(name: str, store: Store, verb: str) -> None:
    """Refuse to change a jail whose command runs; `verb` is the command that would stop it with --force.

    The lock that its supervisor has on it would do so too, but without telling why.

    Raises:
        StateError: it does.
    """
    try:
        supervised = supervision(store.load(name)) == "supervised"
    except StateError:
        return  # There is none, or its record is damaged: others say so.
    if supervised:
        raise running(name, verb)


def running(name: str, verb: str) -> StateError:
    """Give the error for a jail that runs and must not, with `verb` as in `refuse_supervised`."""
    return StateError(
        f"cannot {verb} jail {name}: it is running",
        resolution=f"jailkit stop {name}, or jailkit {verb} --force {name}",
    )


def _check_running(jail: Jail, backend: Backend, verb: str) -> None:
    # A level without namespaces cannot freeze even what runs: that is then the better answer.
    if LEVELS[jail.level].mount_namespace and backend.status(jail) == "stopped":
        raise StateError(f"cannot {verb} jail {jail.name}: it is not running", resolution=f"jailkit start {jail.name}")


@contextlib.contextmanager
def _one_at_a_time(name: str, store: Store) -> Iterator[tuple[Jail, Backend]]:
    """Keep a jail from being changed, started or stopped by others."""
    with store.locked(name, exclusive=False) as directory:
        jail = read_jail(directory)
        with in_turn(jail):
            yield jail, backend_for(jail.level)
