"""Reading ELF headers and dynamic sections, without trusting a single number in them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from jailkit.elf.layout import LAYOUTS, MAX_NAME, MalformedError, Source, Tables, open_source
from jailkit.elf.model import ET_DYN, ET_EXEC, Elf, Tag

MAGIC: Final = b"\x7fELF"
_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NEEDED, _DT_STRTAB, _DT_SONAME, _DT_RPATH = 1, 5, 14, 15
_DT_RUNPATH, _DT_FLAGS, _DT_FLAGS_1 = 29, 30, 0x6FFFFFFB
_DT_AUXILIARY, _DT_FILTER = 0x7FFFFFFD, 0x7FFFFFFF
_TAGS: Final[dict[int, Tag]] = {_DT_NEEDED: "needed", _DT_AUXILIARY: "auxiliary", _DT_FILTER: "filter"}
_OSABI_SYSV, _OSABI_GNU = 0, 3

_MAX_DYNAMIC: Final = 1 << 20  # bytes; real ones stay below 10 KiB
_MAX_REQUESTS: Final = 4096  # real ones stay below 300
_MAX_STRINGS: Final = 1 << 18  # bytes of names kept of one file
_MAX_RPATH: Final = 1 << 16
_SPAN: Final = 1 << 16  # names that lie closer together than this are read at once


@dataclass(frozen=True, slots=True)
class Header:
    """The ELF header. `fault` is what every loader would find wrong with it before it looks at the machine."""

    bits: int
    little: bool
    machine: int
    type: int
    phoff: int
    phentsize: int
    phnum: int
    fault: str | None


def read_elf(path: str) -> Elf:
    """Read an ELF file of this machine, following links.

    Raises:
        ElfError: it cannot be read, is no ELF file, or is damaged.
    """
    path = os.path.realpath(path)
    with open_source(path) as source:
        return read_body(source, read_header(source), path)


def read_header(source: Source) -> Header:
    """Read the header, and judge it in the order of glibc's `open_verify`.

    Raises:
        MalformedError: it is no ELF file at all.
    """
    ident = source.read(0, 16)
    if len(ident) < 16:
        raise MalformedError("it is too short for an ELF file")
    if ident[:4] != MAGIC:
        raise MalformedError("it is not an ELF file")
    bits = {1: 32, 2: 64}.get(ident[4])
    if bits is None or ident[5] not in (1, 2):
        raise MalformedError("its ELF header is invalid")
    little = ident[5] == 1
    layout = LAYOUTS[bits, little].header
    data = source.read(0, layout.size)
    if len(data) < layout.size:
        raise MalformedError("it is too short for an ELF file")
    kind, machine, version, _, phoff, _, _, _, phentsize, phnum, *_ = layout.unpack(data)
    return Header(bits, little, machine, kind, phoff, phentsize, phnum, _header_fault(ident, version))


def _header_fault(ident: bytes, version: int) -> str | None:
    if ident[6] != 1 or version != 1:
        return "its ELF version is not 1"
    if ident[7] not in (_OSABI_SYSV, _OSABI_GNU):
        return f"its OS ABI {ident[7]} is not Linux's"
    if ident[8] and (ident[7] != _OSABI_GNU or ident[8] > 3):
        return f"its ABI version {ident[8]} is unknown"
    return "its ELF header is invalid" if any(ident[9:]) else None


def read_body(source: Source, header: Header, path: str) -> Elf:
    """Read what follows the header.

    Raises:
        MalformedError: something is damaged, or this is no program or library.
    """
    if header.fault:
        raise MalformedError(header.fault)
    if header.type not in (ET_EXEC, ET_DYN):
        raise MalformedError("it is an object file or a core dump, not a program or a library")
    segments = _Segments(source, header)
    entries = _Dynamic(source, segments.tables, segments.dynamic)
    requests, strings = _strings(source, entries)
    return Elf(
        path=path, bits=header.bits, little=header.little, machine=header.machine, type=header.type,
        interpreter=segments.interpreter, dynamic=segments.dynamic is not None,
        soname=strings[_DT_SONAME], rpath=strings[_DT_RPATH], runpath=strings[_DT_RUNPATH], requests=requests,
        flags=entries.values.get(_DT_FLAGS, 0), flags_1=entries.values.get(_DT_FLAGS_1, 0),
    )  # fmt: skip


class _Segments:
    """The program headers, sorted by what they are for."""

    def __init__(self, source: Source, header: Header) -> None:
        layout = LAYOUTS[header.bits, header.little]
        if header.phentsize != layout.segment.size:
            raise MalformedError("its program headers have an unexpected size")
        self.interpreter: str | None = None
        self.dynamic: tuple[int, int] | None = None  # address and size
        loads: list[tuple[int, int, int]] = []
        data = source.exactly(header.phoff, header.phnum * header.phentsize)
        for fields in layout.segment.iter_unpack(data):
            kind = fields[0]
            if header.bits == 64:
                _, _, offset, address, _, size, *_ = fields
            else:
                _, offset, address, _, size, *_ = fields
            if kind == _PT_LOAD:
                loads.append((offset, address, size))
            elif kind == _PT_DYNAMIC:
                self.dynamic = (address, size)
            elif kind == _PT_INTERP and self.interpreter is None:
                self.interpreter = _interpreter(source, offset, size)
        _check_loads(loads, source.size)
        self.tables = Tables(layout, tuple(loads))


def _check_loads(loads: list[tuple[int, int, int]], file_size: int) -> None:
    if not loads:
        raise MalformedError("it has no loadable segments")
    for offset, address, size in loads:
        if (address - offset) & 0xFFF:
            raise MalformedError("its segments are not aligned to pages")
        if offset + size > file_size:
            raise MalformedError(f"it is truncated: it says it has {offset + size} bytes, and has {file_size}")


def _interpreter(source: Source, offset: int, size: int) -> str:
    """Give PT_INTERP; empty when the kernel would refuse it (fs/binfmt_elf.c)."""
    data = source.read(offset, min(size, MAX_NAME))
    if size > MAX_NAME or len(data) != size or not data.endswith(b"\0"):
        return ""
    return os.fsdecode(data.split(b"\0", 1)[0])


class _Dynamic:
    """The dynamic section: the last value of each entry, and the requests with the offsets of their names."""

    def __init__(self, source: Source, tables: Tables, where: tuple[int, int] | None) -> None:
        self.values: dict[int, int] = {}
        self.requests: list[tuple[Tag, int]] = []
        if where is not None:
            self._read(source, tables, where)
        self.tables = Tables(tables.layout, tables.loads, self.values.get(_DT_STRTAB, 0))

    def _read(self, source: Source, tables: Tables, where: tuple[int, int]) -> None:
        address, size = where
        if not size:
            raise MalformedError("it holds only debugging information")  # objcopy --only-keep-debug
        if size > _MAX_DYNAMIC:
            raise MalformedError("its dynamic section is too long")
        offset, room = tables.locate(address)
        layout = tables.layout.dynamic
        length = min(size, room)
        data = source.exactly(offset, length - length % layout.size)
        for tag, value in layout.iter_unpack(data):
            if tag == 0:
                break
            if tag in _TAGS:
                self.requests.append((_TAGS[tag], value))
            else:
                self.values[tag] = value
        if len(self.requests) > _MAX_REQUESTS:
            raise MalformedError(f"it asks for {len(self.requests)} libraries; {_MAX_REQUESTS} is the limit")


def _strings(source: Source, entries: _Dynamic) -> tuple[tuple[tuple[Tag, str], ...], dict[int, str | None]]:
    """Read the names that the dynamic section points to."""
    reader = _Strings(source, entries.tables)
    reader.prepare([value for _, value in entries.requests])
    requests = tuple((tag, reader.read(value, MAX_NAME)) for tag, value in entries.requests)
    strings: dict[int, str | None] = {}
    for tag in (_DT_SONAME, _DT_RPATH, _DT_RUNPATH):
        value = entries.values.get(tag)
        strings[tag] = None if value is None else reader.read(value, _MAX_RPATH)
    return requests, strings


class _Strings:
    """The dynamic string table, of which only the names that are asked for are read."""

    def __init__(self, source: Source, tables: Tables) -> None:
        self._source = source
        self._tables = tables
        self._block = b""
        self._block_start = 0
        self._total = 0

    def prepare(self, offsets: list[int]) -> None:
        """Read the part of the table that holds these names at once, when it is small."""
        if not offsets:
            return
        first, last = min(offsets), max(offsets)
        if last - first <= _SPAN:
            self._block = self._bytes(first, last - first + 256)
            self._block_start = first

    def read(self, offset: int, limit: int) -> str:
        """Read one name.

        Raises:
            MalformedError: it lies outside of the file, has no end, or there are too many bytes of names.
        """
        start = offset - self._block_start
        end = self._block.find(b"\0", start) if start >= 0 else -1
        if end >= 0:
            name = self._block[start:end]
        else:
            name, terminator, _ = self._bytes(offset, limit).partition(b"\0")
            if not terminator:
                raise MalformedError("a name in its dynamic section has no end")
        self._total += len(name)
        if self._total > _MAX_STRINGS:
            raise MalformedError("the names in its dynamic section are too long")
        return os.fsdecode(name)

    def _bytes(self, offset: int, length: int) -> bytes:
        if not self._tables.strings:
            raise MalformedError("its dynamic section has no string table")
        where, room = self._tables.locate(self._tables.strings + offset)
        return self._source.read(where, min(length, room))
