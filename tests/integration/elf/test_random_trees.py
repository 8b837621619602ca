"""Random trees of libraries, in which all rules meet: the model against the loader itself."""

from __future__ import annotations

import os
import platform
import random
import re
import sys
from pathlib import Path

import pytest
from support.elves import GaveUpError, modelled, trace
from support.handmade import AUXILIARY, FILTER, FLAGS, FLAGS_1, NEEDED, RPATH, RUNPATH, SONAME, Image

from jailkit.elf import Loader, read_elf
from jailkit.errors import ElfError

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the files are made for x86-64")

LOADER = str(read_elf(sys.executable).interpreter)
NODEFLIB = 0x800
NAMES = [f"lib{letter}.so" for letter in "abcdefg"]
DIRECTORIES = [
    "d1", "d2", "d3", "d1/sub", "d2/glibc-hwcaps/x86-64-v3", "d1/glibc-hwcaps/x86-64-v2", "d1/x86_64", "d2/tls",
    "d3/lib/x86_64-linux-gnu", ".",
]  # fmt: skip
ELEMENTS = [
    "$ORIGIN", "$ORIGIN/../d1", "$ORIGIN/../d2", "${ORIGIN}/sub", "$ORIGIN/$LIB", "$ORIGIN/${PLATFORM}", "", "d1", "d3",
    "/nowhere", "{top}/link", "{top}/d1//", "{top}/file", *(f"{{top}}/{directory}" for directory in DIRECTORIES),
]  # fmt: skip
Entries = list[tuple[int, bytes | int]]


class RandomTree:
    """A folder of libraries that need each other, and a program."""

    def __init__(self, top: Path, seed: int) -> None:
        self.top = top
        self.chance = random.Random(seed)
        self.optional: set[str] = set()
        for directory in DIRECTORIES:
            (top / directory).mkdir(parents=True, exist_ok=True)
        (top / "file").write_text("no directory")
        (top / "link").symlink_to(self.chance.choice(["d1", "d2", "nowhere"]))
        made: list[Path] = []
        for _ in range(self.chance.randint(4, 22)):
            path = top / self.chance.choice(DIRECTORIES) / self.chance.choice(NAMES)
            if not os.path.lexists(path):
                self.put(path, made)
        self.program = top / "d1/prog"
        wanted: Entries = [(NEEDED, name.encode()) for name in self.chance.sample(NAMES, 3)]
        own = [entry for entry in self.entries() if entry[0] not in (AUXILIARY, FILTER)]
        self.write(self.program, Image(interpreter=LOADER.encode() + b"\0", dynamic=[*own, *wanted]))

    def put(self, path: Path, made: list[Path]) -> None:
        """Put something at a path: mostly a library, now and then something else."""
        kind = self.chance.random()
        if made and kind < 0.08:
            os.link(self.chance.choice(made), path)
        elif made and kind < 0.16:
            path.symlink_to(self.chance.choice(made))
        elif kind < 0.19:
            path.symlink_to(self.chance.choice(["nothing", path.name]))
        elif kind < 0.23:
            self.write(path, Image(machine=self.chance.choice([43, 183]), dynamic=self.entries()))
        elif kind < 0.25:
            self.write(path, Image(bits=32, machine=3, dynamic=self.entries()))
        elif kind < 0.255:
            path.write_text("This is no ELF file, but as long as a header of one.\n" * 2)
        else:
            self.write(path, Image(dynamic=self.entries()))
            made.append(path)

    @staticmethod
    def write(path: Path, image: Image) -> None:
        image.symbols = [(b"symbol", 0)]
        path.write_bytes(image.build())

    def entries(self) -> Entries:
        """Give a dynamic section."""
        tags = self.chance.choices([NEEDED, AUXILIARY, FILTER], [16, 1, 1], k=self.chance.choice([0, 1, 1, 2, 3, 4]))
        named = [(tag, self.name()) for tag in tags]
        found: Entries = [*named]
        self.optional |= {os.path.basename(os.fsdecode(name)) for tag, name in named if tag == AUXILIARY}
        found += [(tag, self.path()) for tag in self.chance.choice([(), (RPATH,), (RUNPATH,), (RPATH, RUNPATH)])]
        if self.chance.random() < 0.3:
            found.append((SONAME, self.chance.choice(NAMES).encode()))
        if self.chance.random() < 0.05:
            found.append((FLAGS_1, NODEFLIB))
        self.chance.shuffle(found)
        return found or [(FLAGS, 0)]

    def name(self) -> bytes:
        name = self.chance.choice(NAMES)
        if self.chance.random() < 0.85:
            return name.encode()
        shapes = [
            f"{self.top}/{self.chance.choice(DIRECTORIES)}/{name}", f"$ORIGIN/{name}", f"d1/{name}", "libm.so.6",
            "libc.so.6", os.path.basename(LOADER),
        ]  # fmt: skip
        return self.chance.choice(shapes).encode()

    def path(self) -> bytes:
        elements = self.chance.choices(ELEMENTS, k=self.chance.randint(1, 3))
        return ":".join(element.replace("{top}", str(self.top)) for element in elements).encode()


@pytest.mark.parametrize("seed", range(150))
def test_same_as_the_loader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.chdir(tmp_path)
    tree = RandomTree(tmp_path, seed)
    try:
        closure = Loader().closure(str(tree.program))
    except ElfError as error:
        blamed = error.brief.removeprefix("cannot load ").split(": ")[0]
        with pytest.raises(GaveUpError, match=f"{re.escape(blamed)}: "):
            trace(LOADER, str(tree.program))
        return
    found, missing = trace(LOADER, str(tree.program))
    absolute = [(name, path if path.startswith("/") else f"{tmp_path}/{path}") for name, path in found]
    modelled_found, modelled_missing = modelled(closure, LOADER)
    assert modelled_found == absolute
    # A trace calls an auxiliary object not found, too, without which a program starts all the same.
    assert set(modelled_missing) <= set(missing)
    assert {os.path.basename(name) for name in set(missing) - set(modelled_missing)} <= tree.optional
