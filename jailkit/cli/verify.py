"""`jailkit verify`."""

from __future__ import annotations

from dataclasses import asdict

import click

from jailkit.cli.complete import complete_jails
from jailkit.cli.output import print_json, store_of
from jailkit.lifecycle.verify import Verification, verify
from jailkit.text import counted, printable


@click.command("verify")
@click.argument("name", shell_complete=complete_jails)
@click.option("--no-smoke", is_flag=True, help="Do not run the profile's smoke commands.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.pass_context
def command(ctx: click.Context, name: str, no_smoke: bool, as_json: bool) -> None:
    """Check the jail NAME. Exit code 1 when anything was found.

    Every path against the manifest, every program against the loader inside the jail, every copied file against the
    host, and the profile's smoke commands.
    """
    result = verify(name, store_of(ctx), smoke=not no_smoke)
    if as_json:
        print_json({**asdict(result), "ok": result.ok})
    else:
        report(result)
    ctx.exit(0 if result.ok else 1)


def report(result: Verification) -> None:
    """Print findings, one a line, and a last line that sums up."""
    for finding in result.findings:
        package = f" [package {finding.package}]" if finding.package else ""
        click.echo(printable(f"{finding.check}: {finding.path}: {finding.message}{package}"))
    if result.notes:
        left = f"{counted(len(result.notes), 'path')} where the jail's user may write"
        click.echo(f"note: {left}, added since the jail was made, not checked", err=True)
    verdict = "nothing found" if result.ok else counted(len(result.findings), "finding")
    checked = f"{counted(result.paths, 'path')}, {counted(result.smoke, 'smoke command')}"
    click.echo(f"verified jail {result.name}: {checked}: {verdict}")
    if any(finding.check != "mount" for finding in result.findings):
        click.echo(
            f"  Try: jailkit update {result.name}, which rebuilds it from its profile and this host; "
            "what is extra stays, delete it by hand",
            err=True,
        )
