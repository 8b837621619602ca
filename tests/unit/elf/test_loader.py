"""The loader of roots made by hand: machines that this one cannot run, and what needs no compiler."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.handmade import FLAGS, NEEDED, RPATH, RUNPATH, SONAME, Image, Line, cache

from jailkit.elf import Closure, Library, Loader, Missing
from jailkit.errors import ElfError

FACTS = b"\0/lib/some-linux-gnu/\0/usr/lib/some-linux-gnu/\0/lib/\0/usr/lib/\0lib/some-linux-gnu\0release version 2.41."


class Tree:
    """A root directory of some machine."""

    def __init__(self, top: Path, machine: int = 22, bits: int = 64, *, little: bool = False) -> None:
        self.top = top
        self.machine, self.bits, self.little = machine, bits, little

    def add(
        self, path: str, *dynamic: tuple[int, bytes | int], interpreter: bytes | None = None, tail: bytes = b""
    ) -> str:
        image = Image(self.bits, self.little, self.machine, interpreter=interpreter, dynamic=dynamic or ((FLAGS, 0),))
        return self.put(path, image.build() + tail)

    def put(self, path: str, data: bytes) -> str:
        target = self.top / path[1:]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        return path

    def closure(self, path: str = "/prog") -> Closure:
        return Loader(str(self.top)).closure(path)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Give the root of a big-endian machine with a loader of glibc's kind."""
    tree = Tree(tmp_path)
    tree.add("/lib/ld64.so.1", (SONAME, b"ld64.so.1"), tail=FACTS)
    return tree


def names(closure: Closure) -> list[str]:
    return [library.name for library in closure.libraries]


def test_another_machine_and_byte_order(tree: Tree) -> None:
    tree.add("/prog", (NEEDED, b"libx.so"), (RPATH, b"$ORIGIN/$LIB"), interpreter=b"/lib/ld64.so.1\0")
    tree.add("/lib/some-linux-gnu/libx.so", (NEEDED, b"ld64.so.1"), (NEEDED, b"liby.so"))
    tree.add("/opt/liby.so")
    tree.put("/etc/ld.so.cache", cache([Line(b"liby.so", b"/opt/liby.so", flags=0x403)], little=False))
    (tree.top / "usr").symlink_to(".")
    assert tree.closure() == Closure(
        "/prog", "/prog", "/lib/ld64.so.1",
        (
            Library("libx.so", "//lib/some-linux-gnu/libx.so", "/lib/some-linux-gnu/libx.so", "/prog"),
            Library("ld64.so.1", "/lib/ld64.so.1", "/lib/ld64.so.1", "//lib/some-linux-gnu/libx.so"),
            Library("liby.so", "/opt/liby.so", "/opt/liby.so", "//lib/some-linux-gnu/libx.so"),
        ),
        (),
    )  # fmt: skip


def test_library_without_an_interpreter_finds_its_loader(tree: Tree) -> None:
    tree.add("/opt/libx.so", (NEEDED, b"ld64.so.1"))
    closure = tree.closure("/opt/libx.so")
    assert closure.interpreter is None
    assert [library.path for library in closure.libraries] == ["/lib/ld64.so.1"]


def test_root_without_a_loader(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.add("/prog", (NEEDED, b"libx.so"), (NEEDED, b"libgone.so"), interpreter=b"/lib/ld64.so.1\0")
    tree.add("/usr/lib/libx.so")
    closure = tree.closure()
    assert names(closure) == ["libx.so"]
    assert closure.missing == (Missing("/lib/ld64.so.1", "/prog"), Missing("libgone.so", "/prog"))


def test_loader_for_another_machine(tree: Tree) -> None:
    tree.machine = 62
    tree.add("/prog", (NEEDED, b"libx.so"), interpreter=b"/lib/ld64.so.1\0")
    with pytest.raises(ElfError, match="no loader: it is for another machine"):
        tree.closure()


def test_runpath_counts_even_when_it_is_empty_and_beside_an_rpath(tree: Tree) -> None:
    tree.add("/prog", (NEEDED, b"liba.so"), (NEEDED, b"libb.so"), (RPATH, b"/opt"), interpreter=b"/lib/ld64.so.1\0")
    tree.add("/opt/liba.so", (NEEDED, b"libx.so"), (RUNPATH, b""), (RPATH, b"/opt"))
    tree.add("/opt/libb.so", (NEEDED, b"libx.so"), (RPATH, b"/away"))
    tree.add("/opt/libx.so")
    closure = tree.closure()
    assert names(closure) == ["liba.so", "libb.so", "libx.so"]
    assert closure.missing == (Missing("libx.so", "/opt/liba.so"),)


def test_kernel_provides_its_own_object(tree: Tree) -> None:
    tree.add("/prog", (NEEDED, b"linux-vdso.so.1"), (NEEDED, b""), interpreter=b"/lib/ld64.so.1\0")
    closure = tree.closure()
    assert (closure.libraries, closure.missing) == ((), ())


def test_token_without_a_value_drops_the_name(tree: Tree) -> None:
    tree.add("/prog", (NEEDED, b"$PLATFORM/libx.so"), (RPATH, b"/${PLATFORM}:/opt"), (NEEDED, b"liby.so"),
             interpreter=b"/lib/ld64.so.1\0")  # fmt: skip
    tree.add("/opt/liby.so")
    closure = tree.closure()
    assert (names(closure), closure.missing) == (["liby.so"], ())


def test_fifo_in_a_search_path_does_not_hang(tree: Tree) -> None:
    tree.add("/prog", (NEEDED, b"libx.so"), (RPATH, b"/opt"), interpreter=b"/lib/ld64.so.1\0")
    (tree.top / "opt").mkdir()
    os.mkfifo(tree.top / "opt/libx.so")
    with pytest.raises(ElfError, match=r"cannot load /opt/libx\.so: it is not a regular file"):
        tree.closure()


def test_scripts_are_called_scripts(tree: Tree) -> None:
    tree.put("/script", b"#! /usr/bin/env python3\nprint()\n")
    with pytest.raises(ElfError) as caught:
        tree.closure("/script")
    assert caught.value.brief == "cannot list the libraries of /script: it is a script, run by /usr/bin/env"
    assert caught.value.resolution == "jailkit deps /usr/bin/env"


@pytest.mark.parametrize("content", [b"#!", b"#!\n", b"#! \n", b"#!" + b"x" * 5000])
def test_odd_scripts(tree: Tree, content: bytes) -> None:
    with pytest.raises(ElfError, match="it is a script, run by"):
        tree.closure(tree.put("/script", content))


def test_damaged_interpreter_name(tree: Tree) -> None:
    tree.add("/prog", (NEEDED, b"libx.so"), interpreter=b"/lib/ld64.so.1")
    with pytest.raises(ElfError, match="the name of its interpreter is damaged"):
        tree.closure()


def test_is_elf(tree: Tree) -> None:
    loader = Loader(str(tree.top))
    (tree.top / "link").symlink_to("/lib/ld64.so.1")
    (tree.top / "loop").symlink_to("loop")
    os.mkfifo(tree.top / "fifo")
    tree.put("/short", b"\x7fEL")
    asked = ("/lib/ld64.so.1", "/link", "lib/ld64.so.1", "/lib", "/none", "/loop", "/fifo", "/short")
    assert [loader.is_elf(path) for path in asked] == [True, True, True, False, False, False, False, False]


def test_what_a_file_of_the_root_says(tree: Tree) -> None:
    tree.add("/opt/libx.so", (SONAME, b"libx.so"))
    (tree.top / "link").symlink_to("/opt/libx.so")
    loader = Loader(str(tree.top))
    assert loader.elf("/link").soname == "libx.so"
    assert loader.elf("/link").path == f"{tree.top}/opt/libx.so"
    with pytest.raises(ElfError, match="it is a script"):
        loader.elf(tree.put("/script", b"#!/bin/sh\n"))


def test_finds_a_library_by_name_as_dlopen_does(tree: Tree) -> None:
    tree.add("/prog", (NEEDED, b"libx.so"), (RUNPATH, b"/opt"), interpreter=b"/lib/ld64.so.1\0")
    tree.add("/opt/libx.so")
    tree.add("/opt/plugin.so", (NEEDED, b"libgone.so"))
    tree.add("/lib/libfound.so")
    tree.put("/static", Image(64, False, 22, kind=2).build())
    loader = Loader(str(tree.top))
    asked = ("libx.so", "plugin.so", "libfound.so", "libgone.so", "/opt/plugin.so", "ld64.so.1")
    assert [loader.find(name, "/prog") for name in asked] == [
        "/opt/libx.so", "/opt/plugin.so", "/lib/libfound.so", None, "/opt/plugin.so", "/lib/ld64.so.1",
    ]  # fmt: skip
    assert loader.find("libx.so", "/static") is None
    with pytest.raises(ElfError, match="No such file"):
        loader.find("libx.so", "/gone")


def test_changed_file_is_read_again(tree: Tree) -> None:
    tree.add("/prog", (NEEDED, b"liba.so"), interpreter=b"/lib/ld64.so.1\0")
    loader = Loader(str(tree.top))
    assert [missing.name for missing in loader.closure("/prog").missing] == ["liba.so"]
    tree.add("/prog", (NEEDED, b"libmuchlonger.so"), interpreter=b"/lib/ld64.so.1\0")
    assert [missing.name for missing in loader.closure("/prog").missing] == ["libmuchlonger.so"]
