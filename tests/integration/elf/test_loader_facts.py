"""What is read out of a loader's binary, against what the loader says when it is asked."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from jailkit.elf import Loader, read_elf
from jailkit.elf.cpu import read_cpu
from jailkit.elf.platform import Glibc, read_platform


def ask(loader: str) -> str | None:
    """Ask a loader what it knows of itself (glibc 2.33); None when this kernel runs none of its ABI, as with x32."""
    try:
        done = subprocess.run(
            [loader, "--list-diagnostics"], env={}, capture_output=True, text=True, timeout=60, check=True
        )
    except OSError:
        return None
    return done.stdout


LOADERS = [
    str(path)
    for folder in ("/lib64", "/lib", "/libx32")
    for path in Path(folder).glob("ld-linux*.so.*")
    if ask(str(path)) is not None
]  # fmt: skip


def diagnostics(loader: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in (ask(loader) or "").splitlines())
    return {key: value.strip('"') for key, _, value in pairs}


def test_the_machine_s_own_loader_is_among_them() -> None:
    assert read_elf(sys.executable).interpreter in LOADERS


@pytest.mark.parametrize("loader", LOADERS)
def test_same_as_the_loader_s_diagnostics(loader: str) -> None:
    said = diagnostics(loader)
    facts = read_platform(read_elf(loader), Path(loader).read_bytes(), read_cpu())
    assert isinstance(facts, Glibc)
    directories = [said[key] for key in sorted(said) if re.fullmatch(r"path\.system_dirs\[0x\w\]", key)]
    assert list(facts.system_dirs) == directories
    assert (facts.lib, facts.platform) == (said["dl_dst_lib"], said["dl_platform"])
    assert list(facts.levels) == [level for level in said["dl_hwcaps_subdirs"].split(":") if level]
    mask = int(said["dl_hwcaps_subdirs_active"], 16)
    assert facts.active == {level for place, level in enumerate(facts.levels) if mask >> place & 1}
    assert facts.cache_file == f"{said['path.sysconfdir']}/ld.so.cache"
    assert bool(facts.legacy) == ("dl_hwcap_important" in said)


def test_what_everything_on_the_way_says() -> None:
    loader = Loader()
    for library in loader.closure(sys.executable).libraries:
        elf = loader.elf(library.path)
        assert elf.path == library.real
        assert all(name.isprintable() and name for _, name in elf.requests)
