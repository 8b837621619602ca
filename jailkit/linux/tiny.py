"""Writing static programs of a few bytes of machine code (elf(5))."""

from __future__ import annotations

import struct
from typing import Final

DATA_DISTANCE: Final = 0x10000  # bytes from where the file says to where its data are: the largest page of aarch64
EHDR: Final = struct.Struct("<16sHHIQQQIHHHHHH")
PHDR: Final = struct.Struct("<IIQQQQQQ")

_BASE: Final = 0x400000
_IDENT: Final = b"\x7fELF" + bytes((2, 1, 1)) + bytes(9)  # ELFCLASS64, ELFDATA2LSB, EV_CURRENT
_ET_EXEC: Final = 2
_PT_LOAD: Final = 1
_PT_GNU_STACK: Final = 0x6474E551
_PF_X: Final = 1
_PF_W: Final = 2
_PF_R: Final = 4


def text_address(segments: int) -> int:
    """Give where the code of a program of so many segments is in memory; right after it, DATA_DISTANCE on, its data."""
    return _BASE + EHDR.size + (segments + 1) * PHDR.size


def static_program(machine: int, text: bytes, data: bytes = b"") -> bytes:
    """Give a program that begins with the first byte of `text`; `data` can be written to, and follows in the file.

    `machine` is e_machine.
    """
    segments = 2 if data else 1
    start = EHDR.size + (segments + 1) * PHDR.size
    end = start + len(text)
    header = EHDR.pack(
        _IDENT, _ET_EXEC, machine, 1, _BASE + start, EHDR.size, 0, 0, EHDR.size, PHDR.size, segments + 1, 0, 0, 0
    )
    # The first segment has the headers too. The last entry keeps the stack from being executable.
    table = [PHDR.pack(_PT_LOAD, _PF_R | _PF_X, 0, _BASE, _BASE, end, end, DATA_DISTANCE)]
    if data:
        place = _BASE + end + DATA_DISTANCE
        size = len(data)
        table.append(PHDR.pack(_PT_LOAD, _PF_R | _PF_W, end, place, place, size, size, DATA_DISTANCE))
    table.append(PHDR.pack(_PT_GNU_STACK, _PF_R | _PF_W, 0, 0, 0, 0, 0, 16))
    return header + b"".join(table) + text + data
