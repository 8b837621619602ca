"""`jailkit explain`."""

from __future__ import annotations

from posixpath import normpath

import click

from jailkit.cli.complete import complete_jails
from jailkit.cli.output import print_json, store_of
from jailkit.errors import StateError
from jailkit.lifecycle.verify import read_manifest
from jailkit.manifest import Manifest, Record, record_to_data
from jailkit.plan.tidy import canonical
from jailkit.store import Jail
from jailkit.text import printable

_BECAUSE = {
    "named": "named by the profile under {key}",
    "base": "every jail has it",
    "parent": "on the way to {via}",
    "link": "the target of the link {via}",
    "library": "a library that {via} needs",
    "variant": "what the loader takes instead of {via} on another processor",
    "interpreter": "the dynamic loader of {via}",
    "script-interpreter": "the interpreter of the script {via}",
    "package": "a file of the package named under {key}",
    "tree": "below {via}, a directory that the profile copies whole",
    "hidden": "every jail has it, since the C library or the loader reads it",
    "account": "the home of the user named under {key}",
    "volume": "a directory that stays writable and is kept, named under {key}",
    "mount": "what the mount named under {key} covers",
}


@click.command("explain")
@click.argument("name", shell_complete=complete_jails)
@click.argument("path")
@click.option("--json", "as_json", is_flag=True, help="Print the chain as JSON.")
@click.pass_context
def command(ctx: click.Context, name: str, path: str, as_json: bool) -> None:
    """Say why PATH is in the jail NAME: the chain from the path back to the key of the profile."""
    jail = store_of(ctx).load(name)
    manifest = read_manifest(jail)
    chain = manifest.chain(_known(jail, manifest, path))
    if as_json:
        print_json([record_to_data(record) for record in chain])
        return
    for depth, record in enumerate(chain):
        click.echo(printable("  " * depth + _sentence(record)))
    key = chain[-1].reason.key
    click.echo(printable("  " * len(chain) + ("every jail" if key == "base" else f"profile {jail.profile}, {key}")))


def _known(jail: Jail, manifest: Manifest, path: str) -> str:
    """Give the path as the manifest spells it: /bin/sh is /usr/bin/sh where /bin is a link in the jail."""
    absolute = normpath("/" + path.lstrip("/"))
    links = {record.path: record.target or "" for record in manifest.records.values() if record.kind == "symlink"}
    for spelling in (absolute, canonical(absolute, links, follow_last=False)):
        if spelling in manifest.records:
            return spelling
    raise StateError(
        f"cannot explain {path}: jail {jail.name} was not made with it",
        resolution=f"jailkit show --files {jail.name} lists what it was made with",
    )


def _sentence(record: Record) -> str:
    reason = record.reason
    because = _BECAUSE[reason.because].format(key=reason.key, via=reason.via)
    package = f" [package {record.package}]" if record.package else ""
    target = f" -> {record.target}" if record.target else ""
    return f"{record.path}{target}: {because}{package}"
