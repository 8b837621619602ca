"""The files that a loader opens on its search, each opened and parsed once."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import Final

from jailkit.elf.layout import MalformedError, Source, open_regular
from jailkit.elf.model import DF_1_PIE, ET_DYN, Elf
from jailkit.elf.reader import Header, read_body, read_header
from jailkit.elf.root import Root
from jailkit.errors import ElfError

_ABSENT: Final = frozenset((errno.ENOENT, errno.ENOTDIR, errno.EACCES))
_MAX_OBJECTS: Final = 2048  # real programs load below 500
_MAX_REQUESTS: Final = 50_000
_MAX_PROBES: Final = 200_000  # paths tried for one file; real searches stay below 2,000
_MAX_STEPS: Final = 5_000_000  # directories considered for one file
MAX_WEIGHT: Final = 24 << 20  # bytes kept in memory before everything is forgotten


@dataclass(frozen=True, slots=True)
class File:
    """A file that could be opened.

    Attributes:
        real: its path without links, within the root.
        identity: device and inode.
        header, elf: what it holds; None as far as `fault` prevented reading it.
        fault: what is wrong with it.
    """

    real: str
    identity: tuple[int, int]
    header: Header | None
    elf: Elf | None
    fault: str | None


_Parsed = tuple[Header | None, Elf | None, str | None]


class Files:
    """Opens files below a root by the paths that a loader would use."""

    def __init__(self, root: Root) -> None:
        self.root = root
        self._probes = 0
        self._steps = 0
        self._weight = 0
        self._paths: dict[str, File | None] = {}
        self._barred: set[str] = set()
        self._parsed: dict[tuple[int, int, int, int], _Parsed] = {}

    @property
    def weight(self) -> int:
        """Give the size in bytes of what is remembered, roughly."""
        return self._weight + self.root.weight

    def open(self, path: str) -> File | None:
        """Open and parse the file at an absolute path; None when that is impossible.

        Raises:
            ElfError: this search has grown beyond reason.
        """
        self._probes += 1
        if self._probes > _MAX_PROBES:
            raise too_many()
        if path not in self._paths:
            self._paths[path] = self._open(path)
            self.note(200 + len(path))
        return self._paths[path]

    def begin(self) -> None:
        """Start counting anew: what one file may cost is limited, whatever a hostile one asks for."""
        self._probes = self._steps = 0

    def count_steps(self, steps: int) -> None:
        """Count directories that a search considers.

        Raises:
            ElfError: this search has grown beyond reason.
        """
        self._steps += steps
        if self._steps > _MAX_STEPS:
            raise too_many()

    def note(self, weight: int) -> None:
        """Count bytes that are kept in memory.

        Raises:
            ElfError: they have grown beyond reason.
        """
        self._weight += weight
        if self.weight > 2 * MAX_WEIGHT:
            raise too_many()

    def is_barred(self, path: str) -> bool:
        """Tell whether a path that was tried failed by more than absence: a loop of links, a name too long."""
        return path in self._barred

    def _open(self, path: str) -> File | None:
        try:
            real = self.root.real(path)
            return None if real is None else self.open_real(real)
        except OSError as error:
            if error.errno not in _ABSENT:
                self._barred.add(path)
            return None

    def open_real(self, real: str) -> File:
        """Open and parse the file at a path that `Root.real` gave, unless it was parsed already.

        Raises:
            OSError: it cannot be opened.
        """
        host = self.root.on_host(real)
        try:
            fd, status = open_regular(host)
        except MalformedError as error:
            return File(real, (0, 0), None, None, str(error))
        try:
            key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
            if key not in self._parsed:
                self._parsed[key] = parsed = _parse(fd, status.st_size, host)
                self.note(parsed[1].weight if parsed[1] else 500)
        finally:
            os.close(fd)
        return File(real, key[:2], *self._parsed[key])


def check_extent(objects: int, requests: int) -> None:
    """Check how many objects a program loads, and how many names they ask for.

    Raises:
        ElfError: more than any real one.
    """
    if objects > _MAX_OBJECTS or requests > _MAX_REQUESTS:
        raise too_many()


def too_many() -> ElfError:
    """Give the error for a file that asks for more than any real one, and would take all time or memory."""
    return ElfError("cannot follow the libraries of this file: it asks for too many libraries or directories")


def _parse(fd: int, size: int, path: str) -> _Parsed:
    header = None
    try:
        source = Source(fd, size)
        header = read_header(source)
        return header, read_body(source, header, path), None
    except MalformedError as error:
        return header, None, str(error)
    except OSError as error:
        return header, None, error.strerror


def suits(file: File, program: Elf) -> bool:
    """Tell whether a program's loader would take a file that its search found, or look further.

    glibc passes over files of another class or machine, and gives up on everything that is no ELF file
    (elf/dl-load.c, open_verify).

    Raises:
        MalformedError: the loader would give up.
    """
    header = file.header
    if header is None:
        raise MalformedError(file.fault or "")
    if header.bits != program.bits:
        return False
    if header.little != program.little:
        raise MalformedError("its byte order is not the program's")
    if header.fault:
        raise MalformedError(header.fault)
    if header.machine != program.machine:
        return False
    if file.elf is None:
        raise MalformedError(file.fault or "")
    return True


def check_library(elf: Elf) -> None:
    """Check that an ELF file can be loaded as a library (elf/dl-load.c, _dl_map_object_from_fd).

    Raises:
        MalformedError: it cannot.
    """
    if elf.type != ET_DYN or elf.flags_1 & DF_1_PIE:
        raise MalformedError("it is a program, not a library")
    if not elf.dynamic:
        raise MalformedError("it has no dynamic section")
