"""What musl's loader loads for a program (ldso/dynlink.c, load_library and load_deps).

It is simpler than glibc's and differs in every rule: RPATH and RUNPATH are one and both are inherited, there is
no cache, the first file that opens is taken, whatever it holds, and the names of the C library mean the loader.
"""

from __future__ import annotations

import re
from typing import Final

from jailkit.elf.files import File, Files, check_extent, check_library, suits
from jailkit.elf.layout import MalformedError
from jailkit.elf.model import Elf, Library, Missing
from jailkit.elf.search import Loaded

_RESERVED: Final = re.compile(r"lib(?:c|pthread|rt|m|dl|util|xnet)\.")
_ORIGIN: Final = re.compile(r"\$(?:ORIGIN|\{ORIGIN\})")
_DEFAULT_PATH: Final = "/lib:/usr/local/lib:/usr/lib"
_NAME_MAX: Final = 255


def path_file(interpreter: str, architecture: str) -> str:
    """Give the file that holds the search path: below the prefix that the loader's own path shows."""
    prefix = interpreter.rpartition("/")[0].rpartition("/")[0] if interpreter.startswith("/") else ""
    return f"{prefix}/etc/ld-musl-{architecture}.path"


class MuslLoad:
    """One program being loaded.

    Args:
        files: opens files.
        program: the program.
        loader: path and file of musl itself.
        path: the content of the path file; None when there is none.
    """

    def __init__(self, files: Files, program: Loaded, loader: tuple[str, File], path: str | None) -> None:
        self._files = files
        self._program = program
        self._loader = Loaded(loader[0], loader[0], loader[1], None)
        self._system = _split(_DEFAULT_PATH if path is None else path)
        self.missing: list[Missing] = []
        self._order = [program]
        self._short: dict[str, Loaded] = {}
        self._inodes: dict[tuple[int, int], Loaded] = {loader[1].identity: self._loader}
        self._requests = 0
        self._enter(program)

    def run(self) -> tuple[Library, ...]:
        """Load everything; `missing` then holds what was not found.

        Raises:
            ElfError: the program asks for more than any real one.
        """
        for loaded in self._order:  # grows on the way
            elf = loaded.elf
            names = elf.needed if elf else ()
            self._requests += len(names)
            check_extent(len(self._order), self._requests)
            for name in names:
                self._need(loaded, name)
        return tuple(self._library(loaded) for loaded in self._order[1:])

    def find(self, name: str) -> str | None:
        """Give the path of what the program would get if it asked for a name now (dlopen(3))."""
        if _RESERVED.match(name) or name == self._loader.path:
            return self._loader.path
        if name in self._short:
            return self._short[name].path
        found = self._find(self._program, name)
        return self._files.root.absolute(found[0]) if found else None

    def _need(self, requester: Loaded, name: str) -> None:
        if _RESERVED.match(name) or name == self._loader.path:
            self._need_loader(requester, name)
            return
        if name in self._short:
            return
        found = self._find(requester, name)
        if found is None:
            self.missing.append(Missing(name, requester.path))
            return
        path, file = found
        twin = self._inodes.get(file.identity)
        if twin is self._loader:
            self._need_loader(requester, name)
        elif twin is not None:
            if "/" not in name:
                self._short.setdefault(twin.path.rpartition("/")[2], twin)
        else:
            self._add(requester, name, path, file)

    def _need_loader(self, requester: Loaded, name: str) -> None:
        if self._loader not in self._order:
            self._loader.name, self._loader.loader = name, requester
            self._order.append(self._loader)

    def _find(self, requester: Loaded, name: str) -> tuple[str, File] | None:
        """Take the first file that opens; one that then cannot be mapped is as good as missing."""
        program = self._program.elf
        for path in self._paths(requester, name):
            file = self._files.open(self._files.root.absolute(path))
            if file is not None:
                return (path, file) if program and _loads(file, program) else None
            if self._files.is_barred(self._files.root.absolute(path)) and len(name) <= _NAME_MAX:
                return None
        return None

    def _paths(self, requester: Loaded, name: str) -> list[str]:
        if "/" in name:
            return [name]
        if not name or len(name) > _NAME_MAX:
            return []
        directories: list[str] = []
        loader: Loaded | None = requester
        while loader is not None:
            directories += loader.rpath
            loader = loader.loader
        self._files.count_steps(len(directories))
        return [f"{directory}/{name}" for directory in (*directories, *self._system)]

    def _add(self, requester: Loaded, name: str, path: str, file: File) -> None:
        loaded = Loaded(name, self._files.root.absolute(path), file, requester)
        self._enter(loaded)
        self._inodes[file.identity] = loaded
        if "/" not in name:
            self._short.setdefault(name, loaded)
        self._order.append(loaded)

    def _enter(self, loaded: Loaded) -> None:
        """Fill in the directories of RUNPATH or else RPATH. A token that is not $ORIGIN makes musl ignore them all."""
        elf = loaded.elf
        text = (elf.runpath if elf.runpath is not None else elf.rpath) if elf else None
        if text and "$" not in _ORIGIN.sub("", text):
            self._files.note(len(text) + text.count("$") * len(loaded.origin))
            loaded.rpath = _split(_ORIGIN.sub(lambda _: loaded.origin, text))

    def _library(self, loaded: Loaded) -> Library:
        needed_by = loaded.loader.path if loaded.loader else self._program.path
        real = loaded.file.real if loaded.file else loaded.path
        return Library(loaded.name, loaded.path, real, needed_by)


def _loads(file: File, program: Elf) -> bool:
    """Tell whether musl could map a file; of another class or machine it cannot, though it does not look at them."""
    try:
        if not suits(file, program) or file.elf is None:
            return False
        check_library(file.elf)
    except MalformedError:
        return False
    return True


def _split(path: str) -> tuple[str, ...]:
    return tuple(part for part in re.split(r"[:\n]", path) if part)
