"""The `.note.dlopen` entries of a file: what it says it will dlopen(3).

The format is that of https://systemd.io/ELF_DLOPEN_METADATA: notes of the owner "FDO" whose content is JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Any, Final

from jailkit.elf.layout import Source, Tables, open_source

_TYPE: Final = 0x407C0C0A
_OWNER: Final = b"FDO\0"
_MAX_NOTES: Final = 1 << 18


@dataclass(frozen=True, slots=True)
class Dlopen:
    """One entry: any of `sonames`, best first, for a feature of this priority (required, recommended, suggested)."""

    sonames: tuple[str, ...]
    feature: str
    description: str
    priority: str


def read_dlopen(path: str, tables: Tables) -> tuple[Dlopen, ...]:
    """Read all entries; one that is damaged is left out, for it is a hint and nothing more.

    Raises:
        ElfError: the file cannot be read.
    """
    with open_source(path) as source:
        return tuple(entry for text in _contents(source, tables) for entry in _entries(text))


def _contents(source: Source, tables: Tables) -> Iterator[bytes]:
    """Yield the content of each note of that type."""
    order = tables.layout.symbol.format[0]
    header = Struct(order + "III")
    for offset, size in tables.notes[:64]:
        data = source.read(offset, min(size, _MAX_NOTES))
        at = 0
        while at + header.size <= len(data):
            owner_size, content_size, kind = header.unpack_from(data, at)
            owner_at = at + header.size
            content_at = owner_at + _aligned(owner_size)
            if kind == _TYPE and data[owner_at : owner_at + owner_size] == _OWNER:
                yield data[content_at : content_at + content_size]
            at = content_at + _aligned(content_size)


def _aligned(size: int) -> int:
    return (size + 3) & ~3


def _entries(text: bytes) -> Iterator[Dlopen]:
    try:
        items = json.loads(text.rstrip(b"\0"))
    except (ValueError, RecursionError):
        return
    for item in items if isinstance(items, list) else ():
        sonames = item.get("soname") if isinstance(item, dict) else None
        if isinstance(sonames, list) and all(isinstance(name, str) for name in sonames):
            yield Dlopen(tuple(sonames), _text(item, "feature"), _text(item, "description"), _text(item, "priority"))


def _text(item: dict[str, Any], key: str) -> str:
    value = item.get(key)
    return value if isinstance(value, str) else ""
