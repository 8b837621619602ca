"""Scripts: what their programs consist of, for both machines, and what is read of a failure."""

from __future__ import annotations

import errno
import importlib
import struct

import pytest

from jailkit.linux.script import NUMBERS, Line, Script

MACHINES = ("x86_64", "aarch64")
RECORD = struct.Struct("<7Q2qQ")
LINES = (
    Line("begin", "chdir", (b"/\0",), thing="/"),
    Line("go on", "openat", (-100, b"name\0", 2), gives=(5, 5), tolerated=(errno.ENOENT, errno.EACCES)),
    Line("map", "mount_setattr", (5,), thing="/home", unsupported=(errno.EINVAL,)),
    Line("end", "execveat", (4, b"\0", (b"init\0", None), (), 0x1000)),
)


def segments(program: bytes) -> dict[int, tuple[int, int, int]]:
    """Give offset, address and size of what is loaded, by its flags."""
    found = {}
    for number in range(2):
        kind, flags, offset, address, _, size, _, align = struct.unpack_from("<IIQQQQQQ", program, 64 + 56 * number)
        assert (kind, address % align) == (1, offset % align)
        found[flags] = (offset, address, size)
    return found


def records(script: Script) -> list[tuple[int, ...]]:
    offset, address, _ = segments(script.program)[6]
    assert address == script.table
    return [RECORD.unpack_from(script.program, offset + number * RECORD.size) for number in range(len(script.lines))]


def content(script: Script, address: int, length: int) -> bytes:
    offset, start, _ = segments(script.program)[6]
    return script.program[offset + address - start :][:length]


@pytest.mark.parametrize("machine", MACHINES)
def test_code_cannot_be_written_and_data_not_be_executed(machine: str) -> None:
    program = Script.of(LINES, machine).program
    found = segments(program)
    assert set(found) == {5, 6}
    assert found[5][0] == 0
    assert found[6][0] == found[5][2], "the data follow in the file"
    assert struct.unpack_from("<II", program, 64 + 2 * 56) == (0x6474E551, 6), "nor the stack"
    assert struct.unpack_from("<Q", program, 24)[0] == found[5][1] + 64 + 3 * 56, "it begins with the code"


def test_the_address_of_the_table_is_right_on_x86_64() -> None:
    script = Script.of(LINES, "x86_64")
    (entry,) = struct.unpack_from("<Q", script.program, 24)
    assert script.program[232:235] == b"\x48\x8d\x1d", "lea rbx"
    (distance,) = struct.unpack_from("<i", script.program, 235)
    assert entry + 7 + distance == script.table


def test_the_address_of_the_table_is_right_on_aarch64() -> None:
    script = Script.of(LINES, "aarch64")
    (entry,) = struct.unpack_from("<Q", script.program, 24)
    (adr,) = struct.unpack_from("<I", script.program, 232)
    assert adr & 0x9F00001F == 0x10000013, "adr x19"
    assert entry + ((adr >> 5 & 0x7FFFF) << 2 | adr >> 29 & 3) == script.table


@pytest.mark.parametrize("machine", MACHINES)
def test_each_line_is_a_record(machine: str) -> None:
    script = Script.of(LINES, machine)
    first, second, _, last = records(script)
    assert first[0] == NUMBERS[machine]["chdir"]
    assert content(script, first[1], 2) == b"/\0"
    assert first[7:] == (0, 2**63 - 1, 0)
    assert second[1:4] == (2**64 - 100, second[2], 2)
    assert second[7:] == (5, 5, 1 << errno.ENOENT | 1 << errno.EACCES)
    name, title, end = struct.unpack("<3Q", content(script, last[3], 24))
    assert (content(script, name, 5), end) == (b"init\0", 0)
    assert content(script, last[4], 8) == bytes(8), "an array with nothing in it"
    titled = script._replace(program=script.titled(b"box/main"))
    assert content(titled, title, 10) == b"box/main\0\0"
    assert len(titled.program) == len(script.program)


def test_failures_are_told_by_their_line() -> None:
    script = Script.of(LINES, "aarch64")

    def answer(line: int, result: int) -> tuple[str, int, str]:
        failure = script.failure(struct.pack("<Qq", script.table + line * RECORD.size, result))
        return failure.step, failure.number, failure.thing

    assert answer(0, -errno.EACCES) == ("begin", errno.EACCES, "/")
    assert answer(1, 6) == ("go on", errno.ECANCELED, ""), "no error, and not what was foreseen"
    assert answer(2, -errno.EINVAL) == ("map", errno.EOPNOTSUPP, "/home")
    assert answer(2, -errno.ENOENT) == ("map", errno.ENOENT, "/home")


def test_what_cannot_be_written() -> None:
    with pytest.raises(OSError, match="no scripts for sparc"):
        Script.of(LINES, "sparc")
    for number in (2**64, 1 << 70, -(2**63) - 1):
        with pytest.raises(OverflowError):
            Script.of([Line("become", "setresuid", (number,))], "x86_64")
    with pytest.raises(OSError, match="File name too long"):
        Script.of(LINES, "x86_64").titled(b"x" * 256)


def test_both_machines_have_the_same_calls() -> None:
    assert set(NUMBERS["x86_64"]) == set(NUMBERS["aarch64"])


@pytest.mark.needs("python3-seccomp")
@pytest.mark.parametrize(("machine", "arch"), [("x86_64", "X86_64"), ("aarch64", "AARCH64")])
def test_the_numbers_are_those_that_libseccomp_knows(machine: str, arch: str) -> None:
    seccomp = importlib.import_module("seccomp")
    known = {name: seccomp.resolve_syscall(getattr(seccomp.Arch, arch), name) for name in NUMBERS[machine]}
    wrong = {name: number for name, number in NUMBERS[machine].items() if known[name] not in (number, -1)}
    assert wrong == {}
