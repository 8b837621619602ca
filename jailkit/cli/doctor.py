"""`jailkit doctor`: what this host can do, level by level, with the remedy for each no."""

from __future__ import annotations

from dataclasses import asdict

import click

from jailkit.cli.output import print_json
from jailkit.doctor import Check, Diagnosis, Verdict, examine


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Say what this host can do, level by level, by trying it.

    Every no comes with what was seen and what to do about it. Nothing that stays is changed. The exit code
    is 0 when the default level, chroot, works here, else 1.
    """
    diagnosis = examine(ctx.obj)
    if as_json:
        print_json(as_data(diagnosis))
    else:
        click.echo(as_text(diagnosis))
    ctx.exit(0 if diagnosis.works else 1)


def as_data(diagnosis: Diagnosis) -> dict[str, object]:
    """Give plain data for JSON."""
    return {
        "home": diagnosis.home,
        "works": diagnosis.works,
        "checks": [asdict(check) for check in diagnosis.checks],
        "levels": [verdict_data(verdict) for verdict in diagnosis.verdicts],
    }


def verdict_data(verdict: Verdict) -> dict[str, object]:
    """Give a level and what became of it as plain data for JSON."""
    outcome = {"works": verdict.works, "lacks": list(verdict.lacks), "reason": verdict.reason}
    return asdict(verdict.level) | outcome


def as_text(diagnosis: Diagnosis) -> str:
    """Give the answers for people: one line each, and a second one for the remedy of a no."""
    lines = ["This host"]
    for check in diagnosis.checks:
        lines += check_lines(check)
    lines += ["", "Levels"]
    lines += [answer(verdict.works, verdict.level.name, verdict.reason) for verdict in diagnosis.verdicts]
    return "\n".join(lines)


def check_lines(check: Check) -> list[str]:
    """Give the lines of one check."""
    lines = [answer(check.works, check.name, check.evidence)]
    if not check.works:
        lines[0] += f" (needed by {', '.join(check.needed_by)})" if check.needed_by else " (no level needs it)"
    if check.remedy:
        lines.append(f"{'':28}try: {check.remedy}")
    return lines


def answer(works: bool, name: str, evidence: str) -> str:
    """Give one line: yes or no, a name and what was seen."""
    word = click.style("yes", fg="green") if works else click.style(" no", fg="red")
    return f"  {word}  {name:20} {evidence}"
