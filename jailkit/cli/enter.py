"""What the commands that enter a jail share: options, signals, exit codes."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from types import FrameType, TracebackType
from typing import Any, Final, TypedDict, TypeVar

import click

from jailkit.backends.base import ExecRequest, ExecResult, Running
from jailkit.cli.main import complain, report
from jailkit.errors import JailkitError
from jailkit.linux.fork import pipe
from jailkit.linux.process import adopt_orphans, children, kill_descendants
from jailkit.linux.wait import Signals

OWN_FAILURE: Final = 125
_FORWARDED: Final = (
    signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCONT,
    signal.SIGTSTP, signal.SIGWINCH, signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF, signal.SIGIO, signal.SIGPWR,
)  # fmt: skip

_LIMITS: Final[dict[str, str]] = {
    "out-of-memory": "the jail ran out of memory: limits.memory was reached",
    "pids-limit": "the jail could make no more processes: limits.pids was reached",
}

_Function = TypeVar("_Function", bound=Callable[..., Any])


class EnterCommand(click.Command):
    """A command `NAME [OPTIONS] [--] [WORD]...`: what follows the first word after NAME belongs to the words.

    Whatever fails on jailkit's side, a wrong option included, ends with exit code 125.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Bring the options to the front, where click ends them at the first word."""
        valued = {
            spelling
            for param in self.get_params(ctx)
            if isinstance(param, click.Option) and not param.is_flag
            for spelling in param.opts
        }
        try:
            before, rest = split_options(args, valued)
            after, words = split_options(rest[1:], valued)
        except click.UsageError:
            if not ctx.resilient_parsing:
                raise
            return super().parse_args(ctx, args)  # A shell asks what could complete the line.
        return super().parse_args(ctx, [*before, *after, "--", *rest[:1], *words])

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,  # noqa: ANN401 - click's signature
    ) -> click.Context:
        """Parse the command line."""
        with failing_as_125():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's signature
        """Run the command."""
        with failing_as_125():
            return super().invoke(ctx)


def split_options(args: Sequence[str], valued: Collection[str]) -> tuple[list[str], list[str]]:
    """Part the options that `args` begins with from what follows them; an `--` between is dropped.

    `valued` are the spellings of the options that take the next argument as their value.
    """
    position = 0
    while position < len(args) and args[position].startswith("-") and args[position] not in ("-", "--"):
        position += 2 if args[position] in valued else 1
    if position > len(args):
        raise click.BadOptionUsage(args[-1], f"Option {args[-1]!r} requires an argument.")
    options, rest = list(args[:position]), list(args[position:])
    return options, rest[1:] if rest[:1] == ["--"] else rest


def environment_option(function: _Function) -> _Function:
    """Add --env."""
    return click.option(
        "-e",
        "--env",
        metavar="NAME=VALUE",
        multiple=True,
        callback=_variables,
        help="Set a variable; NAME alone passes the caller's on. Can be repeated.",
    )(function)


def ephemeral_option(function: _Function) -> _Function:
    """Add --ephemeral."""
    return click.option(
        "--ephemeral",
        is_flag=True,
        help="In an instance of its own whose changes of files vanish, those of volumes and mounts too.",
    )(function)


def enter_options(function: _Function) -> _Function:
    """Add the options of every command that runs one in a jail."""
    options = (
        click.option("-u", "--user", metavar="USER", help="Run as this name or uid of the jail."),
        environment_option,
        click.option("-w", "--workdir", metavar="DIR", help="Start in this directory of the jail."),
        click.option(
            "--timeout",
            metavar="TIME",
            callback=duration_of,
            help="Kill the command and all that it started after 30s, 5m, 1h30m.",
        ),
        ephemeral_option,
        click.option(
            "--json",
            "as_json",
            is_flag=True,
            help="Print the result as JSON, the output in it; the command reads nothing.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def _variables(_ctx: click.Context, _param: click.Parameter, values: Sequence[str]) -> list[tuple[str, str]]:
    return [_variable(value) for value in values]


def _variable(value: str) -> tuple[str, str]:
    name, separator, text = value.partition("=")
    if not name:
        raise click.BadParameter(f"expected NAME=VALUE, got {value!r}")
    if not separator and name not in os.environ:
        raise click.BadParameter(f"{name} is not set here, so there is no value to pass on")
    return name, text if separator else os.environ[name]


def duration_of(_ctx: click.Context, _param: click.Parameter, value: str | None) -> float | None:
    """Read an option such as 30s or 5m as seconds."""
    if value is None:
        return None
    from jailkit.profile.units import parse_duration

    try:
        return parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def complete_jails(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
    """Offer the jails; what that takes is imported when a shell asks."""
    from jailkit.cli import complete

    return complete.complete_jails(ctx, param, incomplete)


class EnterOptions(TypedDict):
    """What the options of `enter_options` give."""

    user: str | None
    env: list[tuple[str, str]]
    workdir: str | None
    timeout: float | None
    ephemeral: bool
    as_json: bool


def make_request(words: Sequence[str], options: EnterOptions) -> ExecRequest:
    """Give the request of a command line; `options` are those of `enter_options`."""
    return ExecRequest(
        tuple(words),
        user=options["user"],
        environment=tuple(options["env"]),
        workdir=options["workdir"],
        timeout=options["timeout"],
        capture=options["as_json"],
        ephemeral=options["ephemeral"],
    )


@contextlib.contextmanager
def failing_as_125() -> Iterator[None]:
    """Turn failures of jailkit itself into exit code 125, which no command of a jail means by accident (env(1))."""
    try:
        yield
    except JailkitError as error:
        report(error)
        raise SystemExit(OWN_FAILURE) from error
    except click.ClickException as error:
        error.show()
        raise SystemExit(OWN_FAILURE) from error


def execute(starting: AbstractContextManager[Running]) -> ExecResult:
    """Start a command in a jail, wait for it, and pass the signals on that come meanwhile."""
    # A caller that ignores SIGCHLD would make the kernel throw the exit status away (wait(2), NOTES).
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # So that a time-out also ends daemons, which are children of nothing in the jail. Without a time-out that would
    # only gather zombies. What a shell started before it became this program is none of the jail's.
    strangers = _children_now()
    adopt_orphans(True)
    with Forwarding() as forwarding, starting as running:
        adopt_orphans(running.timeout is not None)
        result = running.wait(forwarding.to(running))
        if result.reason == "timeout" and not kill_descendants(strangers):
            complain("cannot end all that the command started\n  Try: jailkit destroy --force ends what runs in a jail")
        return result


def _children_now() -> list[int]:
    try:
        return children()
    except FileNotFoundError:  # No /proc here.
        return []


class Forwarding:
    """Keeps the signals that this process gets for a command in a jail, those too that come before it is started.

    A handler in Python runs between two of its instructions only, so that a signal which comes just before poll(2)
    would wait as long as that does. The byte that signal.set_wakeup_fd writes at once ends any poll(2).

    A signal that was ignored stays ignored: nohup(1) means the command too.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Forwarding:
        self._read, self._write = pipe()
        os.set_blocking(self._write, False)
        self._wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in _FORWARDED:
            if signal.getsignal(number) != signal.SIG_IGN:
                self._before[number] = signal.signal(number, _note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        os.close(self._read)
        os.close(self._write)

    def to(self, running: Running) -> Signals:
        """Give what passes all of them on to a command, for its `wait`."""

        def forward(number: int) -> None:
            if number in self._before:
                _forward(running, number)

        return Signals(os.dup(self._read), forward)


def _note(number: int, frame: FrameType | None) -> None:
    """Do nothing: that there is a handler makes the signal's number come out of the pipe."""


def _forward(running: Running, number: int) -> None:
    if number == signal.SIGTSTP:
        # The command's group has no parent in its session, so that SIGTSTP would do nothing to it
        # (setpgid(2), orphaned process groups).
        running.send(signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)
    else:
        running.send(number)


def exit_with(result: ExecResult, *, as_json: bool) -> None:
    """Tell how a command ended, and end with its exit code."""
    if as_json:
        import json

        click.echo(json.dumps(result.as_dict(), indent=2))
    elif result.message:
        complain(result.message)
    elif result.reason == "timeout":
        complain(f"the command was killed after {result.wall_time:.1f} s, its time-out")
    elif result.reason in _LIMITS and not result.ok:
        complain(_LIMITS[result.reason])
    sys.exit(result.shell_code)
