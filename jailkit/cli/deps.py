"""`jailkit deps`: the libraries that the loader would load for a file."""

from __future__ import annotations

import json
import os
import shutil

import click

from jailkit.cli.main import report
from jailkit.elf import Closure, Loader
from jailkit.errors import ElfError
from jailkit.text import printable


@click.command("deps")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path())
@click.option(
    "--root", default="/", metavar="DIR", type=click.Path(exists=True, file_okay=False),
    help="Take this directory as the root of all paths: FILE, the libraries, and links.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line for each file.")
@click.pass_context
def command(ctx: click.Context, files: tuple[str, ...], root: str, as_json: bool) -> None:
    """List the libraries that the loader would load for each FILE, programs and libraries alike.

    Nothing is executed: the files, the loader's cache and its configuration are read. The answer is that of
    `LD_TRACE_LOADED_OBJECTS`, for glibc and musl. LD_LIBRARY_PATH and LD_PRELOAD of the caller do not count.

    The exit code is 1 when a library is missing or a FILE is not one that can be loaded; the others are still listed.
    """
    loader = Loader(root)
    failed = False
    for file in files:
        try:
            closure = loader.closure(file)
        except ElfError as error:
            report(_with_path(error, file, root))
            failed = True
            continue
        click.echo(json.dumps(_data(closure)) if as_json else _text(closure))
        failed = failed or bool(closure.missing)
    ctx.exit(1 if failed else 0)


def _with_path(error: ElfError, file: str, root: str) -> ElfError:
    """Say that a path is wanted to somebody who gave the name of a program, and which one."""
    if "/" in file or os.path.lexists(file if root == "/" else os.path.join(root, file)):
        return error
    program = shutil.which(file) if root == "/" else None
    wanted = f"jailkit deps {program}" if program else f"the path of a file instead of the name {file}"
    return ElfError(error.brief, details=error.details, resolution=wanted)


def _data(closure: Closure) -> dict[str, object]:
    return {
        "file": closure.file,
        "real": closure.real,
        "interpreter": closure.interpreter,
        "libraries": [{"name": lib.name, "path": lib.path, "real": lib.real} for lib in closure.libraries],
        "missing": list(dict.fromkeys(missing.name for missing in closure.missing)),
    }


def _text(closure: Closure) -> str:
    """Give the list for people. Names may hold anything, so that all of them are escaped."""
    lines = [f"{printable(closure.file)}:"]
    if closure.interpreter:
        lines.append(f"  interpreter {printable(closure.interpreter)}")
    lines += [f"  {printable(lib.name)} => {printable(lib.path)}" for lib in closure.libraries]
    lines += [
        f"  {printable(missing.name)} => not found (needed by {printable(missing.needed_by)})"
        for missing in closure.missing
    ]
    if not closure.interpreter and len(lines) == 1:
        lines.append("  statically linked")
    return "\n".join(lines)
