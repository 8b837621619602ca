"""The loader of a root directory: what it would load for a file, found without executing anything."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

from jailkit.elf.config import Configuration
from jailkit.elf.cpu import read_cpu
from jailkit.elf.files import MAX_WEIGHT, File, Files
from jailkit.elf.glibc import GlibcLoad
from jailkit.elf.layout import MalformedError
from jailkit.elf.model import Closure, Elf, Missing
from jailkit.elf.musl import MuslLoad, path_file
from jailkit.elf.platform import Musl, read_glibc
from jailkit.elf.reader import MAGIC
from jailkit.elf.root import Root
from jailkit.elf.search import Loaded, Search
from jailkit.errors import ElfError
from jailkit.linux.shebang import BINPRM_BUF_SIZE, shebang_words
from jailkit.text import printable

_Stamp = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class _Start:
    """A file about to be loaded, and the path and the file of its loader, None when that does not exist."""

    program: Loaded
    elf: Elf
    loader: tuple[str, File] | None


class Loader:
    """Models the dynamic loader, glibc's or musl's, of one root directory.

    Every file is parsed once, and what the tree held when it was looked at is remembered: make a new object to see
    changes other than to the files asked about. The caller's LD_LIBRARY_PATH and LD_PRELOAD do not count, and neither
    do the restrictions of setuid programs. Not for use by several threads at once.
    """

    def __init__(self, root: str = "/") -> None:
        self._top = root
        self._cpu = read_cpu()
        self._forget()

    def _forget(self) -> None:
        self._root = Root(self._top)
        self._files = Files(self._root)
        self._config = Configuration(self._files, self._cpu)
        self._closures: dict[str, tuple[_Stamp, Closure]] = {}
        self._searches: dict[tuple[str | None, int, int, bool], Search] = {}

    def is_elf(self, file: str) -> bool:
        """Tell whether a path leads to a regular file that begins as an ELF file does."""
        try:
            return self._config.head(file, len(MAGIC)) == MAGIC
        except (OSError, MalformedError):
            return False

    def closure(self, file: str) -> Closure:
        """Find everything that the loader would load for a program or a library.

        A statically linked file has an empty closure. A library, which names no loader itself, is followed as the
        loader of its machine in this root would. Libraries that are not found are in `missing`; so is a loader that
        does not exist.

        Raises:
            ElfError: the file is not one that a loader could start with, or the loader would give up on the way.
        """
        if self._files.weight > MAX_WEIGHT:
            self._forget()
        self._files.begin()
        real, stamp = self._identify(file)
        known = self._closures.get(file)
        if known is None or known[0] != stamp:
            self._closures[file] = known = (stamp, self._load(file, real))
            self._files.note(300 * (1 + len(known[1].libraries) + len(known[1].missing)))
        return known[1]

    def elf(self, file: str) -> Elf:
        """Give what a file of this root says about itself; unlike `read_elf`, no link leads out of the root.

        Raises:
            ElfError: as for `closure`.
        """
        return self._elf(file, self._open(file, self._identify(file)[0]))

    def find(self, name: str, program: str) -> str | None:
        """Find a library by name as `program` would that asks for it while it runs (dlopen(3)).

        None when it is not there, or when `program` is statically linked.

        Raises:
            ElfError: `program` cannot be used, or its loader would give up at a file that it finds.
        """
        self._files.begin()
        start = self._start(program, self._identify(program)[0])
        if start is None:
            return None
        model = self._model(start)
        model.run()
        return model.find(name)

    def _identify(self, file: str) -> tuple[str, _Stamp]:
        try:
            real = self._root.real(self._root.absolute(file))
            if real is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), file)
            status = os.lstat(self._root.on_host(real))
        except OSError as error:
            raise ElfError(f"cannot read {printable(file)}: {error.strerror}") from error
        return real, (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)

    def _load(self, file: str, real: str) -> Closure:
        start = self._start(file, real)
        if start is None:
            return Closure(file, real, None, (), ())
        model = self._model(start)
        libraries = model.run()
        interpreter = start.elf.interpreter
        absent = [Missing(interpreter, file)] if interpreter and start.loader is None else []
        return Closure(file, real, interpreter, libraries, (*absent, *model.missing))

    def _start(self, file: str, real: str) -> _Start | None:
        """Open a file and the loader that would start it; None when it needs none."""
        opened = self._open(file, real)
        elf = self._elf(file, opened)
        if elf.interpreter == "":
            raise ElfError(f"cannot use {printable(file)}: the name of its interpreter is damaged")
        if elf.interpreter is None and not elf.requests:
            return None
        path = elf.interpreter or self._config.default_loader(elf)
        loader = self._open_loader(file, path, elf) if path else None
        program = Loaded("", file, opened, None)
        program.origin = real.rpartition("/")[0] or "/"  # of the program it is the real path that counts
        return _Start(program, elf, loader)

    def _open(self, file: str, real: str) -> File:
        try:
            return self._files.open_real(real)
        except OSError as error:
            raise ElfError(f"cannot read {printable(file)}: {error.strerror}") from error

    def _elf(self, file: str, opened: File) -> Elf:
        if opened.elf is None:
            raise self._not_elf(file, opened.fault or "")
        return opened.elf

    def _not_elf(self, file: str, fault: str) -> ElfError:
        """Explain what a file is that cannot be loaded; a script's interpreter is named."""
        try:
            words = shebang_words(self._config.head(file, BINPRM_BUF_SIZE))
        except (OSError, MalformedError):
            words = None
        if words is None:
            return ElfError(f"cannot list the libraries of {printable(file)}: {fault}")
        interpreter = printable(words[0]) if words else "/bin/sh"
        return ElfError(
            f"cannot list the libraries of {printable(file)}: it is a script, run by {interpreter}",
            resolution=f"jailkit deps {interpreter}",
        )

    def _open_loader(self, file: str, path: str, elf: Elf) -> tuple[str, File] | None:
        """Open the loader that a program names, with the kernel's checks (fs/binfmt_elf.c)."""
        opened = self._files.open(self._root.absolute(path))
        if opened is None:
            return None
        fault = opened.fault
        if opened.elf and not opened.elf.matches(elf):
            fault = "it is for another machine"
        if fault:
            raise ElfError(
                f"cannot use {printable(file)}: its interpreter {printable(path)} is no loader: {fault}",
                resolution="install the libc that the file was built for",
            )
        return path, opened

    def _model(self, start: _Start) -> GlibcLoad | MuslLoad:
        elf, loader = start.elf, start.loader
        if loader is None:
            facts = read_glibc(elf, b"", self._cpu)
        else:
            platform = self._config.platform(loader[1], elf)
            if isinstance(platform, Musl):
                path = self._config.text(path_file(loader[0], platform.architecture))
                return MuslLoad(self._files, start.program, loader, path)
            facts = platform
        key = (loader[1].real if loader else None, elf.machine, elf.bits, elf.little)
        if key not in self._searches:
            cache = self._config.cache(facts.cache_file, little=elf.little)
            self._searches[key] = Search(self._files, facts, elf, cache)
        return GlibcLoad(self._searches[key], start.program, loader, self._config.preloads())
