"""`jailkit completion`: the shells' completion scripts."""

from __future__ import annotations

import click
from click.shell_completion import ShellComplete, get_completion_class

from jailkit.errors import UsageError

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the script that completes commands, options, jails, profiles and levels in SHELL.

    \b
    bash: jailkit completion bash > /etc/bash_completion.d/jailkit
    zsh:  jailkit completion zsh > /usr/local/share/zsh/site-functions/_jailkit
    fish: jailkit completion fish > ~/.config/fish/completions/jailkit.fish
    """  # noqa: D301 - click wants the backspace itself, to leave the lines below it alone
    kind = get_completion_class(shell)
    if kind is None:
        raise UsageError(f"cannot complete in {shell}: this version of click does not know it")
    # The base class's source: bash's own would start a bash just to learn its version.
    script = ShellComplete.source(kind(ctx.find_root().command, {}, "jailkit", "_JAILKIT_COMPLETE"))
    click.echo(script)
