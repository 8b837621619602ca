"""Programs of seccomp: run by hand, as the kernel would run them, and loaded into a child of a test."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jailkit.linux.libc import PR_SET_NO_NEW_PRIVS, SeccompFilter, prctl, seccomp_set_mode_filter
from jailkit.seccomp import Above, Condition
from jailkit.seccomp.bpf import SOCK_FILTER

PROBE_SOURCE = Path(__file__).with_name("calls.c")

# linux/audit.h, and the numbers of uname(2) that speak each
ARCHITECTURES = {
    "x86_64": ("x86_64", 0xC000003E), "x86": ("x86_64", 0x40000003), "aarch64": ("aarch64", 0xC00000B7),
    "arm": ("aarch64", 0x40000028), "riscv64": ("riscv64", 0xC00000F3),
}  # fmt: skip
ALLOWED, KILLED = "allowed", "killed"
_RETURNS = {0x7FFF0000: ALLOWED, 0x80000000: KILLED}


def verdict(program: bytes, architecture: int, number: int, arguments: Sequence[int] = ()) -> str | int:
    """Run a program on a call: ALLOWED, KILLED, or the errno that the call fails with."""
    data = [number & 0xFFFFFFFF, architecture, 0, 0]
    for argument in [*arguments, *[0] * 6][:6]:
        data += [argument & 0xFFFFFFFF, argument >> 32 & 0xFFFFFFFF]
    code = list(SOCK_FILTER.iter_unpack(program))
    accumulator = at = 0
    while True:
        opcode, if_true, if_false, k = code[at]
        at += 1
        if opcode == 0x20:  # BPF_LD | BPF_W | BPF_ABS
            accumulator = data[k // 4]
        elif opcode == 0x54:  # BPF_ALU | BPF_AND | BPF_K
            accumulator &= k
        elif opcode == 0x05:  # BPF_JMP | BPF_JA
            at += k
        elif opcode == 0x06:  # BPF_RET | BPF_K
            return _RETURNS[k] if k in _RETURNS else k ^ 0x00050000
        else:
            holds = {0x15: accumulator == k, 0x25: accumulator > k, 0x35: accumulator >= k, 0x45: accumulator & k != 0}
            at += if_true if holds[opcode] else if_false


def matching(conditions: Sequence[Condition]) -> list[int]:
    """Give six arguments for which all conditions hold; the others are 1, which harms nobody in any call refused."""
    arguments = [1] * 6
    for condition in conditions:
        arguments[condition.argument] = condition.value + 1 if isinstance(condition, Above) else condition.value
    return arguments


def run_filtered(program: bytes, command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command under a filter, with no_new_privs."""
    prepared = SeccompFilter(program)

    def enter() -> None:
        prctl(PR_SET_NO_NEW_PRIVS, 1)
        seccomp_set_mode_filter(prepared)

    defaults = {"input": "", "capture_output": True, "text": True, "timeout": 60, "check": False}
    return subprocess.run(command, preexec_fn=enter, **(defaults | options))


def build_probe(folder: Path, *flags: str) -> Path:
    """Compile calls.c."""
    program = folder / f"calls{''.join(flags)}"
    subprocess.run(["gcc", "-O1", "-Wall", "-Werror", *flags, "-o", program, PROBE_SOURCE], check=True, timeout=60)
    return program


def errnos(done: subprocess.CompletedProcess[str]) -> list[int]:
    """Read what calls.c prints."""
    assert done.returncode == 0, (done.returncode, done.stderr)
    return [int(line) for line in done.stdout.split()]


PYTHON = (sys.executable, "-I", "-S", "-c")
SIGSYS = 31
