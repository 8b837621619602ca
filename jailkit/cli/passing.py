"""A jail for one command: made from a profile, and destroyed after."""

from __future__ import annotations

import contextlib

from jailkit.backends.base import ExecRequest, ExecResult
from jailkit.cli.enter import execute
from jailkit.cli.output import progress, warn
from jailkit.lifecycle.create import accept, check_gaps, order, temporary
from jailkit.lifecycle.enter import started_in
from jailkit.lifecycle.place import hindrances
from jailkit.store import Store


def run_profile(
    profile: str, request: ExecRequest, store: Store, level: str | None, *, accept_gaps: bool
) -> ExecResult:
    """Make a jail, run the command in it and destroy the jail, whatever happened."""
    store.sweep()
    wanted = accept(order(profile, level), all_gaps=accept_gaps)
    with contextlib.ExitStack() as stack:
        with progress("creating", len(wanted.plan.entries), quiet=False) as step:
            jail = stack.enter_context(temporary(wanted, store, progress=step))
        warn(wanted.plan.omissions, check_gaps(wanted.plan, accept=True), hindrances(jail.rootfs))
        return execute(started_in(jail, request))
