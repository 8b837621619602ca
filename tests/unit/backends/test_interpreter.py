"""What a refused program needs is told from its first bytes, whatever those are."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jailkit.backends.interpreter import interpreter_of


@pytest.mark.parametrize(
    ("head", "interpreter"),
    [
        (b"#!/bin/sh\n", "/bin/sh"),
        (b"#! /usr/bin/env python3\nprint()", "/usr/bin/env"),
        (b"#!\t/usr/bin/perl -w", "/usr/bin/perl"),
        (b"#!/bin/\xff\n", "/bin/\udcff"),
        (b"#!\n", None),
        (b"#!", None),
        (b"echo\n", None),
        (b"", None),
        (b"\x7fELF", None),
        (b"\x7fELF\x02\x01" + bytes(58), None),
    ],
)
def test_scripts_and_others(head: bytes, interpreter: str | None) -> None:
    assert interpreter_of(head) == interpreter


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [1, 2])
def test_every_kind_of_elf(order: str, bits: int) -> None:
    place, path = 200, b"/lib/ld.so\0"
    ident = b"\x7fELF" + bytes([bits, 1 if order == "<" else 2]) + bytes(10)
    if bits == 1:
        head = ident + struct.pack(order + "12xI10x4H", 52, 32, 1, 0, 0)
        head = head.ljust(52, b"\0") + struct.pack(order + "8I", 3, place, 0, 0, len(path), 0, 0, 0)
    else:
        head = ident + struct.pack(order + "16xQ14x4H", 64, 56, 1, 0, 0)
        head = head.ljust(64, b"\0") + struct.pack(order + "2I6Q", 3, 0, place, 0, 0, len(path), 0, 0)
    assert interpreter_of(head.ljust(place, b"\0") + path) == "/lib/ld.so"


def test_a_real_program() -> None:
    head = Path("/bin/ls").resolve().read_bytes()[:4096]
    found = interpreter_of(head)
    assert found is not None
    assert Path(found).exists()


@given(st.binary(max_size=300), st.sampled_from([b"", b"#!", b"\x7fELF", b"\x7fELF\x01\x01", b"\x7fELF\x02\x02"]))
def test_anything(tail: bytes, head: bytes) -> None:
    found = interpreter_of(head + tail)
    assert found is None or found
