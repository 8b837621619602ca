"""Scripts: lists of system calls, and the tiny program that makes them one after the other.

Forking this interpreter costs milliseconds, most of them for memory: a child copies every page that it touches, and so
does its parent. posix_spawn(3) shares the memory until the program is executed, and this one has next to none.

The last line of a script is to execute another program. A line that fails is reported, and ends it.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from jailkit.linux.fork import Failure
from jailkit.linux.tiny import DATA_DISTANCE, static_program, text_address

REPORT: Final = 3  # the descriptor that a failure is written to
ANY: Final = (0, 2**63 - 1)  # what a call gives that did what it was to do
NUMBERS: Final = {
    "x86_64": {
        "capset": 126, "chdir": 80, "chroot": 161, "close": 3, "close_range": 436, "execve": 59, "execveat": 322,
        "faccessat": 269, "fchdir": 81, "fchmodat": 268, "fchownat": 260, "fcntl": 72, "fsconfig": 431,
        "fsmount": 432, "fsopen": 430, "getppid": 110, "ioctl": 16, "keyctl": 250, "mkdirat": 258, "mount": 165,
        "mount_setattr": 442, "move_mount": 429, "open_tree": 428, "openat": 257, "openat2": 437, "pivot_root": 155,
        "ppoll": 271, "prctl": 157, "prlimit64": 302, "read": 0, "rt_sigaction": 13, "setgroups": 116,
        "sethostname": 170, "setns": 308, "setresgid": 119, "setresuid": 117, "socket": 41, "symlinkat": 266,
        "umask": 95, "umount2": 166, "unshare": 272, "write": 1,
    },
    "aarch64": {
        "capset": 91, "chdir": 49, "chroot": 51, "close": 57, "close_range": 436, "execve": 221, "execveat": 281,
        "faccessat": 48, "fchdir": 50, "fchmodat": 53, "fchownat": 54, "fcntl": 25, "fsconfig": 431, "fsmount": 432,
        "fsopen": 430, "getppid": 173, "ioctl": 29, "keyctl": 219, "mkdirat": 34, "mount": 40, "mount_setattr": 442,
        "move_mount": 429, "open_tree": 428, "openat": 56, "openat2": 437, "pivot_root": 41, "ppoll": 73,
        "prctl": 167, "prlimit64": 261, "read": 63, "rt_sigaction": 134, "setgroups": 159, "sethostname": 161,
        "setns": 268, "setresgid": 149, "setresuid": 147, "socket": 198, "symlinkat": 36, "umask": 166, "umount2": 39,
        "unshare": 97, "write": 64,
    },
}  # fmt: skip

_RECORD: Final = struct.Struct("<7Q2qQ")
_ARGUMENTS: Final = 6
_TITLE: Final = 256  # bytes for a title and its end
_WORD: Final = 2**64 - 1
_ANSWER: Final = struct.Struct("<Qq")


class _Code(NamedTuple):
    """Machine code; right after it, DATA_DISTANCE on, is the table of records. `machine` is e_machine."""

    machine: int
    text: bytes


# A record is a number and six arguments, the least and the most that the call may give, and a bit for each errno below
# 64 that is no matter. What failed is told by the address of its record and what the call gave.
_X86_64: Final = _Code(
    62,
    bytes.fromhex(
        "488d1d69000100"  # lea  rbx, [rip + 0x10069], which is the table
        "488b03"  # mov  rax, [rbx]: here begins the loop
        "488b7b08"  # mov  rdi, [rbx + 8]
        "488b7310"  # mov  rsi, [rbx + 16]
        "488b5318"  # mov  rdx, [rbx + 24]
        "4c8b5320"  # mov  r10, [rbx + 32]
        "4c8b4328"  # mov  r8, [rbx + 40]
        "4c8b4b30"  # mov  r9, [rbx + 48]
        "0f05"  # syscall
        "483b4338"  # cmp  rax, [rbx + 56]
        "7c06"  # jl   over the next two
        "483b4340"  # cmp  rax, [rbx + 64]
        "7e16"  # jle  to the end of the loop
        "4889c1"  # mov  rcx, rax
        "48f7d9"  # neg  rcx
        "4883f93f"  # cmp  rcx, 63
        "7710"  # ja   to the report
        "488b5348"  # mov  rdx, [rbx + 72]
        "480fa3ca"  # bt   rdx, rcx
        "7306"  # jnc  to the report
        "4883c350"  # add  rbx, 80: the end of the loop
        "ebbb"  # jmp  to its beginning
        "50"  # push rax: the report
        "53"  # push rbx
        "bf03000000"  # mov  edi, 3 (REPORT)
        "4889e6"  # mov  rsi, rsp
        "ba10000000"  # mov  edx, 16
        "b801000000"  # mov  eax, 1 (write)
        "0f05"  # syscall
        "bf7d000000"  # mov  edi, 125
        "b8e7000000"  # mov  eax, 231 (exit_group)
        "0f05"  # syscall
        "cccc"  # int3, for a table at a multiple of 8
    ),
)
_AARCH64: Final = _Code(
    183,
    b"".join(
        word.to_bytes(4, "little")
        for word in (
            0x10080393,  # adr  x19, 0x10070 bytes on, which is the table
            0xA9400268,  # ldp  x8, x0, [x19]: here begins the loop
            0xA9410A61,  # ldp  x1, x2, [x19, #16]
            0xA9421263,  # ldp  x3, x4, [x19, #32]
            0xF9401A65,  # ldr  x5, [x19, #48]
            0xD4000001,  # svc  #0
            0xA943AA69,  # ldp  x9, x10, [x19, #56]
            0xEB09001F,  # cmp  x0, x9
            0x5400006B,  # b.lt over the next two
            0xEB0A001F,  # cmp  x0, x10
            0x540000ED,  # b.le to the end of the loop
            0xCB0003EB,  # neg  x11, x0
            0xF100FD7F,  # cmp  x11, #63
            0x540000C8,  # b.hi to the report
            0xF940266C,  # ldr  x12, [x19, #72]
            0x9ACB258C,  # lsr  x12, x12, x11
            0x3600006C,  # tbz  w12, #0, to the report
            0x91014273,  # add  x19, x19, #80: the end of the loop
            0x17FFFFEF,  # b    to its beginning
            0xA9BF03F3,  # stp  x19, x0, [sp, #-16]!: the report
            0xD2800060,  # mov  x0, #3 (REPORT)
            0x910003E1,  # mov  x1, sp
            0xD2800202,  # mov  x2, #16
            0xD2800808,  # mov  x8, #64 (write)
            0xD4000001,  # svc  #0
            0xD2800FA0,  # mov  x0, #125
            0xD2800BC8,  # mov  x8, #94 (exit_group)
            0xD4000001,  # svc  #0
        )
    ),
)
_CODES: Final = {"x86_64": _X86_64, "aarch64": _AARCH64}

# A number; bytes that it is to be the address of; or what an array in memory has that it is to point to: numbers, and
# addresses of bytes, with None for those of the title, which is filled in last. NULL ends it.
Argument = int | bytes | tuple[int | bytes | None, ...]


class Line(NamedTuple):
    """One call.

    Attributes:
        step: what it is for, as the end of "cannot ...".
        call: its name.
        thing: the path that it is about.
        gives: the least and the most that it may give.
        tolerated: the numbers of errors that are no matter.
        unsupported: the numbers of errors that say what EOPNOTSUPP says.
    """

    step: str
    call: str
    arguments: tuple[Argument, ...]
    thing: str = ""
    gives: tuple[int, int] = ANY
    tolerated: tuple[int, ...] = ()
    unsupported: tuple[int, ...] = ()


class Script(NamedTuple):
    """A script, and the program that it is.

    Attributes:
        table: the address of the first line's record.
        hole: the place in the program that is for a title.
    """

    lines: tuple[Line, ...]
    program: bytes
    table: int
    hole: int

    @classmethod
    def of(cls, lines: Sequence[Line], machine: str | None = None) -> Script:
        """Write the program that makes these calls on a machine, by the name of uname(2), this one by default.

        Raises:
            OSError: ENOEXEC, scripts cannot be written for such a machine.
            OverflowError: an argument fits no register.
        """
        name = machine or os.uname().machine
        if name not in _CODES:
            raise OSError(errno.ENOEXEC, f"no scripts for {name}")
        code = _CODES[name]
        table = text_address(segments=2) + len(code.text) + DATA_DISTANCE
        data = _Data(table + len(lines) * _RECORD.size)
        records = b"".join(_record(line, NUMBERS[name], data) for line in lines)
        program = static_program(code.machine, code.text, records + data.content)
        return cls(tuple(lines), program, table, len(program) - len(data.content))

    def titled(self, title: bytes) -> bytes:
        """Give the program with a title.

        Raises:
            OSError: ENAMETOOLONG.
        """
        if len(title) >= _TITLE:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), os.fsdecode(title))
        return self.program[: self.hole] + title.ljust(_TITLE, b"\0") + self.program[self.hole + _TITLE :]

    def failure(self, answer: bytes) -> Failure:
        """Read what the program has reported; nothing, when it was killed."""
        if len(answer) != _ANSWER.size:
            return Failure("go on, having been killed", errno.EINTR)
        address, result = _ANSWER.unpack(answer)
        line = self.lines[(address - self.table) // _RECORD.size]
        # What is neither an error nor what was expected: the end of a pipe, for example.
        number = -result if result < 0 else errno.ECANCELED
        return Failure(line.step, errno.EOPNOTSUPP if number in line.unsupported else number, line.thing)


class _Data:
    """What records point to: first a hole for the title, then every piece once."""

    def __init__(self, address: int) -> None:
        self.content = bytearray(_TITLE)  # It grows in place: a command may have 100,000 words.
        self._address = address
        self._places: dict[bytes, int] = {}

    def place(self, piece: bytes) -> int:
        """Give the address of some bytes."""
        if piece not in self._places:
            self._places[piece] = self._address + len(self.content)
            self.content += piece + bytes(-len(piece) % 8)
        return self._places[piece]

    def array(self, items: Iterable[int | bytes | None]) -> int:
        """Give the address of an array."""
        words = [item if isinstance(item, int) else self._of(item) for item in items]
        return self.place(struct.pack(f"<{len(words)}Q", *words) + bytes(8))

    def _of(self, text: bytes | None) -> int:
        return self._address if text is None else self.place(text)


def _record(line: Line, numbers: dict[str, int], data: _Data) -> bytes:
    arguments = [_word(argument, data) for argument in line.arguments]
    arguments += [0] * (_ARGUMENTS - len(arguments))
    tolerated = sum(1 << number for number in set(line.tolerated))
    return _RECORD.pack(numbers[line.call], *arguments, *line.gives, tolerated)


def _word(argument: Argument, data: _Data) -> int:
    if isinstance(argument, int):
        if not -(2**63) <= argument <= _WORD:
            raise OverflowError(f"{argument} fits no register")
        return argument & _WORD
    return data.place(argument) if isinstance(argument, bytes) else data.array(argument)
