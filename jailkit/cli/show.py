"""`jailkit show`."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict

import click

from jailkit.backends import backend_for
from jailkit.cli.complete import complete_jails
from jailkit.cli.output import moment, print_json, size, store_of
from jailkit.levels import LEVELS
from jailkit.lifecycle.runs import LastRun, read_last
from jailkit.lifecycle.verify import read_manifest
from jailkit.manifest import Manifest, record_to_data
from jailkit.plan.settings import Limits
from jailkit.store import Jail, Store
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
    if as_json:
        print_json(_data(jail, manifest, store, files=files))
        return
    for key, value in _lines(jail, manifest, store).items():
        if value:
            click.echo(f"{key:<12} {printable(value)}")
    for record in manifest.records.values() if files else ():
        click.echo(f"{record.kind:<9} {record.mode:04o} {record.uid}:{record.gid} {printable(record.path)}")


def _data(jail: Jail, manifest: Manifest, store: Store, *, files: bool) -> dict[str, object]:
    """Describe a jail for programs."""
    data: dict[str, object] = asdict(jail)
    data |= {"rootfs": jail.rootfs, "paths": len(manifest.records), "bytes": _bytes(manifest)}
    last = read_last(jail)
    data |= {"status": backend_for(jail.level).status(jail), "last_run": asdict(last) if last else None}
    data |= {"processes": _processes(jail), "packages": manifest.packages, "gaps": _gaps(jail)}
    data["previous"] = store.has_previous(jail.name)
    if files:
        data["files"] = [record_to_data(record) for record in manifest.records.values()]
    return data


def _lines(jail: Jail, manifest: Manifest, store: Store) -> dict[str, str]:
    """Describe a jail for people; what is empty goes without saying."""
    runtime, paths = jail.runtime, counted(len(manifest.records), "path")
    return {
        "name": jail.name,
        "description": jail.description,
        "level": jail.level,
        "profile": f"{jail.profile} ({jail.source})",
        "status": backend_for(jail.level).status(jail),
        "last run": _ending(read_last(jail)),
        "created": f"{moment(jail.created)}, generation {jail.generation}",
        "rootfs": f"{jail.rootfs}{'' if jail.image is None else ', shared and read-only'}",
        "volumes": ", ".join(f"{path} in {jail.volume(path)}" for path in _volumes(jail)),
        "content": f"{paths}, {size(_bytes(manifest))}, from {counted(len(manifest.packages), 'package')}",
        "user": runtime.user,
        "workdir": runtime.workdir or "the user's home",
        "command": shlex.join(runtime.command),
        "limits": ", ".join(_limits(runtime.limits)) or "none",
        "not held": ", ".join(_gaps(jail)),
        "processes": ", ".join(map(str, _processes(jail))) or "none",
        "rollback": "possible" if store.has_previous(jail.name) else "nothing to go back to",
    }


def _volumes(jail: Jail) -> Sequence[str]:
    return jail.runtime.volumes if LEVELS[jail.level].mount_namespace else ()


def _ending(last: LastRun | None) -> str:
    """Say how a run of the jail's command ended."""
    if last is None:
        return ""
    if last.ended is None:
        return f"began at {moment(last.started)}, and was lost: its supervisor was killed, or the host went down"
    why = "" if last.reason in ("exited", "signalled") else f"{last.reason}: "
    how = f"ended by signal {last.signal}" if last.signal is not None else f"exited with {last.exit_code}"
    return f"{why}{how} at {moment(last.ended)}, after {last.wall_time:.1f} s"


def _bytes(manifest: Manifest) -> int:
    return sum(record.size for record in manifest.records.values())


def _processes(jail: Jail) -> list[int]:
    return list(backend_for(jail.level).processes(jail))


def _gaps(jail: Jail) -> list[str]:
    return [gap.key for gap in backend_for(jail.level).gaps(jail)]


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
