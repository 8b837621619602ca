"""Every program of this machine: the model against its own loader, without a single difference."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from support.elves import modelled, musl_list, trace

from jailkit.elf import Closure, Loader
from jailkit.errors import ElfError

FOLDERS = ("/usr/bin", "/usr/sbin")


def closures() -> list[Closure]:
    loader = Loader()
    found: list[Closure] = []
    for folder in FOLDERS:
        for name in sorted(os.listdir(folder)):
            try:
                found.append(loader.closure(f"{folder}/{name}"))
            except ElfError:  # scripts and the like
                continue
    return [closure for closure in found if closure.interpreter]


def difference(closure: Closure) -> str | None:
    loader = str(closure.interpreter)
    asked = musl_list if "ld-musl" in loader else trace
    expected, actual = asked(loader, closure.real), modelled(closure, loader)
    return None if expected == actual else f"{closure.file}: {actual} is not {expected}"


def test_no_differences_on_all_programs() -> None:
    programs = closures()
    assert len(programs) > 50
    with ThreadPoolExecutor(4) as pool:
        different = [text for text in pool.map(difference, programs) if text]
    assert different == []


def test_remembered_answers_are_the_same() -> None:
    loader = Loader()
    for folder in FOLDERS:
        for name in sorted(os.listdir(folder))[:50]:
            if loader.is_elf(f"{folder}/{name}"):
                first = loader.closure(f"{folder}/{name}")
                assert loader.closure(f"{folder}/{name}") == first
                assert Loader().closure(f"{folder}/{name}") == first
