"""Putting in order what a supervisor that was killed, or a host that went down, has left of a jail's run."""

from __future__ import annotations

import signal

from jailkit.backends import backend_for
from jailkit.lifecycle.runs import close_lost, supervision
from jailkit.store import Store, read_jail
from jailkit.text import counted


def settle(name: str, store: Store, *, kill: bool) -> list[str]:
    """Record that a run was lost, if one was, and give a line for a person that says so; else do nothing.

    With `kill` what still lives of it is ended; without, it and the record stay.

    Raises:
        StateError: there is no such jail, or commands run in it, or something could not be ended.
        BackendError: it cannot be told what lives.
    """
    if supervision(store.load(name)) != "lost":
        return []
    # Nobody else is in the jail while this has the exclusive lock, so that what lives in it is left of the run.
    with store.locked(name, exclusive=True) as directory:
        jail = read_jail(directory)
        backend = backend_for(jail.level)
        ended = []
        if backend.status(jail) != "stopped":
            left = counted(len(backend.processes(jail)), "process")
            if not kill:
                return [f"the supervisor of jail {name} was killed; {left} left: jailkit stop {name}"]
            backend.stop(jail, signal.SIGKILL, 0.0)
            ended = [f"ended what was left of it, {left}"]
        note = close_lost(jail)
    return ["; ".join([note, *ended])] if note else []
