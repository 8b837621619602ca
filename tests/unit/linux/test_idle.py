"""The idle program: an ELF file that elf(5) would recognise, for both machines."""

from __future__ import annotations

import struct

import pytest

from jailkit.linux.idle import idle_program


@pytest.mark.parametrize(("machine", "number"), [("x86_64", 62), ("aarch64", 183)])
def test_the_header_and_its_one_segment_are_those_of_the_file(machine: str, number: int) -> None:
    program = idle_program(machine)
    assert program[:7] == b"\x7fELF\x02\x01\x01"
    kind, found, _, entry, offset = struct.unpack_from("<HHIQQ", program, 16)
    assert (kind, found, offset) == (2, number, 64)
    segment, flags, start, address, _, size, in_memory, align = struct.unpack_from("<IIQQQQQQ", program, 64)
    assert (segment, flags, start, size, in_memory) == (1, 5, 0, len(program), len(program))
    assert address % align == start % align
    assert address + 64 + 2 * 56 == entry
    assert struct.unpack_from("<II", program, 64 + 56) == (0x6474E551, 6), "the stack is not executable"


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_it_ends_with_an_action_that_ignores(machine: str) -> None:
    assert idle_program(machine)[-32:] == struct.pack("<QQQQ", 1, 0, 0, 0)


def test_the_address_of_the_action_is_right_on_x86_64() -> None:
    program = idle_program("x86_64")
    lea = program.index(b"\x48\x8d\x35")
    (distance,) = struct.unpack_from("<i", program, lea + 3)
    assert lea + 7 + distance == len(program) - 32


def test_the_address_of_the_action_and_the_loop_are_right_on_aarch64() -> None:
    program = idle_program("aarch64")
    words = struct.unpack("<13I", program[176:-32])
    adr = words[1]
    assert adr & 0x9F00001F == 0x10000001
    assert 176 + 4 + ((adr >> 5 & 0x7FFFF) << 2 | adr >> 29 & 3) == len(program) - 32
    back = (words[12] & 0x3FFFFFF) - (1 << 26)
    assert words[12 + back] == 0xD2800000, "the loop begins with the first argument of ppoll"


def test_there_is_none_for_a_machine_without_code() -> None:
    with pytest.raises(OSError, match="no idle program for sparc"):
        idle_program("sparc")
