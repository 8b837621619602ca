"""Small ELF files built to order, and the real loaders asked what they would load for them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from jailkit.elf import Closure, read_elf
from jailkit.elf.root import Root

# A line of LD_TRACE_LOADED_OBJECTS, or of musl's --list: name => path (address), or the path alone.
_LINE = re.compile(r"\t(?P<name>.+?)(?: => (?P<path>.+?))? \(0x[0-9a-f]+\)")
_ABSENT = re.compile(r"\t(?P<name>.+) => not found|Error loading shared library (?P<musl>.+?): .*")
_KERNEL = ("linux-vdso.so", "linux-gate.so")

Traced = tuple[list[tuple[str, str]], list[str]]


class GaveUpError(Exception):
    """The loader gave up."""


_ENTER = """
import os, sys
os.chroot(sys.argv[1])
os.chdir("/")
os.execve(sys.argv[2], sys.argv[2:], {"LC_ALL": "C", "LD_TRACE_LOADED_OBJECTS": "1"})
"""


def trace(loader: str, program: str, cwd: str | None = None, root: str | None = None) -> Traced:
    """Ask a glibc loader for the names and paths it would load, in its order, and for the names it misses.

    It is the loader that is executed, never the program: a static one would run. With `root`, in a chroot.
    """
    if root is None:
        command, environment = [loader, program], {"LC_ALL": "C", "LD_TRACE_LOADED_OBJECTS": "1"}
    else:  # chroot(8) would itself be traced
        command, environment = [sys.executable, "-I", "-S", "-c", _ENTER, root, loader, program], {}
    done = subprocess.run(
        command, env=environment, cwd=cwd, capture_output=True, text=True, errors="surrogateescape", timeout=60,
        check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if done.returncode:
        raise GaveUpError(done.stderr + done.stdout)
    found, missing = _parse(done.stdout)
    if found and found[-1][1] == loader and not _asked_for(loader, [program, *(path for _, path in found)], root, cwd):
        found.pop()  # Newer ones than 2.39 end with themselves, needed or not.
    return found, missing


def _asked_for(loader: str, paths: list[str], root: str | None, cwd: str | None) -> bool:
    """Tell whether any of these files names the loader among what it needs."""
    name, tree = loader.rpartition("/")[2], Root(root or "/")
    start = "/" if root else cwd or os.getcwd()
    reals = (tree.real(os.path.join(start, path)) for path in paths)
    texts = (text for real in reals if real for _, text in read_elf(tree.on_host(real)).requests)
    return any(text.rpartition("/")[2] == name for text in texts)


def musl_list(loader: str, program: str, cwd: str | None = None) -> Traced:
    """Ask musl the same. It names what it misses on its standard error, and ends with 127 then."""
    done = subprocess.run(
        [loader, "--list", program], env={}, cwd=cwd, capture_output=True, text=True, timeout=60, check=False
    )
    found, missing = _parse(done.stdout + done.stderr)
    return found[1:], missing  # the first line is the loader itself, needed or not


def _parse(text: str) -> Traced:
    found: list[tuple[str, str]] = []
    missing: list[str] = []
    for line in text.splitlines():
        if match := _LINE.fullmatch(line):
            if not match["name"].startswith(_KERNEL):
                found.append((match["name"], match["path"] or match["name"]))
        elif match := _ABSENT.fullmatch(line):
            missing.append(match["name"] or match["musl"])
    return found, missing


def modelled(closure: Closure, loader: str) -> Traced:
    """Give a closure in the form of `trace`, which knows the loader by its path only."""
    found = [(lib.path if lib.path == loader else lib.name, lib.path) for lib in closure.libraries]
    return found, [missing.name for missing in closure.missing]


class Workshop:
    """Builds libraries and programs that do nothing, wired to each other by name.

    What a file needs is given by the exact strings of its DT_NEEDED entries: each is linked against a stub that
    carries the string as its SONAME, so that nothing has to exist where the string points to.
    """

    def __init__(self, folder: Path, *flags: str, compiler: str = "gcc") -> None:
        self.folder = folder
        self._flags = flags
        self._compiler = compiler
        self._stubs: dict[str, Path] = {}
        (folder / ".stubs").mkdir()
        self._source = folder / ".stubs/start.c"
        self._source.write_text("void _start(void) {}\n")

    def library(
        self, path: str, *needs: str, soname: str | None = None, rpath: str | None = None, runpath: str | None = None,
        link: tuple[str, ...] = (), files: tuple[Path, ...] = (),
    ) -> Path:  # fmt: skip
        """Build a shared library at a path below the folder; `link` holds linker options."""
        options = [f"-soname={soname}"] if soname is not None else []
        return self._build(path, needs, ["-shared"], [*options, *_paths(rpath, runpath), *link], files)

    def program(
        self, path: str, *needs: str, rpath: str | None = None, runpath: str | None = None, link: tuple[str, ...] = (),
        compile_with: tuple[str, ...] = (), files: tuple[Path, ...] = (),
    ) -> Path:  # fmt: skip
        """Build a dynamically linked program, which is never run."""
        return self._build(path, needs, compile_with, [*_paths(rpath, runpath), *link], files)

    def _build(
        self, path: str, needs: tuple[str, ...], options: tuple[str, ...] | list[str], link: list[str],
        files: tuple[Path, ...],
    ) -> Path:  # fmt: skip
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        self._compile(target, options, ["--no-as-needed", *link], [*map(self._stub, needs), *files])
        return target

    def _compile(self, target: Path, options: list[str] | tuple[str, ...], link: list[str], inputs: list[Path]) -> None:
        linker = [f"-Wl,{option}" for option in ("--allow-shlib-undefined", *link)]
        command = [self._compiler, *self._flags, "-nostdlib", "-fPIC", *options, "-o", target, self._source]
        subprocess.run([*command, *linker, *inputs], check=True, timeout=120, stdin=subprocess.DEVNULL)

    def _stub(self, name: str) -> Path:
        if name not in self._stubs:
            self._stubs[name] = target = self.folder / f".stubs/{len(self._stubs)}.so"
            self._compile(target, ["-shared"], [f"-soname={name}"], [])
        return self._stubs[name]


def _paths(rpath: str | None, runpath: str | None) -> list[str]:
    """Give the linker options for one of the two kinds of search path."""
    if rpath is not None:
        return ["--disable-new-dtags", f"-rpath={rpath}"]
    return ["--enable-new-dtags", f"-rpath={runpath}"] if runpath is not None else []


def patch(path: Path, offset: int, data: bytes) -> None:
    """Overwrite bytes of a file."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)
