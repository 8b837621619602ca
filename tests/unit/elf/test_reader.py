"""Reading single ELF files: every class and byte order, and every kind of damage."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support import handmade
from support.handmade import BASE, NEEDED, PT_DYNAMIC, PT_INTERP, PT_LOAD, RUNPATH, SONAME, STRTAB, Image

from jailkit.elf import Elf, read_elf
from jailkit.errors import ElfError

KINDS = [(bits, little) for bits in (32, 64) for little in (True, False)]


def read(folder: Path, data: bytes) -> Elf:
    (folder / "file").write_bytes(data)
    return read_elf(str(folder / "file"))


def fault(folder: Path, data: bytes) -> str:
    with pytest.raises(ElfError) as caught:
        read(folder, data)
    return caught.value.brief.removeprefix(f"cannot read {folder}/file: ")


@pytest.mark.parametrize(("bits", "little"), KINDS)
def test_everything_it_says(tmp_path: Path, bits: int, little: bool) -> None:
    elf = read(
        tmp_path,
        Image(
            bits=bits, little=little, machine=21, interpreter=b"/lib/ld.so.1\0",
            dynamic=[
                (NEEDED, b"liba.so"), (handmade.AUXILIARY, b"libaux.so"), (NEEDED, b"libb.so"),
                (handmade.FILTER, b"libf.so"), (SONAME, b"libself.so"), (handmade.RPATH, b"$ORIGIN/r"),
                (RUNPATH, b"/u:/v"), (handmade.FLAGS, 8), (handmade.FLAGS_1, 0x800),
            ],
        ).build(),
    )  # fmt: skip
    assert (elf.bits, elf.little, elf.machine, elf.type) == (bits, little, 21, 3)
    assert (elf.interpreter, elf.dynamic, elf.soname) == ("/lib/ld.so.1", True, "libself.so")
    assert elf.needed == ("liba.so", "libb.so")
    assert elf.requests == (
        ("needed", "liba.so"), ("auxiliary", "libaux.so"), ("needed", "libb.so"), ("filter", "libf.so"),
    )  # fmt: skip
    assert (elf.rpath, elf.runpath, elf.flags, elf.flags_1) == ("$ORIGIN/r", "/u:/v", 8, 0x800)


def test_last_entry_of_a_kind_counts(tmp_path: Path) -> None:
    elf = read(tmp_path, Image(dynamic=[(SONAME, b"one"), (SONAME, b"two"), (RUNPATH, b"a"), (RUNPATH, b"b")]).build())
    assert (elf.soname, elf.runpath) == ("two", "b")


def test_nothing_after_the_end_of_the_dynamic_section(tmp_path: Path) -> None:
    elf = read(tmp_path, Image(dynamic=[(NEEDED, b"a"), (STRTAB, BASE + 0x1018), (0, 0), (NEEDED, b"b")]).build())
    assert elf.needed == ("a",)


def test_static_file(tmp_path: Path) -> None:
    elf = read(tmp_path, Image(kind=2).build())
    assert (elf.dynamic, elf.interpreter, elf.needed) == (False, None, ())


def test_names_are_kept_byte_by_byte(tmp_path: Path) -> None:
    elf = read(tmp_path, Image(dynamic=[(NEEDED, b"lib\xff\x1b[2J\n.so"), (NEEDED, b"")]).build())
    assert [os.fsencode(name) for name in elf.needed] == [b"lib\xff\x1b[2J\n.so", b""]


def test_string_table_is_found_by_address(tmp_path: Path) -> None:
    """Segments may lie anywhere in the file; of two that overlap, the later one is what the process sees."""
    image = Image(dynamic=[(NEEDED, b"libx.so")])
    plain = image.build()
    shifted = bytearray(plain[:0x1000] + b"\0" * 0x1000 + plain[0x1000:])
    size = len(plain) - 0x1000
    dynamic_at = len(plain) - 48
    image.segments = [
        (PT_LOAD, 0, BASE, 0x1000 + size),
        (PT_LOAD, 0x2000, BASE + 0x1000, size),
        (PT_DYNAMIC, 7, BASE + dynamic_at, 48),  # its offset is not what counts
    ]
    shifted[:0x1000] = image.build()[:0x1000]
    assert read(tmp_path, bytes(shifted)).needed == ("libx.so",)


@pytest.mark.parametrize(
    ("image", "why"),
    [
        (Image(ident={4: 3}), "its ELF header is invalid"),
        (Image(ident={5: 0}), "its ELF header is invalid"),
        (Image(ident={6: 2}), "its ELF version is not 1"),
        (Image(header={"version": 2}), "its ELF version is not 1"),
        (Image(ident={7: 9}), "its OS ABI 9 is not Linux's"),
        (Image(ident={8: 1}), "its ABI version 1 is unknown"),
        (Image(ident={12: 1}), "its ELF header is invalid"),
        (Image(kind=1), "it is an object file or a core dump, not a program or a library"),
        (Image(kind=4), "it is an object file or a core dump, not a program or a library"),
        (Image(header={"phentsize": 1}), "its program headers have an unexpected size"),
        (Image(header={"phnum": 65535}), "the file is truncated"),
        (Image(header={"phoff": 1 << 63}), "the file is truncated"),
        (Image(segments=[]), "it has no loadable segments"),
        (Image(segments=[(PT_LOAD, 1, BASE, 10)]), "its segments are not aligned to pages"),
        (
            Image(segments=[(PT_LOAD, 0, BASE, 1 << 40)]),
            f"it is truncated: it says it has {1 << 40} bytes, and has 4144",
        ),
        (Image(segments=[(PT_LOAD, 0, BASE, 64), (PT_DYNAMIC, 0, BASE, 0)]), "it holds only debugging information"),
        (
            Image(segments=[(PT_LOAD, 0, BASE, 64), (PT_DYNAMIC, 0, 5, 64)]),
            "its dynamic section points outside of its segments",
        ),
        (
            Image(segments=[(PT_LOAD, 0, BASE, 64), (PT_DYNAMIC, 0, BASE, 1 << 50)]),
            "its dynamic section is too long",
        ),
        (Image(dynamic=[(NEEDED, 1 << 40)]), "its dynamic section points outside of its segments"),
        (Image(dynamic=[(NEEDED, b"x" * 5000)]), "a name in its dynamic section has no end"),
        (Image(dynamic=[(NEEDED, b"x" * 4000)] * 100), "the names in its dynamic section are too long"),
        (Image(dynamic=[(NEEDED, b"x")] * 5000), "it asks for 5000 libraries; 4096 is the limit"),
    ],
)
def test_damage_is_named(tmp_path: Path, image: Image, why: str) -> None:
    assert fault(tmp_path, image.build()) == why


def test_missing_string_table(tmp_path: Path) -> None:
    segments = [(PT_LOAD, 0, BASE, 0x1030), (PT_DYNAMIC, 0, BASE + 0x1000, 0x20)]
    data = bytearray(Image(dynamic=[(NEEDED, b"x")], segments=segments).build())
    data[0x1000:0x1020] = NEEDED.to_bytes(8, "little") + (1).to_bytes(8, "little") + b"\0" * 16
    assert fault(tmp_path, bytes(data)) == "its dynamic section has no string table"


@pytest.mark.parametrize("name", [b"", b"/lib/ld.so", b"/lib/" + b"x" * 4096 + b"\0"], ids=["none", "open", "long"])
def test_interpreter_that_no_kernel_would_take_is_empty(tmp_path: Path, name: bytes) -> None:
    assert read(tmp_path, Image(interpreter=name).build()).interpreter == ""


def test_first_interpreter_counts(tmp_path: Path) -> None:
    image = Image(interpreter=b"/lib/one\0/lib/two\0")
    plain = image.build()
    image.segments = [
        (PT_LOAD, 0, BASE, len(plain)), (PT_INTERP, 0x1000, BASE + 0x1000, 9), (PT_INTERP, 0x1009, BASE + 0x1009, 9),
    ]  # fmt: skip
    assert read(tmp_path, image.build()).interpreter == "/lib/one"


@pytest.mark.parametrize("length", [0, 3, 15, 16, 40, 63, 64, 100])
def test_stumps(tmp_path: Path, length: int) -> None:
    assert "too short" in (text := fault(tmp_path, Image().build()[:length])) or "truncated" in text


@pytest.mark.parametrize("make", ["fifo", "directory", "socket", "absent", "device"])
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, make: str) -> None:
    path = tmp_path / "thing"
    if make == "fifo":
        os.mkfifo(path)
    elif make == "directory":
        path.mkdir()
    elif make == "socket":
        path.symlink_to("/proc/self/ns/mnt")
    elif make == "device":
        path.symlink_to("/dev/tty")
    with pytest.raises(ElfError, match="cannot read"):
        read_elf(str(path))


def test_sparse_file_of_many_gigabytes(tmp_path: Path) -> None:
    elf = read(tmp_path, Image(dynamic=[(NEEDED, b"libx.so")]).build())
    os.truncate(elf.path, 1 << 40)
    assert read_elf(elf.path).needed == ("libx.so",)
