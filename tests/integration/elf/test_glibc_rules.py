"""Every rule of glibc's loader, on files compiled for it: the model against the loader itself."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.elves import GaveUpError, Workshop, modelled, patch, trace

from jailkit.elf import Loader, read_elf
from jailkit.errors import ElfError

pytestmark = pytest.mark.needs("gcc")

E_MACHINE = 18  # its offset in the header

Case = Callable[[Workshop], Path]
CASES: list[Case] = []
FATAL: list[Case] = []


def case(function: Case) -> Case:
    """Enter a case that the loader answers."""
    CASES.append(function)
    return function


def fatal(function: Case) -> Case:
    """Enter a case that the loader gives up on; the file it stumbles over is `bad/libx.so`."""
    FATAL.append(function)
    return function


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    monkeypatch.chdir(tmp_path)
    return Workshop(tmp_path)


def name_of(function: Case) -> str:
    return function.__name__


@pytest.mark.parametrize("build", CASES, ids=name_of)
def test_same_names_and_paths_in_the_same_order(shop: Workshop, build: Case) -> None:
    program = build(shop)
    closure = Loader().closure(str(program))
    loader = closure.interpreter or read_elf(sys.executable).interpreter
    assert loader is not None
    found, missing = trace(loader, os.path.realpath(program))
    absolute = [(name, path if path.startswith("/") else f"{shop.folder}/{path}") for name, path in found]
    assert modelled(closure, loader) == (absolute, missing)
    assert found or missing
    for library in closure.libraries:
        assert library.real == os.path.realpath(library.path)


@pytest.mark.parametrize("build", FATAL, ids=name_of)
def test_gives_up_where_the_loader_does(shop: Workshop, build: Case) -> None:
    program = build(shop)
    with pytest.raises(GaveUpError, match=r"libx\.so"):
        trace(str(read_elf(str(program)).interpreter), str(program))
    with pytest.raises(ElfError, match=r"cannot load \S*bad/libx\.so"):
        Loader().closure(str(program))


# Search paths


@case
def rpath_is_searched(shop: Workshop) -> Path:
    shop.library("lib/libx.so")
    return shop.program("prog", "libx.so", rpath=f"{shop.folder}/lib")


@case
def runpath_is_searched(shop: Workshop) -> Path:
    shop.library("lib/libx.so")
    return shop.program("prog", "libx.so", runpath=f"{shop.folder}/lib")


@case
def runpath_is_not_inherited(shop: Workshop) -> Path:
    shop.library("lib/libx.so", "liby.so")
    shop.library("lib/liby.so")
    return shop.program("prog", "libx.so", runpath=f"{shop.folder}/lib")


@case
def rpath_is_inherited(shop: Workshop) -> Path:
    shop.library("lib/libx.so", "liby.so")
    shop.library("lib/liby.so")
    return shop.program("prog", "libx.so", rpath=f"{shop.folder}/lib")


@case
def rpath_of_a_library_in_the_middle_counts_for_those_below(shop: Workshop) -> Path:
    shop.library("one/libx.so", "liby.so", rpath=f"{shop.folder}/two")
    shop.library("two/liby.so", "libz.so")
    shop.library("two/libz.so")
    shop.library("one/libz.so")
    return shop.program("prog", "libx.so", rpath=f"{shop.folder}/one")


@case
def own_rpath_goes_before_that_of_the_program(shop: Workshop) -> Path:
    shop.library("one/libx.so", "liby.so", rpath=f"{shop.folder}/two")
    shop.library("two/liby.so")
    shop.library("one/liby.so")
    return shop.program("prog", "libx.so", rpath=f"{shop.folder}/one")


@case
def runpath_of_the_requester_suppresses_every_rpath(shop: Workshop) -> Path:
    shop.library("one/libx.so", "liby.so", runpath=f"{shop.folder}/nowhere")
    shop.library("one/liby.so")
    return shop.program("prog", "libx.so", rpath=f"{shop.folder}/one")


@case
def runpath_of_the_middle_hides_its_rpath_only(shop: Workshop) -> Path:
    shop.library("one/libx.so", "liby.so", runpath=f"{shop.folder}/two")
    shop.library("two/liby.so", "libz.so")
    shop.library("one/libz.so")
    return shop.program("prog", "libx.so", rpath=f"{shop.folder}/one")


@case
def first_directory_wins(shop: Workshop) -> Path:
    shop.library("two/libx.so")
    shop.library("three/libx.so")
    return shop.program("prog", "libx.so", runpath="$ORIGIN/one:$ORIGIN/two:$ORIGIN/three")


@case
def slashes_are_trimmed_and_dots_are_not(shop: Workshop) -> Path:
    shop.library("lib/libx.so")
    return shop.program("prog", "libx.so", rpath=f"{shop.folder}/none//:{shop.folder}/./lib///")


@case
def empty_element_is_the_working_directory(shop: Workshop) -> Path:
    shop.library("libx.so", "liby.so", runpath="$ORIGIN/lib")
    shop.library("lib/liby.so")
    return shop.program("sub/prog", "libx.so", rpath="/nowhere:")


@case
def relative_directory_starts_at_the_working_directory(shop: Workshop) -> Path:
    shop.library("lib/libx.so")
    return shop.program("sub/prog", "libx.so", runpath="lib")


@case
def file_in_place_of_a_directory_is_passed_over(shop: Workshop) -> Path:
    (shop.folder / "one").write_text("no directory")
    shop.library("two/libx.so")
    return shop.program("prog", "libx.so", runpath=f"{shop.folder}/one:{shop.folder}/two")


@case
def dangling_link_is_passed_over(shop: Workshop) -> Path:
    (shop.folder / "one").mkdir()
    (shop.folder / "one/libx.so").symlink_to("nothing")
    shop.library("two/libx.so")
    return shop.program("prog", "libx.so", runpath=f"{shop.folder}/one:{shop.folder}/two")


@case
def loop_of_links_ends_the_list(shop: Workshop) -> Path:
    (shop.folder / "one").mkdir()
    (shop.folder / "one/libx.so").symlink_to("libx.so")
    shop.library("two/libx.so")
    return shop.program("prog", "libx.so", runpath=f"{shop.folder}/one:{shop.folder}/two")


@case
def cache_and_system_directories_come_last(shop: Workshop) -> Path:
    return shop.program("prog", "libm.so.6", "libc.so.6", runpath=f"{shop.folder}/lib")


@case
def nodeflib_takes_neither_cache_nor_system_directories(shop: Workshop) -> Path:
    shop.library("lib/libx.so")
    return shop.program("prog", "libx.so", "libm.so.6", runpath=f"{shop.folder}/lib", link=("-z,nodefaultlib",))


@case
def nodeflib_is_not_inherited(shop: Workshop) -> Path:
    shop.library("lib/libx.so", "libm.so.6")
    return shop.program("prog", "libx.so", runpath=f"{shop.folder}/lib", link=("-z,nodefaultlib",))


@case
def now_changes_nothing(shop: Workshop) -> Path:
    shop.library("lib/libx.so", link=("-z,now",))
    return shop.program("prog", "libx.so", runpath=f"{shop.folder}/lib", link=("-z,now",))


# Order and identity


@case
def breadth_first(shop: Workshop) -> Path:
    shop.library("lib/liba.so", "libc1.so", "libd.so")
    shop.library("lib/libb.so", "libe.so")
    for name in ("libc1.so", "libd.so", "libe.so"):
        shop.library(f"lib/{name}", "libb.so")
    return shop.program("prog", "liba.so", "libb.so", rpath=f"{shop.folder}/lib")


@case
def soname_of_a_loaded_object_satisfies_a_request(shop: Workshop) -> Path:
    shop.library("lib/libx.so", soname="libalias.so.1")
    shop.library("lib/liby.so", "libalias.so.1")
    shop.library("lib/libalias.so.1")
    return shop.program("prog", "libx.so", "liby.so", rpath=f"{shop.folder}/lib")


@case
def soname_of_the_program_satisfies_a_request(shop: Workshop) -> Path:
    shop.library("lib/libx.so", "libself.so")
    shop.library("lib/libself.so")
    return shop.program("prog", "libx.so", rpath=f"{shop.folder}/lib", link=("-soname=libself.so",))


@case
def same_inode_is_loaded_once(shop: Workshop) -> Path:
    os.link(shop.library("lib/libx.so"), shop.folder / "lib/liby.so")
    (shop.folder / "lib/libz.so").symlink_to("libx.so")
    return shop.program("prog", "libx.so", "liby.so", "libz.so", rpath=f"{shop.folder}/lib")


@case
def path_of_a_loaded_object_is_a_name_of_it(shop: Workshop) -> Path:
    shop.library("lib/libx.so")
    return shop.program("prog", "libx.so", f"{shop.folder}/lib/libx.so", rpath=f"{shop.folder}/lib")


@case
def alias_by_inode_is_remembered(shop: Workshop) -> Path:
    os.link(shop.library("lib/libx.so"), shop.folder / "lib/liby.so")
    shop.library("lib/libz.so", "liby.so", runpath=f"{shop.folder}/other")
    shop.library("other/liby.so")
    return shop.program("prog", "libx.so", "liby.so", "libz.so", rpath=f"{shop.folder}/lib")


@case
def cycles_end(shop: Workshop) -> Path:
    shop.library("lib/libx.so", "liby.so")
    shop.library("lib/liby.so", "libx.so", "liby.so")
    return shop.program("prog", "libx.so", rpath=f"{shop.folder}/lib")


@case
def loader_itself_keeps_its_place(shop: Workshop) -> Path:
    shop.library("lib/libx.so", "libm.so.6")
    loader = os.path.basename(str(read_elf(sys.executable).interpreter))
    return shop.program("prog", loader, "libx.so", rpath=f"{shop.folder}/lib")


@case
def loader_by_its_path(shop: Workshop) -> Path:
    return shop.program("prog", str(read_elf(sys.executable).interpreter), "libc.so.6")


@case
def all_missing_ones_are_listed(shop: Workshop) -> Path:
    shop.library("lib/libx.so", "libgone.so", "libfar.so")
    return shop.program("prog", "libgone.so", "libx.so", "libaway.so", "libm.so.6", rpath=f"{shop.folder}/lib")


# Tokens


@case
def origin_of_the_program_is_its_real_path(shop: Workshop) -> Path:
    shop.library("real/lib/libx.so")
    shop.library("link/lib/libx.so")
    shop.program("real/bin/prog", "libx.so", runpath="$ORIGIN/../lib")
    (shop.folder / "link/bin").mkdir()
    (shop.folder / "link/bin/prog").symlink_to("../../real/bin/prog")
    return shop.folder / "link/bin/prog"


@case
def origin_of_a_library_is_where_it_was_found(shop: Workshop) -> Path:
    shop.library("real/libx.so", "liby.so", runpath="$ORIGIN/sub")
    shop.library("real/sub/liby.so")
    shop.library("lib/sub/liby.so")
    (shop.folder / "lib/libx.so").symlink_to("../real/libx.so")
    return shop.program("prog", "libx.so", runpath=f"{shop.folder}/lib")


@case
def origin_of_an_inherited_rpath_is_that_of_its_owner(shop: Workshop) -> Path:
    shop.library("lib/libx.so", "liby.so")
    shop.library("lib/liby.so")
    return shop.program("bin/prog", "libx.so", rpath="$ORIGIN/../lib")


@case
def braces(shop: Workshop) -> Path:
    shop.library("liborigin/libx.so")
    return shop.program("prog", "libx.so", runpath="${ORIGIN}/liborigin")


@case
def brace_closes_a_token_in_a_word(shop: Workshop) -> Path:
    (shop.folder / "a").mkdir()
    shop.library("anything/libx.so")
    return shop.program("a/prog", "libx.so", runpath="${ORIGIN}nything")


@case
def lib_token(shop: Workshop) -> Path:
    for name in ("lib/x86_64-linux-gnu", "lib/aarch64-linux-gnu", "lib64", "lib"):
        shop.library(f"top/{name}/libx.so")
    return shop.program("top/prog", "libx.so", runpath="$ORIGIN/$LIB")


@case
def platform_token(shop: Workshop) -> Path:
    for name in ("x86_64", "haswell", "xeon_phi", "aarch64"):
        shop.library(f"top/{name}/libx.so")
    return shop.program("top/prog", "libx.so", runpath="$ORIGIN/${PLATFORM}")


@case
def longer_word_is_no_token(shop: Workshop) -> Path:
    shop.library("$LIBRARY/libx.so")
    shop.library("$NOTHING/liby.so")
    return shop.program(
        "prog", "libx.so", "liby.so", runpath=f"$ORIGINAL:{shop.folder}/$LIBRARY:{shop.folder}/$NOTHING"
    )


@case
def token_in_a_needed_path(shop: Workshop) -> Path:
    shop.library("sub/libx.so", "${ORIGIN}/liby.so")
    shop.library("sub/liby.so")
    return shop.program("prog", "$ORIGIN/sub/libx.so")


@case
def token_in_a_needed_name(shop: Workshop) -> Path:
    for name in ("x86_64", "haswell", "xeon_phi", "aarch64"):
        shop.library(f"lib/lib{name}.so")
    return shop.program("prog", "lib$PLATFORM.so", runpath=f"{shop.folder}/lib")


# Names with a slash


@case
def absolute_name(shop: Workshop) -> Path:
    return shop.program("prog", str(shop.library("lib/libx.so", soname="libx.so")), "libx.so")


@case
def relative_name(shop: Workshop) -> Path:
    shop.library("lib/libx.so")
    return shop.program("sub/prog", "lib/libx.so")


@case
def absent_path_is_missing(shop: Workshop) -> Path:
    return shop.program("prog", f"{shop.folder}/lib/libx.so", rpath=f"{shop.folder}")


# Files of another kind


@case
def another_machine_is_passed_over(shop: Workshop) -> Path:
    patch(shop.library("one/libx.so"), E_MACHINE, b"\x2b\x00")  # EM_SPARCV9
    shop.library("two/libx.so")
    return shop.program("prog", "libx.so", runpath=f"{shop.folder}/one:{shop.folder}/two")


@case
def another_machine_only_is_missing(shop: Workshop) -> Path:
    patch(shop.library("one/libx.so"), E_MACHINE, b"\x2b\x00")
    return shop.program("prog", "libx.so", runpath=f"{shop.folder}/one")


@case
def os_abi_of_linux_is_taken(shop: Workshop) -> Path:
    patch(shop.library("lib/libx.so"), 7, b"\x03")  # ELFOSABI_GNU
    return shop.program("prog", "libx.so", runpath=f"{shop.folder}/lib")


def behind(shop: Workshop, content: bytes | None = None) -> Path:
    """Build a program that finds `bad/libx.so` before a good one."""
    (shop.folder / "bad").mkdir(exist_ok=True)
    if content is not None:
        (shop.folder / "bad/libx.so").write_bytes(content)
    shop.library("good/libx.so")
    return shop.program("prog", "libx.so", runpath=f"{shop.folder}/bad:{shop.folder}/good")


@fatal
def garbage(shop: Workshop) -> Path:
    return behind(shop, b"This is no ELF file, but it is as long as a header of one must be.\n")


@fatal
def linker_script(shop: Workshop) -> Path:
    return behind(shop, b"/* GNU ld script */\nGROUP ( /lib/libx.so.1 AS_NEEDED ( libc.so.6 libm.so.6 libz.so.1 ) )\n")


@fatal
def short_file(shop: Workshop) -> Path:
    return behind(shop, b"\x7fELF\x02\x01\x01")


@fatal
def empty_file(shop: Workshop) -> Path:
    return behind(shop, b"")


@fatal
def directory_of_that_name(shop: Workshop) -> Path:
    (shop.folder / "bad/libx.so").mkdir(parents=True)
    return behind(shop)


@fatal
def other_byte_order(shop: Workshop) -> Path:
    patch(shop.library("bad/libx.so"), 5, b"\x02")
    return behind(shop)


@fatal
def unknown_os_abi(shop: Workshop) -> Path:
    patch(shop.library("bad/libx.so"), 7, b"\x09")  # FreeBSD
    return behind(shop)


@fatal
def unknown_version(shop: Workshop) -> Path:
    patch(shop.library("bad/libx.so"), 6, b"\x02")
    return behind(shop)


@fatal
def object_file(shop: Workshop) -> Path:
    patch(shop.library("bad/libx.so"), 16, b"\x01\x00")  # ET_REL
    return behind(shop)


@fatal
def program_in_place_of_a_library(shop: Workshop) -> Path:
    shop.program("bad/libx.so", compile_with=("-no-pie",))
    return behind(shop)


@fatal
def position_independent_program_in_place_of_a_library(shop: Workshop) -> Path:
    shop.program("bad/libx.so", "libc.so.6", compile_with=("-pie",))
    return behind(shop)


# Auxiliary objects and filters


@case
def auxiliary_object_comes_before_its_filter(shop: Workshop) -> Path:
    shop.library("lib/libx.so", "liby.so", link=("-f,libaux.so",))
    shop.library("lib/libaux.so", "libz.so")
    shop.library("lib/liby.so")
    shop.library("lib/libz.so")
    return shop.program("prog", "libx.so", rpath=f"{shop.folder}/lib")


@case
def several_auxiliary_objects(shop: Workshop) -> Path:
    shop.library("lib/libx.so", link=("-f,liba1.so", "-f,liba2.so"))
    shop.library("lib/liba1.so", "libz.so")
    shop.library("lib/liba2.so")
    shop.library("lib/libz.so", link=("-f,liba2.so",))
    return shop.program("prog", "liby.so", "libx.so", rpath=f"{shop.folder}/lib")


@case
def filter_pulls_its_filtee_in(shop: Workshop) -> Path:
    shop.library("lib/libx.so", link=("-F,libreal.so",))
    shop.library("lib/libreal.so")
    return shop.program("prog", "libx.so", rpath=f"{shop.folder}/lib")


@case
def missing_filtee_is_missing(shop: Workshop) -> Path:
    shop.library("lib/libx.so", link=("-F,libreal.so",))
    return shop.program("prog", "libx.so", rpath=f"{shop.folder}/lib")


@case
def filtee_that_comes_later_is_moved_forward(shop: Workshop) -> Path:
    shop.library("lib/libx.so", link=("-f,liblate.so",))
    shop.library("lib/liblate.so")
    shop.library("lib/liby.so")
    return shop.program("prog", "libx.so", "liby.so", "liblate.so", rpath=f"{shop.folder}/lib")


@case
def filtee_that_came_earlier_stays(shop: Workshop) -> Path:
    shop.library("lib/libx.so", link=("-f,libearly.so",))
    shop.library("lib/libearly.so")
    return shop.program("prog", "libearly.so", "libx.so", rpath=f"{shop.folder}/lib")


# Files for better CPUs

LEVELS = ("x86-64-v4", "x86-64-v3", "x86-64-v2")


@case
def hwcaps_below_a_runpath(shop: Workshop) -> Path:
    for level in LEVELS:
        shop.library(f"lib/glibc-hwcaps/{level}/libx.so")
    shop.library("lib/libx.so")
    return shop.program("prog", "libx.so", runpath=f"{shop.folder}/lib")


@case
def hwcaps_below_an_rpath_without_a_base_file(shop: Workshop) -> Path:
    shop.library("lib/glibc-hwcaps/x86-64-v2/libx.so")
    shop.library("lib/libx.so") if platform.machine() != "x86_64" else None
    return shop.program("prog", "libx.so", rpath=f"{shop.folder}/lib")


@case
def unknown_hwcaps_are_not_looked_at(shop: Workshop) -> Path:
    shop.library("lib/glibc-hwcaps/x86-64-v9/libx.so")
    shop.library("lib/libx.so")
    return shop.program("prog", "libx.so", rpath=f"{shop.folder}/lib")


@case
def legacy_directories(shop: Workshop) -> Path:
    for place in ("tls/", "x86_64/", "haswell/", "tls/x86_64/", ""):
        shop.library(f"lib/{place}libx.so")
    for place in ("x86_64/", "haswell/", ""):
        shop.library(f"lib/{place}liby.so")
    return shop.program("prog", "libx.so", "liby.so", rpath=f"{shop.folder}/lib")


# Kinds of programs


@case
def position_dependent_program(shop: Workshop) -> Path:
    shop.library("lib/libx.so")
    return shop.program("prog", "libx.so", "libc.so.6", runpath="$ORIGIN/lib", compile_with=("-no-pie",))


@case
def versioned_needs(shop: Workshop) -> Path:
    script = shop.folder / "versions"
    script.write_text("VERSION_1 { global: shared; local: *; };\n")
    source = shop.folder / "shared.c"
    source.write_text("void shared(void) {}\n")
    library = shop.library("lib/libx.so", soname="libx.so", link=(f"--version-script={script}",), files=(source,))
    user = shop.folder / "user.c"
    user.write_text("void shared(void); void use(void) { shared(); }\n")
    return shop.program("prog", runpath="$ORIGIN/lib", files=(user, library))


@case
def library_as_the_file(shop: Workshop) -> Path:
    shop.library("lib/liby.so", "libm.so.6")
    return shop.library("lib/libx.so", "liby.so", "libz.so", runpath="$ORIGIN")


@case
def old_hash_style_and_odd_segments(shop: Workshop) -> Path:
    shop.library("lib/libx.so", link=("--hash-style=sysv", "-z,noseparate-code"))
    return shop.program("prog", "libx.so", runpath="$ORIGIN/lib", link=("-z,noseparate-code", "-z,norelro"))


def test_there_are_enough_of_them() -> None:
    assert len(CASES) + len(FATAL) > 60


def test_auxiliary_object_may_be_absent(shop: Workshop) -> None:
    """A program runs without it, though a trace, which loads nothing for real, calls it not found."""
    shop.library("lib/libx.so", link=("-f,libaux.so",))
    closure = Loader().closure(str(shop.program("prog", "libx.so", rpath=f"{shop.folder}/lib")))
    assert [lib.name for lib in closure.libraries] == ["libx.so"]
    assert closure.missing == ()


def test_every_file_that_another_cpu_could_get_is_a_variant(shop: Workshop) -> None:
    if platform.machine() != "x86_64":
        pytest.skip("the levels are those of x86-64")
    for place in (*(f"glibc-hwcaps/{level}/" for level in LEVELS), ""):
        shop.library(f"lib/{place}libx.so")
    [library] = Loader().closure(str(shop.program("prog", "libx.so", runpath="$ORIGIN/lib"))).libraries
    places = {f"{shop.folder}/lib/{place}libx.so" for place in ("", *(f"glibc-hwcaps/{level}/" for level in LEVELS))}
    assert {library.path, *library.variants} == places
    assert library.path not in library.variants


def test_base_file_of_a_later_directory_is_a_variant(shop: Workshop) -> None:
    if platform.machine() != "x86_64":
        pytest.skip("the levels are those of x86-64")
    shop.library("one/glibc-hwcaps/x86-64-v2/libx.so")
    shop.library("two/libx.so")
    shop.library("three/libx.so")
    program = shop.program("prog", "libx.so", runpath="$ORIGIN/one:$ORIGIN/two:$ORIGIN/three")
    [library] = Loader().closure(str(program)).libraries
    both = {f"{shop.folder}/one/glibc-hwcaps/x86-64-v2/libx.so", f"{shop.folder}/two/libx.so"}
    assert {library.path, *library.variants} == both


def test_who_wanted_what(shop: Workshop) -> None:
    shop.library("lib/libx.so", "liby.so", "libgone.so")
    shop.library("lib/liby.so")
    program = str(shop.program("prog", "libx.so", "libaway.so", rpath=f"{shop.folder}/lib"))
    closure = Loader().closure(program)
    assert [(lib.name, lib.needed_by) for lib in closure.libraries] == [
        ("libx.so", program), ("liby.so", f"{shop.folder}/lib/libx.so"),
    ]  # fmt: skip
    assert {(missing.name, missing.needed_by) for missing in closure.missing} == {
        ("libaway.so", program), ("libgone.so", f"{shop.folder}/lib/libx.so"),
    }  # fmt: skip


def test_missing_interpreter_is_missing(shop: Workshop) -> None:
    shop.library("lib/libx.so")
    program = shop.program("prog", "libx.so", runpath="$ORIGIN/lib", link=("-dynamic-linker=/nowhere/ld.so",))
    closure = Loader().closure(str(program))
    assert closure.interpreter == "/nowhere/ld.so"
    assert [missing.name for missing in closure.missing] == ["/nowhere/ld.so"]
    assert [lib.name for lib in closure.libraries] == ["libx.so"]


@pytest.mark.parametrize("content", [b"#!/bin/sh\n", b"", b"\x7fELF"], ids=["script", "empty", "stump"])
def test_interpreter_that_is_no_loader(shop: Workshop, content: bytes) -> None:
    (shop.folder / "loader").write_bytes(content)
    program = shop.program("prog", "libx.so", link=(f"-dynamic-linker={shop.folder}/loader",))
    with pytest.raises(ElfError, match=r"its interpreter \S*/loader is no loader"):
        Loader().closure(str(program))


def test_static_programs_have_an_empty_closure(shop: Workshop) -> None:
    for number, flags in enumerate((("-static",), ("-static-pie",))):
        program = shop.program(f"prog{number}", compile_with=flags)
        closure = Loader().closure(str(program))
        assert (closure.interpreter, closure.libraries, closure.missing) == (None, (), ())


def test_the_caller_s_environment_does_not_count(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.library("lib/libx.so")
    monkeypatch.setenv("LD_LIBRARY_PATH", f"{shop.folder}/lib")
    monkeypatch.setenv("LD_PRELOAD", f"{shop.folder}/lib/libx.so")
    closure = Loader().closure(str(shop.program("prog", "libx.so")))
    assert [missing.name for missing in closure.missing] == ["libx.so"]


@pytest.mark.needs("gcc-multilib")
def test_32_bit_libraries_are_passed_over_and_the_other_way_round(shop: Workshop, tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    small = Workshop(tmp_path / "small", "-m32")
    small.library("lib/libx.so")
    small.library("lib/libonly.so")
    shop.library("lib/libx.so")
    path = f"{small.folder}/lib:{shop.folder}/lib"
    programs = (
        shop.program("prog", "libx.so", "libonly.so", "libc.so.6", runpath=path),
        small.program("prog", "libx.so", "libonly.so", "libc.so.6", runpath=f"{shop.folder}/lib:{small.folder}/lib"),
    )
    for program in programs:
        closure = Loader().closure(str(program))
        assert closure.interpreter is not None
        assert modelled(closure, closure.interpreter) == trace(closure.interpreter, str(program))


@pytest.mark.needs("gcc-multilib")
@pytest.mark.parametrize("token", ["$LIB", "$PLATFORM"])
def test_32_bit_tokens_and_legacy_directories(tmp_path: Path, token: str) -> None:
    shop = Workshop(tmp_path, "-m32")
    for place in ("lib32", "lib/i386-linux-gnu", "i686", "i586"):
        shop.library(f"top/{place}/libx.so")
    for place in ("tls/sse2", "i686/sse2", "i686", "sse2"):
        shop.library(f"top/{place}/liby.so")
    program = shop.program("top/prog", "libx.so", "liby.so", rpath=f"$ORIGIN/{token}:$ORIGIN")
    closure = Loader().closure(str(program))
    assert closure.interpreter is not None
    assert modelled(closure, closure.interpreter) == trace(closure.interpreter, str(program))
    # The directories that liby.so is in count for loaders before 2.37 only.
    assert {missing.name for missing in closure.missing} <= {"liby.so"}
