"""The first process of a jail that is only to be there: a whole program of some 300 bytes, made here.

It ignores SIGCHLD, so that the kernel reaps what is reparented to it (sigaction(2), NOTES), and sleeps. It needs no
library, no stack of its own and no file of the jail, and it never returns: a PID 1 that ends takes its namespace along.
Signals from inside its PID namespace do not reach it, because it has no handler (pid_namespaces(7)).
"""

from __future__ import annotations

import errno
import os
import struct
from typing import Final, NamedTuple

from jailkit.linux.tiny import static_program

# `struct sigaction` of the kernel: handler SIG_IGN, no flags, no restorer, nothing in the mask.
_ACTION: Final = struct.pack("<QQQQ", 1, 0, 0, 0)


class _Code(NamedTuple):
    """Machine code that is followed by _ACTION; `machine` is e_machine of the ELF header."""

    machine: int
    text: bytes


# rt_sigaction(SIGCHLD, &action, NULL, 8), then ppoll(NULL, 0, NULL, NULL) for ever.
_X86_64: Final = _Code(
    62,
    bytes.fromhex(
        "bf11000000"  # mov   edi, 17 (SIGCHLD)
        "488d3521000000"  # lea   rsi, [rip + 33], which is the action
        "31d2"  # xor   edx, edx
        "41ba08000000"  # mov   r10d, 8 (bytes of a sigset_t)
        "b80d000000"  # mov   eax, 13 (rt_sigaction)
        "0f05"  # syscall
        "31ff"  # xor   edi, edi: here begins the loop
        "31f6"  # xor   esi, esi
        "31d2"  # xor   edx, edx
        "4531d2"  # xor   r10d, r10d
        "b80f010000"  # mov   eax, 271 (ppoll)
        "0f05"  # syscall
        "ebee"  # jmp   18 bytes back
    ),
)
_AARCH64: Final = _Code(
    183,
    b"".join(
        word.to_bytes(4, "little")
        for word in (
            0xD2800220,  # mov  x0, #17 (SIGCHLD)
            0x10000181,  # adr  x1, 48 bytes on, which is the action
            0xD2800002,  # mov  x2, #0
            0xD2800103,  # mov  x3, #8 (bytes of a sigset_t)
            0xD28010C8,  # mov  x8, #134 (rt_sigaction)
            0xD4000001,  # svc  #0
            0xD2800000,  # mov  x0, #0: here begins the loop
            0xD2800001,  # mov  x1, #0
            0xD2800002,  # mov  x2, #0
            0xD2800003,  # mov  x3, #0
            0xD2800928,  # mov  x8, #73 (ppoll)
            0xD4000001,  # svc  #0
            0x17FFFFFA,  # b    6 instructions back
        )
    ),
)
_CODES: Final = {"x86_64": _X86_64, "aarch64": _AARCH64}


def idle_program(machine: str | None = None) -> bytes:
    """Give the program for a machine by the name of uname(2), this one by default.

    Raises:
        OSError: ENOEXEC, there is no code for such a machine.
    """
    name = machine or os.uname().machine
    code = _CODES.get(name)
    if code is None:
        raise OSError(errno.ENOEXEC, f"no idle program for {name}")
    return static_program(code.machine, code.text + _ACTION)
