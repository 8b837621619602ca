"""The symbols that a file wants from others."""

from __future__ import annotations

import os
from typing import Final

from jailkit.elf.layout import MalformedError, Source, Tables, open_source

_MAX_SYMBOLS: Final = 1 << 20
_CHUNK: Final = 1 << 14  # symbols read at once
_MAX_STRINGS: Final = 1 << 24
_MAX_IMPORTS: Final = 1 << 16
_MAX_IMPORT_BYTES: Final = 1 << 23


def read_imports(path: str, tables: Tables) -> frozenset[str]:
    """Read the names of all undefined symbols in the dynamic symbol table.

    Raises:
        ElfError: the file cannot be read, or the table is damaged.
    """
    if not tables.symbols or not tables.strings:
        return frozenset()
    with open_source(path, "the symbols of ") as source:
        return _imports(source, tables)


def _imports(source: Source, tables: Tables) -> frozenset[str]:
    names: set[str] = set()
    where, room = tables.locate(tables.strings)
    strings = source.read(where, min(room, _MAX_STRINGS))
    total = 0
    for offset in _undefined(source, tables):
        end = strings.find(b"\0", offset)
        if end < 0:
            raise MalformedError("a symbol's name has no end")
        total += end - offset
        if len(names) > _MAX_IMPORTS or total > _MAX_IMPORT_BYTES:
            raise MalformedError("it has too many symbols")
        names.add(os.fsdecode(strings[offset:end]))
    return frozenset(names)


def _undefined(source: Source, tables: Tables) -> list[int]:
    """Give the offsets of the names of the undefined symbols (SHN_UNDEF)."""
    layout = tables.layout.symbol
    wide = layout.size == 24
    where, room = tables.locate(tables.symbols)
    # Nothing in the segments says how long the table is, and a GNU hash table need not tell. But no two
    # tables overlap, so that it ends where the next one begins.
    room = min([room, *(address - tables.symbols for address in tables.addresses if address > tables.symbols)])
    count = min(room // layout.size, _MAX_SYMBOLS)
    found: list[int] = []
    for first in range(0, count, _CHUNK):
        data = source.exactly(where + first * layout.size, min(_CHUNK, count - first) * layout.size)
        for fields in layout.iter_unpack(data):
            if fields[0] and not (fields[3] if wide else fields[5]):
                found.append(fields[0])
    return found
