"""The rules of musl's loader, on programs compiled for it: the model against musl itself."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from support.elves import Workshop, modelled, musl_list

from jailkit.elf import Loader, read_elf

pytestmark = pytest.mark.needs("musl")

Case = Callable[[Workshop], Path]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    monkeypatch.chdir(tmp_path)
    return Workshop(tmp_path, compiler="musl-gcc")


def ordinary(shop: Workshop) -> Path:
    return shop.program("prog", "libc.so")


def names_of_the_c_library_mean_the_loader(shop: Workshop) -> Path:
    return shop.program("prog", "libm.so.6", "libpthread.so.0", "libc.so")


def runpath_is_inherited_too(shop: Workshop) -> Path:
    shop.library("lib/libx.so", "liby.so")
    shop.library("lib/liby.so", "libc.so")
    return shop.program("prog", "libx.so", runpath=f"{shop.folder}/lib")


def own_runpath_goes_first_and_those_of_loaders_follow(shop: Workshop) -> Path:
    shop.library("one/libx.so", "liby.so", "libz.so", runpath=f"{shop.folder}/two")
    shop.library("two/liby.so")
    shop.library("one/liby.so")
    shop.library("one/libz.so")
    return shop.program("prog", "libx.so", rpath=f"{shop.folder}/one")


def soname_means_nothing(shop: Workshop) -> Path:
    shop.library("lib/libx.so", soname="libalias.so")
    shop.library("lib/libalias.so")
    return shop.program("prog", "libx.so", "libalias.so", rpath=f"{shop.folder}/lib")


def same_inode_is_loaded_once(shop: Workshop) -> Path:
    os.link(shop.library("lib/libx.so"), shop.folder / "lib/liby.so")
    return shop.program("prog", "libx.so", "liby.so", rpath=f"{shop.folder}/lib")


def breadth_first(shop: Workshop) -> Path:
    shop.library("lib/liba.so", "libd.so")
    for name in ("libb.so", "libd.so"):
        shop.library(f"lib/{name}")
    return shop.program("prog", "liba.so", "libb.so", rpath=f"{shop.folder}/lib")


def origin(shop: Workshop) -> Path:
    shop.library("lib/libx.so", "liby.so", runpath="${ORIGIN}/sub")
    shop.library("lib/sub/liby.so")
    return shop.program("bin/prog", "libx.so", runpath="$ORIGIN/../lib")


def another_token_spoils_the_whole_path(shop: Workshop) -> Path:
    shop.library("lib/libx.so")
    return shop.program("prog", "libx.so", runpath=f"{shop.folder}/lib:$LIB/other")


def empty_elements_are_nothing(shop: Workshop) -> Path:
    shop.library("libx.so")
    shop.library("lib/liby.so")
    return shop.program("prog", "libx.so", "liby.so", runpath=f":{shop.folder}/lib::")


def paths(shop: Workshop) -> Path:
    shop.library("lib/libx.so")
    return shop.program("prog", f"{shop.folder}/lib/libx.so", f"{shop.folder}/lib/libgone.so")


def hwcaps_are_not_looked_at(shop: Workshop) -> Path:
    shop.library("lib/glibc-hwcaps/x86-64-v2/libx.so")
    shop.library("lib/libx.so")
    return shop.program("prog", "libx.so", runpath=f"{shop.folder}/lib")


def all_missing_ones_are_listed(shop: Workshop) -> Path:
    shop.library("lib/libx.so", "libgone.so")
    return shop.program("prog", "libx.so", "libaway.so", "libselinux.so.1", rpath=f"{shop.folder}/lib")


def first_file_of_that_name_decides(shop: Workshop) -> Path:
    (shop.folder / "bad").mkdir()
    (shop.folder / "bad/libx.so").write_text("This is no ELF file, yet musl looks no further.\n" * 4)
    shop.library("good/libx.so")
    return shop.program("prog", "libx.so", "libc.so", runpath=f"{shop.folder}/bad:{shop.folder}/good")


CASES: list[Case] = [
    ordinary, names_of_the_c_library_mean_the_loader, runpath_is_inherited_too,
    own_runpath_goes_first_and_those_of_loaders_follow, soname_means_nothing, same_inode_is_loaded_once,
    breadth_first, origin, another_token_spoils_the_whole_path, empty_elements_are_nothing, paths,
    hwcaps_are_not_looked_at, all_missing_ones_are_listed, first_file_of_that_name_decides,
]  # fmt: skip


@pytest.mark.parametrize("build", CASES, ids=lambda build: build.__name__)
def test_same_as_musl(shop: Workshop, build: Case) -> None:
    program = str(build(shop))
    closure = Loader().closure(program)
    loader = str(read_elf(program).interpreter)
    assert closure.interpreter == loader
    found, missing = musl_list(loader, program)
    # musl prints each of its own names once; the model has the loader once, as it is one object.
    own = [pair for pair in found if pair[1] == loader]
    found = [pair for pair in found if pair[1] != loader or pair == own[0]]
    assert [(lib.name, lib.path) for lib in closure.libraries] == found
    assert modelled(closure, loader)[1] == missing


def test_path_file_of_the_root_decides(shop: Workshop, tmp_path: Path) -> None:
    program = ordinary(shop)
    loader = str(read_elf(str(program)).interpreter)
    root = tmp_path / "root"
    for folder in ("lib", "etc", "special"):
        (root / folder).mkdir(parents=True)
    (root / loader[1:]).write_bytes(Path(loader).read_bytes())
    shop.library("root/special/libx.so")
    shop.library("root/lib/liby.so")
    shop.program("root/prog", "libx.so", "liby.so", "libc.so")
    architecture = Path(loader).name.removeprefix("ld-musl-").split(".")[0]

    def missing() -> list[str]:
        return [missing.name for missing in Loader(str(root)).closure("/prog").missing]

    assert missing() == ["libx.so"]
    (root / f"etc/ld-musl-{architecture}.path").write_text("/nowhere\n/special\n/lib\n")
    assert missing() == []
    (root / f"etc/ld-musl-{architecture}.path").write_text("")
    assert missing() == ["libx.so", "liby.so"]


def test_library_is_followed_by_the_loader_of_its_own_libc(shop: Workshop) -> None:
    library = shop.library("lib/libx.so", "libc.so")
    closure = Loader().closure(str(library))
    assert closure.interpreter is None
    assert [(lib.name, "ld-musl-" in lib.path) for lib in closure.libraries] == [("libc.so", True)]
