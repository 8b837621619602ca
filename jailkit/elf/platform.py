"""What a loader's own binary says about it: its directories, its library directory name, its hardware levels.

glibc prints the same with `ld.so --list-diagnostics`, but a loader of another root must not be executed. The
facts are constants in its read-only data, in a form that its source fixes (elf/dl-load.c, elf/dl-hwcaps.c).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Final

from jailkit.elf.cpu import Cpu
from jailkit.elf.model import EM_386, EM_AARCH64, EM_X86_64, Elf

MAX_BINARY: Final = 1 << 21  # a glibc loader has 200 KiB, musl 800 KiB
_MUSL: Final = re.compile(rb"/etc/ld-musl-([a-z0-9_-]{1,64})\.path\0")
_CACHE: Final = re.compile(rb"\0(/[^\0]{1,255}/ld\.so\.cache)\0")  # not in /etc where the libc has its own prefix
_VERSION: Final = re.compile(rb"release version (\d{1,3})\.(\d{1,3})")
_LEVEL: Final = rb"(?:x86-64-v\d|power\d{1,2}|z\d{1,2})"
_LEVELS: Final = re.compile(rb"\0(" + _LEVEL + rb"(?::" + _LEVEL + rb"){0,15})(?=\0)")
_LEGACY_ENDS: Final = (2, 37)  # the first glibc that searches no tls/, platform and capability directories
_UNKNOWN_DIRECTORIES: Final = ("/lib/", "/usr/lib/", "/lib64/", "/usr/lib64/")

# _dl_x86_hwcap_flags, _dl_x86_platforms and their bits in a cache entry (sysdeps/x86/dl-procinfo.h).
_X86_HWCAPS: Final = ("sse2", "x86_64", "avx512_1")
_X86_PLATFORMS: Final = {"i586": 1 << 48, "i686": 1 << 49, "haswell": 1 << 50, "xeon_phi": 1 << 51}
_X86_PLATFORM_BITS: Final = 0xF << 48
_TLS_BIT: Final = 1 << 63


@dataclass(frozen=True, slots=True)
class Musl:
    """musl: all that its binary has to say is the name of its architecture."""

    architecture: str


@dataclass(frozen=True, slots=True)
class Glibc:
    """glibc's ld.so.

    Attributes:
        system_dirs: where it looks last, each with its final slash.
        cache_file: its cache of libraries.
        lib: $LIB.
        platform: $PLATFORM; None when the kernel gives none.
        levels: the glibc-hwcaps directories that it knows, best first.
        active: those of them that this CPU may use.
        isa_level: the x86-64 level of this CPU, which cache entries may demand.
        legacy: the older capability directories, best first, all usable here.
        cache_bits: the legacy capability bits that a cache entry may demand.
        cache_platform: the platform bit that a cache entry may demand, 0 for none.
    """

    system_dirs: tuple[str, ...]
    cache_file: str
    lib: str
    platform: str | None
    levels: tuple[str, ...]
    active: frozenset[str]
    isa_level: int
    legacy: tuple[str, ...]
    cache_bits: int
    cache_platform: int

    def takes(self, hwcap: int) -> bool:
        """Tell whether a cache entry's legacy capability bits allow it on this CPU."""
        platform = hwcap & _X86_PLATFORM_BITS if self.cache_bits else 0
        return not hwcap & ~platform & ~self.cache_bits and platform in (0, self.cache_platform)

    def rank(self, level: str) -> int | None:
        """Give the place of an active level, lower is better; None when this CPU or loader does not take it."""
        return self.levels.index(level) if level in self.active else None


def read_platform(elf: Elf, data: bytes, cpu: Cpu) -> Glibc | Musl:
    """Read the facts out of the binary of a loader, for programs like `elf`."""
    if musl := _MUSL.search(data):
        return Musl(musl[1].decode())
    return read_glibc(elf, data, cpu)


def read_glibc(elf: Elf, data: bytes, cpu: Cpu) -> Glibc:
    """Read what glibc's loader says; of anything else, such as nothing, the usual directories come out."""
    version = _VERSION.search(data)
    has_legacy = version is not None and (int(version[1]), int(version[2])) < _LEGACY_ENDS
    directories = _system_directories(data) or _UNKNOWN_DIRECTORIES
    cache = _CACHE.search(data)
    platform = _platform(elf.machine, data, cpu)
    capabilities = _capabilities(elf.machine, cpu)
    # Names of platforms stand alone in there, too: the list of levels is the longest.
    levels = tuple(name for name in max(_LEVELS.findall(data), key=len, default=b"").decode().split(":") if name)
    return Glibc(
        system_dirs=directories,
        cache_file=os.fsdecode(cache[1]) if cache else "/etc/ld.so.cache",
        lib=_lib(directories[0], data),
        platform=platform,
        levels=levels,
        active=frozenset(level for level in levels if _is_active(level, elf.machine, cpu)),
        isa_level=cpu.x86_level,
        legacy=_legacy_directories(capabilities, platform) if has_legacy else (),
        cache_bits=_cache_bits(elf.machine, capabilities) if has_legacy else 0,
        cache_platform=_X86_PLATFORMS.get(platform or "", 0) if has_legacy else 0,
    )


def _system_directories(data: bytes) -> tuple[str, ...]:
    """Find `system_dirs`: one array of strings that begin and end with a slash. The longest run is the whole of it."""
    best: list[bytes] = []
    run: list[bytes] = []
    expected = at = 0
    while (at := data.find(b"/\0", at)) >= 0:
        start = data.rfind(b"\0", 0, at) + 1
        text = data[start : at + 1]
        if len(text) > 1 and text.startswith(b"/") and b"lib" in text and text.isascii():
            run = [*run, text] if start == expected and len(run) < 16 else [text]
            expected = at + 2
            best = max(best, run, key=len)
        at += 2
    return tuple(text.decode() for text in best)


def _lib(first: str, data: bytes) -> str:
    """Give $LIB: the first system directory below the prefix, where the binary spells that out."""
    below = first.strip("/").removeprefix("usr/")
    return below if below.encode() + b"\0" in data else below.rpartition("/")[2]


def _platform(machine: int, data: bytes, cpu: Cpu) -> str | None:
    if machine == EM_X86_64:
        named = cpu.x86_platform
        return named if named and named.encode() + b"\0" in data else "x86_64"
    return {EM_386: "i686", EM_AARCH64: "aarch64"}.get(machine)


def _is_active(level: str, machine: int, cpu: Cpu) -> bool:
    """Only x86 levels can be told from /proc/cpuinfo; elsewhere the base file is taken and the levels are variants."""
    return machine == EM_X86_64 and level.startswith("x86-64-v") and int(level[8:]) <= cpu.x86_level


def _capabilities(machine: int, cpu: Cpu) -> tuple[str, ...]:
    """Give the legacy capabilities of this CPU in the order of their bits (HWCAP_IMPORTANT)."""
    if machine == EM_X86_64:
        return ("x86_64", "avx512_1") if cpu.x86_avx512_1 else ("x86_64",)
    if machine == EM_386:
        return ("sse2",) if "sse2" in cpu.flags else ()
    return ("atomics",) if machine == EM_AARCH64 and "atomics" in cpu.flags else ()


def _cache_bits(machine: int, capabilities: tuple[str, ...]) -> int:
    if machine not in (EM_386, EM_X86_64):
        return _TLS_BIT
    return _TLS_BIT | sum(1 << _X86_HWCAPS.index(name) for name in capabilities)


def _legacy_directories(capabilities: tuple[str, ...], platform: str | None) -> tuple[str, ...]:
    """Give all combinations in the order of `_dl_important_hwcaps`: tls first, then platform, then capabilities."""
    names = ["tls", *([platform] if platform else []), *reversed(capabilities)]
    count = len(names)
    directories = [
        "".join(f"{name}/" for bit, name in enumerate(names) if mask >> (count - 1 - bit) & 1)
        for mask in range((1 << count) - 1, 0, -1)
    ]
    return tuple(dict.fromkeys(directories))
