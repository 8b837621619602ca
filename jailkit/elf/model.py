"""What an ELF file says about itself, and what its loader makes of it: plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Tag = Literal["needed", "auxiliary", "filter"]

# elf.h
ET_EXEC: Final = 2
ET_DYN: Final = 3
DF_1_NODEFLIB: Final = 0x00000800
DF_1_PIE: Final = 0x08000000
EM_386: Final = 3
EM_X86_64: Final = 62
EM_AARCH64: Final = 183


@dataclass(frozen=True, slots=True)
class Elf:
    """An ELF file, as far as loading it goes (elf(5), the System V gABI chapter on dynamic linking).

    Attributes:
        path: where it was read, on this machine.
        bits: 32 or 64, its class.
        little: whether it is little endian.
        machine, type: e_machine and e_type, as elf.h numbers them.
        interpreter: PT_INTERP; empty when the file has one that no kernel would take.
        dynamic: whether it has a dynamic section at all.
        soname, rpath, runpath: the strings of DT_SONAME, DT_RPATH, DT_RUNPATH; tokens are not expanded.
        requests: DT_NEEDED, DT_AUXILIARY and DT_FILTER in the order of the file.
        flags, flags_1: DT_FLAGS and DT_FLAGS_1, 0 when absent.
    """

    path: str
    bits: int
    little: bool
    machine: int
    type: int
    interpreter: str | None
    dynamic: bool
    soname: str | None
    rpath: str | None
    runpath: str | None
    requests: tuple[tuple[Tag, str], ...]
    flags: int
    flags_1: int

    @property
    def needed(self) -> tuple[str, ...]:
        """Give the names of DT_NEEDED."""
        return tuple(name for tag, name in self.requests if tag == "needed")

    def matches(self, other: Elf) -> bool:
        """Tell whether both are of one machine, class and byte order."""
        return (self.machine, self.bits, self.little) == (other.machine, other.bits, other.little)

    @property
    def weight(self) -> int:
        """Give a rough size in bytes, for the bounds on what is kept in memory."""
        paths = len(self.rpath or "") + len(self.runpath or "")
        return 1024 + paths + sum(len(name) + 130 for _, name in self.requests)


@dataclass(frozen=True, slots=True)
class Library:
    """A library that the loader would load.

    Attributes:
        name: what the object that wanted it calls it, tokens expanded.
        path: what the loader would open, absolute, within the root; not normalized.
        real: the same file with every symbolic link followed, within the root.
        needed_by: the object that first wanted it: the file itself or another library's `path`.
        variants: the other files that a loader on another CPU could choose instead: those in
            `glibc-hwcaps/<level>/` and the base file.
    """

    name: str
    path: str
    real: str
    needed_by: str
    variants: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Missing:
    """A library that the loader would not find."""

    name: str
    needed_by: str


@dataclass(frozen=True, slots=True)
class Closure:
    """All that the loader would load for a file.

    Attributes:
        file: as it was asked for.
        real: with every symbolic link followed, within the root.
        interpreter: the loader that the file names; None for libraries and statically linked programs.
        libraries: in load order, breadth first, as `LD_TRACE_LOADED_OBJECTS` lists them; the loader itself
            is among them when something needs it.
        missing: every library that was not found, with what wanted it.
    """

    file: str
    real: str
    interpreter: str | None
    libraries: tuple[Library, ...]
    missing: tuple[Missing, ...]
