"""Reading ld.so.cache, in the new format, the old one, and the old one with the new one inside.

The format is that of glibc's sysdeps/generic/dl-cache.h, the search that of elf/dl-cache.c. Every number in the
file is checked before it is used.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from struct import Struct
from typing import Final

MAX_SIZE: Final = 1 << 24  # bytes; a desktop's cache has 300 KiB
_OLD_MAGIC: Final = b"ld.so-1.7.0"
_OLD_HEADER: Final = 16  # the magic, padded, and the count
_NEW_MAGIC: Final = b"glibc-ld.so.cache1.1"
_NEW_HEADER: Final = 48
_OLD_ENTRY: Final = 12
_NEW_ENTRY: Final = 24
_ENDIAN_MASK, _ENDIAN_LITTLE, _ENDIAN_BIG = 3, 2, 3
_EXTENSION_MAGIC: Final = (-358342284) & 0xFFFFFFFF
_EXTENSION_HWCAPS: Final = 1
_HWCAP_EXTENSION: Final = 1 << 30  # of the upper half of hwcap, next to the ten bits of the ISA level
_ISA_MASK: Final = 0x3FF
_MAX_KEY: Final = 256  # NAME_MAX and its terminator
_MAX_VALUE: Final = 4096
_MAX_SAME: Final = 256  # entries of one name
_DIGITS: Final = re.compile(rb"\d+|\D", re.DOTALL)

Key = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """One line of the cache.

    Attributes:
        path: the file.
        flags: the kind of library and its ABI, FLAG_* of glibc's ldconfig.h.
        hwcap: legacy capability bits; 0 when `level` is set.
        level: the glibc-hwcaps directory that the file lies in.
        isa_level: the number of the x86-64 level that the file demands, counted from 0.
    """

    path: str
    flags: int
    hwcap: int
    level: str | None
    isa_level: int


class LdCache:
    """A loader's cache of libraries, searched by name in place: nothing is parsed that nobody asks for."""

    def __init__(self, data: bytes, *, little: bool) -> None:
        self._data = data if len(data) <= MAX_SIZE else b""
        order = "<" if little else ">"
        self._word = Struct(order + "I")
        self._old = Struct(order + "III")
        self._new = Struct(order + "IIIIQ")
        self._keys: dict[int, Key | None] = {}
        self._levels: tuple[str | None, ...] | None = None
        self._extension = 0
        self._size = self._entries = self._strings = self._count = 0
        self._open(_ENDIAN_LITTLE if little else _ENDIAN_BIG)

    def _open(self, endian: int) -> None:
        data = self._data
        if data.startswith(_NEW_MAGIC):
            self._open_new(0, endian)
        elif data.startswith(_OLD_MAGIC) and len(data) > _OLD_HEADER:
            count = self._u32(12)
            if (len(data) - _OLD_HEADER) // _OLD_ENTRY < count:
                return
            strings = _OLD_HEADER + count * _OLD_ENTRY
            inner = (strings + 7) & ~7
            if data.startswith(_NEW_MAGIC, inner):
                self._open_new(inner, endian)
            else:
                self._entries, self._size, self._strings, self._count = _OLD_HEADER, _OLD_ENTRY, strings, count

    def _open_new(self, at: int, endian: int) -> None:
        if len(self._data) < at + _NEW_HEADER:
            return
        count = self._u32(at + 20)
        flags = self._data[at + 28]
        if (flags and flags & _ENDIAN_MASK != endian) or (len(self._data) - at - _NEW_HEADER) // _NEW_ENTRY < count:
            return
        self._extension = self._u32(at + 32)
        self._entries, self._size, self._strings, self._count = at + _NEW_HEADER, _NEW_ENTRY, at, count

    def find(self, name: str) -> list[CacheEntry]:
        """Give all entries of a name in the order of the file, in which files for better CPUs come first."""
        wanted = _key(os.fsencode(name))
        left, right = 0, self._count - 1
        while left <= right:
            middle = (left + right) // 2
            key = self._key_of(middle)
            if key is None:
                return []
            if key == wanted:
                return self._same(middle, wanted)
            if wanted < key:  # the table descends
                left = middle + 1
            else:
                right = middle - 1
        return []

    def _same(self, index: int, wanted: Key) -> list[CacheEntry]:
        first = index
        while first > 0 and index - first < _MAX_SAME and self._key_of(first - 1) == wanted:
            first -= 1
        found: list[CacheEntry] = []
        while first < self._count and len(found) < _MAX_SAME and self._key_of(first) == wanted:
            entry = self._entry(first)
            if entry is not None:
                found.append(entry)
            first += 1
        return found

    def _entry(self, index: int) -> CacheEntry | None:
        at = self._entries + index * self._size
        if self._size == _NEW_ENTRY:
            flags, _, value, _, hwcap = self._new.unpack_from(self._data, at)
        else:
            flags, _, value = self._old.unpack_from(self._data, at)
            hwcap = 0
        path = self._string(self._strings + value, _MAX_VALUE)
        if path is None:
            return None
        upper = hwcap >> 32
        if upper & ~_ISA_MASK == _HWCAP_EXTENSION:
            level = self._level(hwcap & 0xFFFFFFFF)
            return CacheEntry(os.fsdecode(path), flags, 0, level, upper & _ISA_MASK)
        return CacheEntry(os.fsdecode(path), flags, hwcap, None, 0)

    def _key_of(self, index: int) -> Key | None:
        if index not in self._keys:
            if len(self._keys) > 1 << 14:
                self._keys.clear()
            text = self._string(self._strings + self._u32(self._entries + index * self._size + 4), _MAX_KEY)
            self._keys[index] = None if text is None else _key(text)
        return self._keys[index]

    def _level(self, index: int) -> str:
        """Give the name of a glibc-hwcaps directory; empty when the file does not hold it."""
        if self._levels is None:
            self._levels = self._read_levels()
        return (self._levels[index] if index < len(self._levels) else None) or ""

    def _read_levels(self) -> tuple[str | None, ...]:
        """Read the extension section that names the directories."""
        at, size = self._extension, len(self._data)
        if not at or at % 4 or at + 8 > size or self._u32(at) != _EXTENSION_MAGIC:
            return ()
        count = min(self._u32(at + 4), 64)
        for section in range(at + 8, min(at + 8 + count * 16, size - 15), 16):
            tag, _, offset, length = (self._u32(section + step) for step in (0, 4, 8, 12))
            if tag == _EXTENSION_HWCAPS and offset % 4 == length % 4 == 0 and offset + length <= size:
                indexes = range(offset, offset + min(length, 1024), 4)
                names = [self._string(self._u32(index), _MAX_KEY) for index in indexes]
                return tuple(None if name is None else os.fsdecode(name) for name in names)
        return ()

    def _u32(self, at: int) -> int:
        value: int = self._word.unpack_from(self._data, at)[0]
        return value

    def _string(self, at: int, limit: int) -> bytes | None:
        end = self._data.find(b"\0", at, at + limit) if at < len(self._data) else -1
        return None if end < 0 else self._data[at:end]


def _key(name: bytes) -> Key:
    """Give what glibc's `_dl_cache_libcmp` compares: digits by their value, and above every other character."""
    key: list[int] = []
    for token in _DIGITS.findall(name[:_MAX_KEY]):
        if token[0] in b"0123456789":
            key += (256, int(token))
        else:
            key.append(token[0])
    return tuple(key)
