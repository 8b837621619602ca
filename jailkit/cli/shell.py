"""`jailkit shell`."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final, NoReturn, TypedDict, Unpack

import click

from jailkit.backends.base import ExecRequest, ExecResult, Running
from jailkit.cli.enter import EnterCommand, complete_jails, environment_option, ephemeral_option, execute, exit_with
from jailkit.errors import BackendError
from jailkit.lifecycle.enter import shell_of, started
from jailkit.linux.relay import copy_all, copy_size, open_terminal, raw
from jailkit.store import Store

_STDIN: Final = 0
_STDOUT: Final = 1
_PATIENCE: Final = 2.0  # seconds; the kernel hangs the terminal up when its session's leader ends, so none are needed


class ShellOptions(TypedDict):
    """What the options of the command give."""

    user: str | None
    env: list[tuple[str, str]]
    workdir: str | None
    ephemeral: bool


@click.command(cls=EnterCommand)
@click.argument("name", shell_complete=complete_jails)
@click.option("-u", "--user", metavar="USER", help="Whose shell, by name or uid of the jail.")
@environment_option
@click.option("-w", "--workdir", metavar="DIR", help="Start in this directory of the jail.")
@ephemeral_option
@click.pass_context
def command(ctx: click.Context, /, name: str, **options: Unpack[ShellOptions]) -> None:
    """Open the shell of the user of the jail NAME, with a terminal of its own.

    Job control, Ctrl-C and the size of the window work inside as outside. When standard input is no terminal,
    the shell reads its commands from there. The exit code is the shell's.
    """
    store = Store(ctx.find_root().obj)
    user = options["user"]
    request = ExecRequest(
        (shell_of(name, user, store),),
        user=user,
        environment=tuple(options["env"]),
        workdir=options["workdir"],
        ephemeral=options["ephemeral"],
    )
    by_hand = os.isatty(_STDIN)
    result = interact(name, request, store) if by_hand else execute(started(name, request, store))
    exit_with(result, as_json=False)


def interact(name: str, request: ExecRequest, store: Store) -> ExecResult:
    """Run a shell on a terminal made for it, and relay between that and ours until it ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        master, slave = open_terminal(_STDIN)
    except OSError as error:
        raise BackendError(f"cannot open a terminal for jail {name}: {error.strerror}") from error
    with raw(_STDIN), _signals(master), started(name, replace(request, terminal=slave), store) as running:
        os.close(slave)  # The command has it now; while anybody had it, the end of the shell would not be seen.
        output = _relay(running, master)
        result = running.wait()
        output.join(_PATIENCE)
        return result


def _relay(running: Running, master: int) -> threading.Thread:
    """Copy both ways, each in a thread of its own, so that neither direction ever waits for the other."""

    def show() -> None:
        if not copy_all(master, _STDOUT):
            running.send(signal.SIGHUP)  # Nobody sees the output any more.

    threading.Thread(target=copy_all, args=(_STDIN, master), daemon=True).start()
    output = threading.Thread(target=show, daemon=True)
    output.start()
    return output


@contextlib.contextmanager
def _signals(master: int) -> Iterator[None]:
    """Follow the window's size, and turn what would end us at once into an end that restores the terminal."""

    def resize(*_: Any) -> None:  # noqa: ANN401 - signal's arguments
        with contextlib.suppress(OSError):
            copy_size(_STDIN, master)

    before = {signal.SIGWINCH: signal.signal(signal.SIGWINCH, resize)}
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        before[number] = signal.signal(number, _leave)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(number: int, _frame: object) -> NoReturn:
    sys.exit(128 + number)
