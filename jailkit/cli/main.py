"""The `jailkit` command: a group that imports a command's module only when that command is called."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

import click

from jailkit.errors import JailkitError
from jailkit.text import printable

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

# name -> (module, short help); the help is here so that `jailkit --help` imports none of them.
COMMANDS: dict[str, tuple[str, str]] = {
    "create": ("jailkit.cli.create", "Make a jail from a profile."),
    "exec": ("jailkit.cli.exec", "Run a command in a jail."),
    "run": ("jailkit.cli.run", "Run a command in a jail, or in one made for it and destroyed after."),
    "shell": ("jailkit.cli.shell", "Open an interactive shell in a jail."),
    "start": ("jailkit.cli.start", "Start jails: the command of the profile, in the background."),
    "stop": ("jailkit.cli.stop", "Stop jails, by a signal first."),
    "freeze": ("jailkit.cli.freeze", "Keep everything in running jails from going on."),
    "unfreeze": ("jailkit.cli.unfreeze", "Let everything in frozen jails go on."),
    "logs": ("jailkit.cli.logs", "Print what the command of a started jail wrote."),
    "stats": ("jailkit.cli.stats", "Show what jails use."),
    "list": ("jailkit.cli.list", "List the jails."),
    "show": ("jailkit.cli.show", "Show one jail."),
    "explain": ("jailkit.cli.explain", "Say why a path is in a jail."),
    "verify": ("jailkit.cli.verify", "Check a jail against its manifest, the host and its smoke commands."),
    "update": ("jailkit.cli.update", "Rebuild a jail from its profile and the host as they are now."),
    "destroy": ("jailkit.cli.destroy", "Delete jails."),
    "deps": ("jailkit.cli.deps", "List the libraries that the loader would load for a file."),
    "profile": ("jailkit.cli.profile", "Validate, list and describe profiles."),
    "doctor": ("jailkit.cli.doctor", "Say what this host can do, level by level."),
    "levels": ("jailkit.cli.levels", "Show the ladder of isolation levels."),
    "completion": ("jailkit.cli.completion", "Print the shell completion for bash, zsh or fish."),
}


class LazyGroup(click.Group):
    """A group whose commands are modules with a `command` each, imported on first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Give the names in the order of the table, which is the order of a jail's life."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's
        """Import the module of one command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[cmd_name][0]).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Suggest the command that was probably meant."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches

            near = get_close_matches(args[0], COMMANDS, n=1)
            if not near:
                raise
            raise click.UsageError(f"No such command '{args[0]}'. Did you mean '{near[0]}'?", ctx) from error

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """Offer commands from the table and the group's own options, without importing a command."""
        from click.shell_completion import CompletionItem

        commands = [CompletionItem(name, help=text) for name, (_, text) in COMMANDS.items()]
        return [item for item in commands if item.value.startswith(incomplete)] + click.Command.shell_complete(
            self, ctx, incomplete
        )

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        """Write the table of commands from the short helps, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--home",
    metavar="DIR",
    envvar="JAILKIT_HOME",
    help="Where jails live. [default: /var/lib/jailkit for root, else the user's data directory]",
)
@click.version_option(package_name="jailkit", message="jailkit %(version)s")
@click.pass_context
def cli(ctx: click.Context, home: str | None) -> None:
    """Make jails from YAML profiles, run commands in them, and learn how far they isolate."""
    ctx.obj = home


def report(error: JailkitError) -> None:
    """Print what failed, why, and what to do about it, to standard error."""
    complain(str(error))


def complain(message: str) -> None:
    """Print a message of one line or more to standard error; names in it may come from inside a jail."""
    lines = f"jailkit: {message}".split("\n")
    click.echo("\n".join(printable(line) for line in lines), err=True)


def main() -> NoReturn:
    """Run the command line and end the process with its exit code."""
    code = run()
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # Python starts without those that were closed.
                stream.flush()
    except OSError as error:
        code = 141 if isinstance(error, BrokenPipeError) else code or 1
    # All that Python does besides is to take its modules apart: a sixth of what `jailkit exec` costs in all.
    os._exit(code)


def run() -> int:
    """Run the command line and give its exit code. The only place where an exception becomes text and a code."""
    try:
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
            signal.signal(signal.SIGINT, signal.default_int_handler)  # From now on it is caught below.
        return cli.main(standalone_mode=False) or 0
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0
    except JailkitError as error:
        report(error)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("jailkit: interrupted", err=True)
        return 130
    except BrokenPipeError:
        return 141  # The reader went away.
    except OSError as error:
        if error.filename is not None:
            raise
        complain(f"cannot write the output: {error.strerror}")
        return 1
