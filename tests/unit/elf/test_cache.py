"""ld.so.cache: its formats, its order, and damage of every kind."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence

import pytest
from support.handmade import Line, cache

from jailkit.elf.cache import CacheEntry, LdCache

# In the order that ldconfig writes: descending, digits by value and above every letter.
LINES = [
    Line(b"libz.so.1", b"/lib/libz.so.1"),
    Line(b"libx.so.10", b"/lib/libx.so.10"),
    Line(b"libx.so.2", b"/lib/glibc-hwcaps/new/libx.so.2", level=0),
    Line(b"libx.so.2", b"/lib/libx.so.2"),
    Line(b"libx.so.2", b"/lib32/libx.so.2", flags=3),
    Line(b"libc.so.6", b"/lib/libc.so.6", hwcap=1 << 49),
]


def paths(entries: Sequence[CacheEntry]) -> list[str]:
    return [entry.path for entry in entries]


@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize("little", [True, False])
def test_all_entries_of_a_name(little: bool, marked: bool) -> None:
    read = LdCache(cache(LINES, [b"new"], little=little, marked=marked), little=little)
    entries = read.find("libx.so.2")
    assert paths(entries) == ["/lib/glibc-hwcaps/new/libx.so.2", "/lib/libx.so.2", "/lib32/libx.so.2"]
    assert [(entry.level, entry.flags) for entry in entries] == [("new", 0x303), (None, 0x303), (None, 3)]
    assert [entry.hwcap for entry in read.find("libc.so.6")] == [1 << 49]
    assert paths(read.find("libx.so.10")) == ["/lib/libx.so.10"]
    assert paths(read.find("libz.so.1")) == ["/lib/libz.so.1"]
    assert read.find("libx.so") == read.find("libx.so.3") == read.find("") == read.find("a" * 5000) == []


def test_other_byte_order_is_no_cache() -> None:
    assert LdCache(cache(LINES, little=False), little=True).find("libz.so.1") == []
    assert LdCache(cache(LINES), little=False).find("libz.so.1") == []


def test_digits_are_compared_by_value() -> None:
    assert paths(LdCache(cache(LINES), little=True).find("libx.so.0010")) == ["/lib/libx.so.10"]


def test_old_format_and_the_new_one_within_it() -> None:
    strings = b"libz.so.1\0/lib/libz.so.1\0"
    head = b"ld.so-1.7.0\0" + struct.pack("<I", 1) + struct.pack("<iII", 3, 0, 10)
    assert paths(LdCache(head + strings, little=True).find("libz.so.1")) == ["/lib/libz.so.1"]
    padding = b"\0" * (-len(head) % 8)
    both = LdCache(head + padding + cache(LINES[:2]), little=True)
    assert paths(both.find("libx.so.10")) == ["/lib/libx.so.10"]


def test_isa_level() -> None:
    data = cache([Line(b"libx.so", b"/x", hwcap=(1 << 62) | (2 << 32))], [b"new"])
    assert [(entry.isa_level, entry.level) for entry in LdCache(data, little=True).find("libx.so")] == [(2, "new")]


def test_level_that_is_not_in_the_list_is_nameless() -> None:
    data = cache([Line(b"libx.so", b"/x", level=7)], [b"new"])
    assert [entry.level for entry in LdCache(data, little=True).find("libx.so")] == [""]


@pytest.mark.parametrize(
    "data", [b"", b"glibc-ld.so.cache1.1", b"ld.so-1.7.0", b"ld.so-1.7.0\0\xff\xff\xff\xff", b"x" * 1000, b"\0" * 1000]
)
def test_what_is_no_cache_is_empty(data: bytes) -> None:
    assert LdCache(data, little=True).find("libz.so.1") == []


def test_every_truncation() -> None:
    whole = cache(LINES, [b"new"])
    for length in range(len(whole)):
        for entry in LdCache(whole[:length], little=True).find("libx.so.2"):
            assert entry.path.startswith("/lib")


def test_random_damage_never_raises() -> None:
    chance = random.Random(7)
    whole = cache(LINES, [b"new"])
    for _ in range(3000):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 6)):
            data[chance.randrange(20, len(data))] = chance.choice((0, 1, 255, chance.randrange(256)))
        read = LdCache(bytes(data), little=True)
        for line in LINES:
            assert len(read.find(line.key.decode())) <= len(LINES)


def test_endless_repetition_is_cut() -> None:
    data = cache([Line(b"libx.so", b"/x")] * 5000)
    assert len(LdCache(data, little=True).find("libx.so")) <= 512
