"""What the kernel needs to start a file, told from the file's first bytes. Pure."""

from __future__ import annotations

import os
import struct
from typing import Final

from jailkit.linux.shebang import shebang_words

_PT_INTERP: Final = 3
# elf(5), by EI_CLASS. File header: e_phoff, then e_phentsize and e_phnum. Program header: p_offset and p_filesz.
_LAYOUTS: Final = {1: ("28xI10x2H", "4xI8xI"), 2: ("32xQ14x2H", "8xQ16xQ")}


def interpreter_of(head: bytes) -> str | None:
    """Give the path on a script's #! line, or of an ELF's program interpreter; None when there is none."""
    if words := shebang_words(head):
        return words[0]
    if head.startswith(b"\x7fELF"):
        try:
            return _elf_interpreter(head)
        except (IndexError, KeyError, struct.error):
            return None
    return None


def _elf_interpreter(head: bytes) -> str | None:
    order = {1: "<", 2: ">"}[head[5]]
    file_header, program_header = (order + layout for layout in _LAYOUTS[head[4]])
    table, size, count = struct.unpack_from(file_header, head)
    for number in range(count):
        place = table + number * size
        if struct.unpack_from(order + "I", head, place)[0] == _PT_INTERP:
            offset, length = struct.unpack_from(program_header, head, place)
            return os.fsdecode(head[offset : offset + length].rstrip(b"\0")) or None
    return None
