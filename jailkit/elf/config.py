"""What a root directory holds for its loaders to read: their binaries, the cache, the lists of preloads."""

from __future__ import annotations

import errno
import os
import re
from typing import Final

from jailkit.elf.cache import MAX_SIZE, LdCache
from jailkit.elf.cpu import Cpu
from jailkit.elf.files import File, Files
from jailkit.elf.layout import MalformedError, open_regular
from jailkit.elf.model import Elf
from jailkit.elf.platform import MAX_BINARY, Glibc, Musl, read_platform

_MAX_TEXT: Final = 1 << 16
_LOADER_DIRECTORIES: Final = ("/lib64", "/lib", "/libx32", "/lib32", "/usr/lib64", "/usr/lib")
_LOADER_NAME: Final = re.compile(r"ld(-linux[\w-]*|64|-musl-[\w-]+)?\.so\.\d+")


class Configuration:
    """The files that steer the loaders of one root. Each is read once."""

    def __init__(self, files: Files, cpu: Cpu) -> None:
        self._files = files
        self._cpu = cpu
        self._platforms: dict[str, Glibc | Musl] = {}
        self._caches: dict[tuple[str, bool], LdCache | None] = {}
        self._loaders: dict[tuple[int, int, bool, bool], str | None] = {}
        self._preloads: list[str] | None = None

    def platform(self, loader: File, elf: Elf) -> Glibc | Musl:
        """Give what a loader's binary says, for programs like `elf`."""
        if loader.real not in self._platforms:
            data = self._content(loader.real, MAX_BINARY) or b""
            self._platforms[loader.real] = read_platform(elf, data, self._cpu)
        return self._platforms[loader.real]

    def cache(self, path: str, *, little: bool) -> LdCache | None:
        """Give a loader's cache for programs of one byte order; None when there is none."""
        if (path, little) not in self._caches:
            data = self._content(path, MAX_SIZE)
            self._caches[path, little] = None if data is None else LdCache(data, little=little)
        return self._caches[path, little]

    def preloads(self) -> list[str]:
        """Give the names in /etc/ld.so.preload: separated by white space or colons, `#` begins a comment (ld.so(8))."""
        if self._preloads is None:
            lines = (self.text("/etc/ld.so.preload") or "").split("\n")
            self._preloads = [name for line in lines for name in re.split("[ \t:]", line.split("#", 1)[0]) if name]
        return self._preloads

    def text(self, path: str) -> str | None:
        """Read a small text file; None when it is not a regular file that can be read."""
        data = self._content(path, _MAX_TEXT)
        return None if data is None else os.fsdecode(data.split(b"\0", 1)[0])

    def _content(self, path: str, limit: int) -> bytes | None:
        try:
            return self.head(path, limit)
        except (OSError, MalformedError):
            return None

    def head(self, path: str, length: int) -> bytes:
        """Read the beginning of a regular file.

        Raises:
            OSError, MalformedError: it cannot be read, or is no regular file.
        """
        real = self._files.root.real(self._files.root.absolute(path))
        if real is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        fd, _ = open_regular(self._files.root.on_host(real))
        try:
            return os.pread(fd, length, 0)
        finally:
            os.close(fd)

    def default_loader(self, elf: Elf) -> str | None:
        """Find this root's loader for a file that names none: of its machine, and of its libc where there are two."""
        musl = any(name == "libc.so" or name.startswith("libc.musl-") for name in elf.needed)
        key = (elf.machine, elf.bits, elf.little, musl)
        if key not in self._loaders:
            paths = [
                f"{directory}/{name}" for directory in _LOADER_DIRECTORIES for name in self._files.root.names(directory)
                if _LOADER_NAME.fullmatch(name)
            ]  # fmt: skip
            paths.sort(key=lambda path: ("-musl-" in path) != musl)
            self._loaders[key] = next((path for path in paths if self._is_loader(path, elf)), None)
        return self._loaders[key]

    def _is_loader(self, path: str, elf: Elf) -> bool:
        found = self._files.open(path)
        other = found.elf if found else None
        return other is not None and other.matches(elf)
