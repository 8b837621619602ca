"""The binary layout of ELF, and reading bounded pieces of a file that may be damaged or hostile."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Final

from jailkit.errors import ElfError
from jailkit.text import printable

_HEAD: Final = 16384  # holds header, program headers, interpreter and often the strings: most files need two reads
MAX_NAME: Final = 4096  # PATH_MAX: what is longer cannot be opened
OPEN_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class MalformedError(Exception):
    """The bytes are not what they should be; the message says why, to follow a colon."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Structures of one class and byte order (elf.h)."""

    header: Struct
    segment: Struct
    dynamic: Struct


def _layout(order: str, bits: int) -> Layout:
    if bits == 64:
        return Layout(Struct(order + "16xHHIQQQIHHHHHH"), Struct(order + "IIQQQQQQ"), Struct(order + "QQ"))
    return Layout(Struct(order + "16xHHIIIIIHHHHHH"), Struct(order + "IIIIIIII"), Struct(order + "II"))


LAYOUTS: Final = {
    (bits, little): _layout("<" if little else ">", bits) for bits in (32, 64) for little in (True, False)
}


@dataclass(frozen=True, slots=True)
class Tables:
    """Where things lie in a file.

    Attributes:
        layout: the structures to read it with.
        loads: offset, address and size in the file of each PT_LOAD.
        strings: the address of DT_STRTAB, 0 when absent.
    """

    layout: Layout
    loads: tuple[tuple[int, int, int], ...]
    strings: int = 0

    def locate(self, address: int) -> tuple[int, int]:
        """Give the offset in the file of an address, and how many bytes of the segment follow it.

        Raises:
            MalformedError: no segment holds that address.
        """
        for offset, start, size in reversed(self.loads):  # where two overlap, the one mapped later is seen
            if start <= address < start + size:
                return offset + address - start, start + size - address
        raise MalformedError("its dynamic section points outside of its segments")


class Source:
    """A regular file that is read in bounded pieces.

    Never mapped: a mapped file that another process truncates kills the reader with SIGBUS.
    """

    __slots__ = ("_head", "fd", "size")

    def __init__(self, fd: int, size: int) -> None:
        self.fd = fd
        self.size = size
        self._head = os.pread(fd, _HEAD, 0)

    def read(self, offset: int, length: int) -> bytes:
        """Read up to `length` bytes; fewer where the file ends."""
        if offset + length <= len(self._head):
            return self._head[offset : offset + length]
        if offset >= self.size:
            return b""
        return os.pread(self.fd, min(length, self.size - offset), offset)

    def exactly(self, offset: int, length: int) -> bytes:
        """Read `length` bytes.

        Raises:
            MalformedError: the file ends before that.
        """
        data = self.read(offset, length)
        if len(data) != length:
            raise MalformedError("the file is truncated")
        return data


def open_regular(path: str) -> tuple[int, os.stat_result]:
    """Open a regular file, without following a link, waiting for a FIFO's other end or touching a device.

    Raises:
        OSError: it cannot be opened.
        MalformedError: it is no regular file.
    """
    kind = os.lstat(path)
    if stat.S_ISREG(kind.st_mode):  # opening alone already does something to some devices
        fd = os.open(path, OPEN_FLAGS)
        status = os.fstat(fd)
        if stat.S_ISREG(status.st_mode):
            return fd, status
        os.close(fd)
    raise MalformedError("it is a directory" if stat.S_ISDIR(kind.st_mode) else "it is not a regular file")


@contextlib.contextmanager
def open_source(path: str) -> Iterator[Source]:
    """Open a file to read it.

    Raises:
        ElfError: it cannot be opened; or the block found it malformed.
    """
    try:
        fd, status = open_regular(path)
        try:
            yield Source(fd, status.st_size)
        finally:
            os.close(fd)
    except OSError as error:
        raise ElfError(f"cannot read {printable(path)}: {error.strerror}") from error
    except MalformedError as error:
        raise ElfError(f"cannot read {printable(path)}: {error}") from error
