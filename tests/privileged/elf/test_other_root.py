"""Another root: its own loader, cache, configuration and links, compared with the loader inside a chroot of it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.elves import Workshop, modelled, trace

from jailkit.elf import Closure, Loader, read_elf

pytestmark = pytest.mark.needs("root", "chroot", "gcc")

LOADER = str(read_elf(sys.executable).interpreter)
LEVELS = ("x86-64-v4", "x86-64-v3", "x86-64-v2")


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    """Give a workshop whose folder is a root with this machine's loader and C library."""
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    for path in (LOADER, *(lib.path for lib in Loader().closure(sys.executable).libraries)):
        target = root / path[1:]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return Workshop(root)


def ldconfig(shop: Workshop, *options: str, directories: str = "") -> None:
    (shop.folder / "etc/ld.so.conf").write_text(directories)
    subprocess.run(["/sbin/ldconfig", "-X", *options, "-r", shop.folder], check=True, timeout=60)


def same_as_inside(shop: Workshop, program: str = "/prog") -> Closure:
    closure = Loader(str(shop.folder)).closure(program)
    assert modelled(closure, LOADER) == trace(LOADER, program, root=str(shop.folder))
    for library in closure.libraries:
        assert os.path.isfile(f"{shop.folder}{library.real}")
        assert not os.path.islink(f"{shop.folder}{library.real}")
    return closure


def test_system_directories_do_without_a_cache(shop: Workshop) -> None:
    shop.program("prog", "libm.so.6", "libc.so.6", "libzstd.so.1")
    closure = same_as_inside(shop)
    assert [missing.name for missing in closure.missing] == ["libzstd.so.1"]


@pytest.mark.parametrize("kind", ["new", "compat", "old"])
def test_formats_of_the_cache(shop: Workshop, kind: str) -> None:
    for name in ("libx.so.1", "libx.so.2", "libx.so.10", "liby.so"):
        shop.library(f"opt/lib/{name}", "libc.so.6", soname=name)
    shop.program("prog", "libx.so.10", "libx.so.2", "liby.so", "libx.so.3", "libx.so.1")
    ldconfig(shop, "-c", kind, directories="/opt/lib\n")
    assert len(same_as_inside(shop).libraries) == 6


def test_numbers_in_names_are_compared_by_value(shop: Workshop) -> None:
    shop.library("opt/lib/libx.so.1", soname="libx.so.1")
    shop.program("prog", "libx.so.01")
    ldconfig(shop, directories="/opt/lib\n")
    assert [lib.path for lib in same_as_inside(shop).libraries] == ["/opt/lib/libx.so.1"]


def test_hwcaps_in_the_cache(shop: Workshop) -> None:
    if platform.machine() != "x86_64":
        pytest.skip("the levels are those of x86-64")
    for place in (*(f"glibc-hwcaps/{level}/" for level in LEVELS), ""):
        shop.library(f"opt/lib/{place}libx.so.1", soname="libx.so.1")
    for level in LEVELS[1:]:
        shop.library(f"opt/lib/glibc-hwcaps/{level}/liby.so.1", soname="liby.so.1")
    shop.library("opt/lib/glibc-hwcaps/x86-64-v9/libw.so.1", soname="libw.so.1")
    shop.program("prog", "libx.so.1", "liby.so.1", "libw.so.1")
    ldconfig(shop, directories="/opt/lib\n")
    closure = same_as_inside(shop)
    x, y = closure.libraries
    assert {x.path, *x.variants} == {
        f"/opt/lib/{place}libx.so.1" for place in ("", *(f"glibc-hwcaps/{level}/" for level in LEVELS))
    }
    assert {y.path, *y.variants} == {f"/opt/lib/glibc-hwcaps/{level}/liby.so.1" for level in LEVELS[1:]}


def test_nodeflib_drops_cache_entries_of_system_directories_only(shop: Workshop) -> None:
    shop.library("opt/lib/libx.so.1", soname="libx.so.1")
    shop.library("lib/liby.so.1", soname="liby.so.1")
    shop.program("prog", "libx.so.1", "liby.so.1", link=("-z,nodefaultlib",))
    ldconfig(shop, directories="/opt/lib\n")
    closure = same_as_inside(shop)
    assert [lib.name for lib in closure.libraries] == ["libx.so.1"]


def test_stale_entry_of_the_cache(shop: Workshop) -> None:
    shop.library("opt/lib/libx.so.1", soname="libx.so.1")
    shop.program("prog", "libx.so.1")
    ldconfig(shop, directories="/opt/lib\n")
    (shop.folder / "opt/lib/libx.so.1").rename(shop.folder / "lib/libx.so.1")
    assert [lib.path for lib in same_as_inside(shop).libraries] == ["/lib/libx.so.1"]


def test_damaged_caches(shop: Workshop) -> None:
    shop.library("opt/lib/libx.so.1", soname="libx.so.1")
    shop.program("prog", "libx.so.1", "libm.so.6")
    ldconfig(shop, directories="/opt/lib\n")
    cache = shop.folder / "etc/ld.so.cache"
    whole = cache.read_bytes()
    for damaged in (b"", whole[:20], whole[:60], b"x" * 100, whole[:28] + b"\x03" + whole[29:], whole[:-40]):
        cache.write_bytes(damaged)
        same_as_inside(shop)


def test_preloaded_objects(shop: Workshop) -> None:
    shop.library("opt/pre1.so", "libneeded.so", soname="pre1.so")
    shop.library("opt/libneeded.so")
    shop.library("lib/pre2.so", "libm.so.6")
    shop.library("opt/libx.so")
    shop.program("prog", "libx.so", "libc.so.6", rpath="/opt")
    (shop.folder / "etc/ld.so.preload").write_text(
        "# a comment with /opt/libx.so in it\n/opt/pre1.so:pre2.so\t/opt/gone.so # pre3.so\n"
    )
    assert [lib.name for lib in same_as_inside(shop).libraries][:3] == ["/opt/pre1.so", "pre2.so", "libx.so"]


def test_links_stay_within_the_root(shop: Workshop, tmp_path: Path) -> None:
    Workshop.library(shop, "../outside/libx.so")
    shop.library("inside/libx.so")
    shop.library("inside/liby.so")
    for name, target in (
        ("opt", "/inside"), ("up", "../../../inside"), ("out", f"{tmp_path}/outside"),
        ("inside/libz.so", "/up/liby.so"),
    ):  # fmt: skip
        (shop.folder / name).symlink_to(target)
    shop.program("bin/prog", "libx.so", "liby.so", "libz.so", runpath="/out:/opt:$ORIGIN/../../../../up")
    (shop.folder / "prog").symlink_to("/bin/prog")
    closure = same_as_inside(shop, "/bin/prog")
    assert [lib.real for lib in closure.libraries] == ["/inside/libx.so", "/inside/liby.so"]
    assert Loader(str(shop.folder)).closure("/prog").real == "/bin/prog"


def test_merged_usr(shop: Workshop) -> None:
    (shop.folder / "lib64").rename(shop.folder / "usr-lib64")
    (shop.folder / "usr").mkdir(exist_ok=True)
    (shop.folder / "usr-lib64").rename(shop.folder / "usr/lib64")
    (shop.folder / "lib64").symlink_to("usr/lib64")
    shop.program("prog", "libc.so.6")
    assert LOADER in [lib.path for lib in same_as_inside(shop).libraries]


def test_relative_directories_start_at_the_root(shop: Workshop) -> None:
    shop.library("sub/libx.so")
    shop.library("liby.so")
    shop.program("prog", "libx.so", "liby.so", rpath=":sub")
    closure = Loader(str(shop.folder)).closure("prog")
    found, missing = trace(LOADER, "/prog", root=str(shop.folder))
    assert ([(lib.name, lib.path) for lib in closure.libraries], missing) == ([(n, f"/{p}") for n, p in found], [])
