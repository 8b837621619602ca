"""What this machine's CPU can do, as far as a loader's choice of files depends on it. Read from the kernel."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from typing import Final

# The x86-64 psABI's micro-architecture levels in the kernel's spelling (arch/x86/include/asm/cpufeatures.h):
# pni is SSE3, abm is LZCNT.
_X86_LEVELS: Final = (
    frozenset(("cx16", "lahf_lm", "popcnt", "pni", "ssse3", "sse4_1", "sse4_2")),
    frozenset(("avx", "avx2", "f16c", "fma", "abm", "movbe")),
    frozenset(("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")),
)
# What glibc's sysdeps/x86/cpu-features.c asks of an Intel CPU before it names the platform haswell.
_HASWELL: Final = frozenset(("avx2", "fma", "bmi1", "bmi2", "abm", "movbe", "popcnt"))
_XEON_PHI: Final = frozenset(("avx512cd", "avx512er", "avx512pf"))
_AVX512_1: Final = frozenset(("avx512cd", "avx512bw", "avx512dq", "avx512vl"))


@dataclass(frozen=True)
class Cpu:
    """The vendor and the flags of /proc/cpuinfo; no flags when it cannot be read, which stands for the oldest CPU."""

    vendor: str
    flags: frozenset[str]

    @cached_property
    def x86_level(self) -> int:
        """Give the level, 1 to 4; every level includes those below it."""
        level = 1
        for wanted in _X86_LEVELS:
            if not wanted <= self.flags:
                break
            level += 1
        return level

    @cached_property
    def x86_platform(self) -> str | None:
        """Give the name by which glibc knows this Intel CPU; None for all others."""
        if self.vendor != "GenuineIntel":
            return None
        if self.flags >= _XEON_PHI:
            return "xeon_phi"
        return "haswell" if self.flags >= _HASWELL else None

    @cached_property
    def x86_avx512_1(self) -> bool:
        """Tell whether glibc's legacy capability avx512_1 is set."""
        return self.vendor == "GenuineIntel" and self.flags >= _AVX512_1 and "avx512er" not in self.flags


def read_cpu(path: str = "/proc/cpuinfo") -> Cpu:
    """Read the first processor's entry; the file has one for each and takes the kernel long on a large machine."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            text = os.read(fd, 8192).decode("ascii", "replace")
        finally:
            os.close(fd)
    except OSError:
        return Cpu("", frozenset())
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip().lower(), value.strip())
    flags = fields.get("flags") or fields.get("features") or ""
    return Cpu(fields.get("vendor_id", ""), frozenset(flags.split()))
