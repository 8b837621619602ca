"""Hostile and mutilated files: an answer or an ElfError, soon, and in little memory."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.handmade import BASE, NEEDED, PT_DYNAMIC, PT_LOAD, RPATH, SONAME, Image, Line, cache

from jailkit.elf import Loader, read_elf
from jailkit.errors import ElfError

INTERPRETER = str(read_elf(sys.executable).interpreter).encode() + b"\0"
MEGABYTES = 100

# Run apart, so that nothing else counts: the peak of its resident memory comes from its own status file.
PROBE = """
import sys
from jailkit.elf import Loader, read_elf
from jailkit.errors import ElfError
def attempt(action):
    try:
        action()
    except ElfError as error:
        assert str(error)
attempt(lambda: Loader(sys.argv[1]).closure(sys.argv[2]))
attempt(lambda: read_elf(sys.argv[1] + sys.argv[2]))
with open("/proc/self/status") as status:
    print(next(line for line in status if line.startswith("VmHWM")).split()[1])
"""
LIMITED = "import resource; resource.setrlimit(resource.RLIMIT_AS, (256 << 20, 256 << 20))\n" + PROBE

Build = Callable[[Path], bytes]
Entry = tuple[int, bytes | int]
Segment = tuple[int, int, int, int]


def many(count: int) -> list[Entry]:
    return [(NEEDED, b"lib%d.so" % number) for number in range(count)]


def program(*dynamic: Entry) -> bytes:
    return Image(interpreter=INTERPRETER, dynamic=dynamic).build()


def needs_thousands(_root: Path) -> bytes:
    return program(*many(4096))


def needs_more(_root: Path) -> bytes:
    return program(*many(60_000))


def searches_thousands_of_directories(_root: Path) -> bytes:
    return program((RPATH, b":".join(b"/%d" % number for number in range(9000))), *many(2000))


def searches_one_directory_by_many_names(_root: Path) -> bytes:
    return program((RPATH, b":".join(b"/etc" + b"/." * number for number in range(250))), *many(4000))


def expands_tokens_over_and_over(root: Path) -> bytes:
    (root / "x").mkdir()
    rpath = b":".join(b"$ORIGIN" * 9 + b"%d" % number for number in range(800))
    for number in range(500):
        image = Image(dynamic=[(RPATH, rpath), (NEEDED, b"libgone.so")])
        (root / f"x/lib{number}.so").write_bytes(image.build())
    return program((RPATH, b"$ORIGIN/x"), *many(500))


def web_of_libraries(root: Path) -> bytes:
    (root / "web").mkdir()
    for number in range(600):
        needs = [(NEEDED, b"lib%d.so" % ((number * 7 + step) % 600)) for step in range(1000)]
        (root / f"web/lib{number}.so").write_bytes(Image(dynamic=[(RPATH, b"$ORIGIN"), *needs]).build())
    return program((RPATH, b"$ORIGIN/web"), *many(600))


def long_chain(root: Path) -> bytes:
    (root / "chain").mkdir()
    for number in range(700):
        rpath = b":".join(b"$ORIGIN/%d-%d" % (number, step) for step in range(700))
        dynamic = [(RPATH, rpath), (NEEDED, b"$ORIGIN/lib%d.so" % (number + 1)), (NEEDED, b"libgone%d.so" % number)]
        (root / f"chain/lib{number}.so").write_bytes(Image(dynamic=dynamic).build())
    return program((NEEDED, b"/chain/lib0.so"))


def long_names_everywhere(root: Path) -> bytes:
    (root / "heavy").mkdir()
    needs = [(NEEDED, b"y" * 4000 + b"%d" % number) for number in range(60)]
    for number in range(500):
        (root / f"heavy/lib{number}.so").write_bytes(Image(dynamic=[*needs, (SONAME, b"%d" % number)]).build())
    return program((RPATH, b"/heavy"), *many(500))


def all_program_headers(_root: Path) -> bytes:
    return Image(segments=[(PT_LOAD, 0, BASE, 64)] * 65535).build()


def huge_and_empty(root: Path) -> bytes:
    segments = [(PT_LOAD, 0, BASE, 1 << 33), (PT_DYNAMIC, 0x2000, BASE + 0x2000, 1 << 19)]
    data = Image(segments=segments).build()
    with (root / "prog").open("wb") as file:
        file.write(data)
        file.truncate(1 << 33)
    return b""


def cache_of_lies(root: Path) -> bytes:
    lines = [Line(b"lib%d.so" % number, b"/x") for number in range(100_000)]
    (root / "etc/ld.so.cache").write_bytes(cache(lines))
    return needs_thousands(root)


def cache_of_one_name(root: Path) -> bytes:
    (root / "etc/ld.so.cache").write_bytes(cache([Line(b"lib1.so", b"/x" * 2000)] * 3000))
    return program(*[(NEEDED, b"lib%s1.so" % (b"0" * number)) for number in range(200)])


def loader_full_of_slashes(root: Path) -> bytes:
    loader = Image(dynamic=[(SONAME, b"l")]).build() + b"/lib/\0" * 400_000
    (root / INTERPRETER[1:-1].decode()).write_bytes(loader)
    return needs_thousands(root)


def loader_with_one_long_path(root: Path) -> bytes:
    loader = Image(dynamic=[(SONAME, b"l")]).build() + b"/lib" * 500_000 + b"/\0"
    (root / INTERPRETER[1:-1].decode()).write_bytes(loader)
    return needs_thousands(root)


def preloads_without_end(root: Path) -> bytes:
    (root / "etc/ld.so.preload").write_bytes(b"a.so:" * 50_000)
    return needs_thousands(root)


BUILDS: list[Build] = [
    needs_thousands, needs_more, searches_thousands_of_directories, searches_one_directory_by_many_names,
    expands_tokens_over_and_over, web_of_libraries, long_chain, long_names_everywhere, all_program_headers,
    huge_and_empty, cache_of_lies, cache_of_one_name,
    loader_full_of_slashes, loader_with_one_long_path, preloads_without_end,
]  # fmt: skip


def root_with_a_loader(folder: Path) -> Path:
    root = folder / "root"
    loader = root / INTERPRETER[1:-1].decode()
    loader.parent.mkdir(parents=True)
    (root / "etc").mkdir()
    loader.write_bytes(Path(INTERPRETER[:-1].decode()).read_bytes())
    return root


@pytest.mark.parametrize("build", BUILDS, ids=lambda build: build.__name__)
def test_bounded_memory_and_an_end(tmp_path: Path, build: Build) -> None:
    root = root_with_a_loader(tmp_path)
    data = build(root)
    if data:
        (root / "prog").write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", PROBE, root, "/prog"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stderr == ""
    assert int(done.stdout) < MEGABYTES * 1024


def test_works_within_a_limit_of_address_space(tmp_path: Path) -> None:
    root = root_with_a_loader(tmp_path)
    (root / "prog").write_bytes(web_of_libraries(root))
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, root, "/prog"], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def message(ask: Callable[[], object]) -> str:
    """Ask; what comes out is an answer or an ElfError."""
    try:
        ask()
    except ElfError as error:
        return error.brief
    return ""


def attempt(path: Path) -> None:
    """Ask everything of a file."""
    loader = Loader()
    for ask in (lambda: loader.closure(str(path)), lambda: read_elf(str(path))):
        text = message(ask)
        assert not text or text.startswith("cannot ")
    assert loader.is_elf(str(path)) == path.read_bytes().startswith(b"\x7fELF")


SEEDS = [sys.executable, "/bin/sh"]


@pytest.mark.parametrize("seed", SEEDS)
def test_mutated_programs(tmp_path: Path, seed: str) -> None:
    """Damage lands where a reader looks: in the headers, the dynamic section and the names."""
    chance = random.Random(seed)
    original = Path(seed).read_bytes()
    names = original.index(read_elf(seed).needed[0].encode() + b"\0")
    places = [(0, 64), (64, 800), (names - 1024, 2048), (len(original) - 9000, 8000)]
    path = tmp_path / "mutant"
    for _ in range(250):
        data = bytearray(original)
        for _ in range(chance.randint(1, 12)):
            start, length = chance.choice(places)
            at = min(start + chance.randrange(length), len(data) - 1)
            data[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        if chance.random() < 0.2:
            del data[chance.randrange(len(data)) :]
        path.write_bytes(data)
        attempt(path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=400))
def test_random_bytes_after_the_magic(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "random"
    path.write_bytes(b"\x7fELF" + data)
    attempt(path)


words = st.integers(0, 1 << 64) | st.integers(0, 0x3000) | st.integers(BASE, BASE + 0x3000)
tags = st.sampled_from([0, 1, 4, 5, 6, 7, 14, 15, 29, 30, 0x6FFFFFFB, 0x7FFFFFFD, 0x7FFFFFFF]) | st.integers(0, 1 << 32)
names = st.binary(max_size=40).map(lambda name: name.replace(b"\0", b""))
entries = st.lists(st.tuples(tags, names | words), max_size=12)
segments = st.none() | st.lists(st.tuples(st.integers(0, 8), words, words, words), max_size=8)
fields = st.sampled_from(["phnum", "phentsize", "machine", "type"])
headers = st.dictionaries(fields, st.integers(0, 0xFFFF), max_size=2)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bits=st.sampled_from([32, 64]), little=st.booleans(), dynamic=entries, places=segments, header=headers)
def test_random_structures(
    tmp_path: Path, bits: int, little: bool, dynamic: list[Entry], places: list[Segment] | None, header: dict[str, int]
) -> None:
    mask = (1 << bits) - 1
    image = Image(bits, little, interpreter=INTERPRETER, header=header)
    image.dynamic = [(tag & mask, value & mask if isinstance(value, int) else value) for tag, value in dynamic]
    if places is not None:
        image.segments = [(kind, offset & mask, at & mask, size & mask) for kind, offset, at, size in places]
    path = tmp_path / "random"
    path.write_bytes(image.build())
    attempt(path)
