"""ELF files and loader caches written byte by byte: any class, any byte order, any lie."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

PT_LOAD, PT_DYNAMIC, PT_INTERP = 1, 2, 3
NEEDED, STRTAB, SYMTAB, SONAME, RPATH, RUNPATH, FLAGS, FLAGS_1 = 1, 5, 6, 14, 15, 29, 30, 0x6FFFFFFB
AUXILIARY, FILTER = 0x7FFFFFFD, 0x7FFFFFFF
BASE = 0x400000  # where the file is mapped


@dataclass
class Image:
    """What goes into a file. Strings are given as they are; values of other dynamic entries as numbers.

    `segments` replaces the program headers: (type, offset, address, size) each.
    """

    bits: int = 64
    little: bool = True
    machine: int = 62
    kind: int = 3
    interpreter: bytes | None = None
    dynamic: Sequence[tuple[int, bytes | int]] = ()
    symbols: Sequence[tuple[bytes, int]] = ()
    ident: dict[int, int] = field(default_factory=dict)
    segments: Sequence[tuple[int, int, int, int]] | None = None
    header: dict[str, int] = field(default_factory=dict)

    def build(self) -> bytes:
        """Write the file."""
        order = "<" if self.little else ">"
        wide = self.bits == 64
        body_at = 0x1000
        body = bytearray()
        interpreter_at = body_at
        body += self.interpreter or b""
        strings = bytearray(b"\0")
        entries = [(tag, self._intern(strings, value)) for tag, value in self.dynamic]
        named = [(self._intern(strings, name), section) for name, section in self.symbols]
        symbols = b"".join(self._symbol(order, name, section) for name, section in ((0, 0), *named))
        symbols_at = body_at + len(body)
        body += symbols
        strings_at = body_at + len(body)
        body += strings
        if self.symbols:
            entries.append((SYMTAB, BASE + symbols_at))
        if self.dynamic or self.symbols:
            entries.append((STRTAB, BASE + strings_at))
        body += b"\0" * (-len(body) % 8)
        dynamic_at = body_at + len(body)
        dynamic = b"".join(
            struct.pack(order + ("QQ" if wide else "II"), tag, value) for tag, value in (*entries, (0, 0))
        )
        body += dynamic
        segments = self.segments
        if segments is None:
            segments = [(PT_LOAD, 0, BASE, body_at + len(body))]
            if self.interpreter is not None:
                segments.append((PT_INTERP, interpreter_at, BASE + interpreter_at, len(self.interpreter)))
            if entries:
                segments.append((PT_DYNAMIC, dynamic_at, BASE + dynamic_at, len(dynamic)))
        head = self._head(order, segments)
        return head + b"\0" * (body_at - len(head)) + bytes(body)

    @staticmethod
    def _intern(strings: bytearray, value: bytes | int) -> int:
        if isinstance(value, int):
            return value
        at = len(strings)
        strings += value + b"\0"
        return at

    def _symbol(self, order: str, name: int, section: int) -> bytes:
        if self.bits == 64:
            return struct.pack(order + "IBBHQQ", name, 0, 0, section, 0, 0)
        return struct.pack(order + "IIIBBH", name, 0, 0, 0, 0, section)

    def _head(self, order: str, segments: Sequence[tuple[int, int, int, int]]) -> bytes:
        wide = self.bits == 64
        ident = bytearray(b"\x7fELF" + bytes((2 if wide else 1, 1 if self.little else 2, 1)) + b"\0" * 9)
        for at, value in self.ident.items():
            ident[at] = value
        size = 56 if wide else 32
        fields = {
            "type": self.kind, "machine": self.machine, "version": 1, "entry": 0, "phoff": 64 if wide else 52,
            "shoff": 0, "flags": 0, "ehsize": 64 if wide else 52, "phentsize": size, "phnum": len(segments),
            "shentsize": 0, "shnum": 0, "shstrndx": 0,
        } | self.header  # fmt: skip
        head = bytes(ident) + struct.pack(order + ("HHIQQQIHHHHHH" if wide else "HHIIIIIHHHHHH"), *fields.values())
        for kind, offset, address, length in segments:
            if wide:
                head += struct.pack(order + "IIQQQQQQ", kind, 4, offset, address, address, length, length, 0x1000)
            else:
                head += struct.pack(order + "IIIIIIII", kind, offset, address, address, length, length, 4, 0x1000)
        return head


@dataclass(frozen=True)
class Line:
    """An entry of ld.so.cache; with `level`, an index into the list of glibc-hwcaps directories."""

    key: bytes
    value: bytes
    flags: int = 0x303
    hwcap: int = 0
    level: int | None = None


def cache(lines: Sequence[Line], levels: Sequence[bytes] = (), *, little: bool = True, marked: bool = True) -> bytes:
    """Write an ld.so.cache in the new format; `lines` as they shall stand in it."""
    order = "<" if little else ">"
    strings_at = 48 + 24 * len(lines)
    strings = bytearray()

    def intern(text: bytes) -> int:
        at = strings_at + len(strings)
        strings.extend(text + b"\0")
        return at

    table = b""
    for line in lines:
        hwcap = line.hwcap if line.level is None else (1 << 62) | line.level
        table += struct.pack(order + "IIIIQ", line.flags, intern(line.key), intern(line.value), 0, hwcap)
    indexes = [intern(level) for level in levels]
    strings.extend(b"\0" * (-(strings_at + len(strings)) % 4))
    extension = strings_at + len(strings) if levels else 0
    mark = (2 if little else 3) if marked else 0
    head = b"glibc-ld.so.cache1.1" + struct.pack(order + "IIB3xI12x", len(lines), len(strings), mark, extension)
    tail = b""
    if levels:
        tail = struct.pack(order + "IIIIII", -358342284 & 0xFFFFFFFF, 1, 1, 0, extension + 24, 4 * len(indexes))
        tail += struct.pack(order + f"{len(indexes)}I", *indexes)
    return head + table + bytes(strings) + tail
