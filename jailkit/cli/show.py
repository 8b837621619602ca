"""`jailkit show`."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import asdict

import click

from jailkit.backends import backend_for
from jailkit.cli.complete import complete_jails
from jailkit.cli.output import moment, print_json, size, store_of
from jailkit.lifecycle.verify import read_manifest
from jailkit.manifest import record_to_data
from jailkit.plan.settings import Limits
from jailkit.text import counted, printable


@click.command("show")
@click.argument("name", shell_complete=complete_jails)
@click.option("--files", is_flag=True, help="List every path too.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.pass_context
def command(ctx: click.Context, name: str, files: bool, as_json: bool) -> None:
    """Show one jail: where it is, who runs in it, what is in it, which packages that came from."""
    store = store_of(ctx)
    jail = store.load(name)
    manifest = read_manifest(jail)
    backend = backend_for(jail.level)
    pids = list(backend.processes(jail))
    gaps = [gap.key for gap in backend.gaps(jail)]
    records = list(manifest.records.values())
    total = sum(record.size for record in records)
    if as_json:
        data = asdict(jail)
        data |= {"rootfs": jail.rootfs, "paths": len(records), "bytes": total, "processes": pids}
        data |= {"packages": manifest.packages, "previous": store.has_previous(name), "gaps": gaps}
        if files:
            data["files"] = [record_to_data(record) for record in records]
        print_json(data)
        return
    runtime = jail.runtime
    lines = {
        "name": jail.name,
        "description": jail.description,
        "level": jail.level,
        "profile": f"{jail.profile} ({jail.source})",
        "created": f"{moment(jail.created)}, generation {jail.generation}",
        "rootfs": jail.rootfs,
        "content": f"{counted(len(records), 'path')}, {size(total)}, from {counted(len(manifest.packages), 'package')}",
        "user": runtime.user,
        "workdir": runtime.workdir or "the user's home",
        "command": shlex.join(runtime.command),
        "limits": ", ".join(_limits(runtime.limits)) or "none",
        "not held": ", ".join(gaps),
        "processes": ", ".join(map(str, pids)) or "none",
        "rollback": "possible" if store.has_previous(name) else "nothing to go back to",
    }
    for key, value in lines.items():
        if value:
            click.echo(f"{key:<12} {printable(value)}")
    for record in records if files else ():
        click.echo(f"{record.kind:<9} {record.mode:04o} {record.uid}:{record.gid} {printable(record.path)}")


def _limits(limits: Limits) -> Iterator[str]:
    """Write each limit with its unit."""
    for key, value in asdict(limits).items():
        name = key.replace("_", "-")
        if value is None or value == ():
            continue
        if key in ("memory", "swap", "file_size"):
            yield f"{name} {size(value)}"
        elif key == "io":
            yield f"{name} of {', '.join(limit['path'] for limit in value)}"
        else:
            yield f"{name} {value:g} s" if key == "wall_time" else f"{name} {value}"
