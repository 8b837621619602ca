"""ELF files and the dynamic loader, read and modelled; nothing here executes anything."""

from __future__ import annotations

from jailkit.elf.loader import Loader
from jailkit.elf.model import Closure, Elf, Library, Missing
from jailkit.elf.reader import read_elf

__all__ = ["Closure", "Elf", "Library", "Loader", "Missing", "read_elf"]
