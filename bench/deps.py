"""Following libraries: all of /usr/bin in one process, and ldd(1) on some of it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from bench.measure import ENVIRONMENT, Peer, Sample, call, interleaved, process
from bench.report import Bar, Section
from jailkit.elf import Loader
from jailkit.errors import ElfError

_SAMPLE = 20  # every so many-th program goes to ldd, which takes too long for all of them


def deps(jailkit: Path) -> Section:
    """Measure the whole process, and a second pass of one that has read everything before."""
    programs = _programs()
    sample = programs[::_SAMPLE]
    loader = Loader()

    def warm() -> None:
        for program in programs:
            loader.closure(program)

    warm()
    series = interleaved(
        [
            Peer(f"jailkit deps, {len(programs)} programs", process([jailkit, "deps", *programs])),
            Peer("the same once more in one process", call(warm)),
            Peer(f"ldd, {len(sample)} of them", lambda: _ldd(sample)),
        ],
        rounds=5,
    )
    bars = [
        Bar("deps of all of /usr/bin", series[0].wall, 2, "s"),
        Bar("the same once more, from memory", series[1].wall, 0.2, "s"),
    ]
    return Section("deps", "Every dynamic program in /usr/bin.", series, bars)


def _programs() -> list[str]:
    """Give the programs in /usr/bin that have libraries."""
    loader = Loader()
    found = []
    for path in sorted(map(str, Path("/usr/bin").iterdir())):
        try:
            if loader.is_elf(path) and loader.closure(path).libraries:
                found.append(path)
        except ElfError:
            continue
    return found


def _ldd(programs: list[str]) -> Sample:
    return call(lambda: subprocess.run(["ldd", *programs], env=ENVIRONMENT, capture_output=True, check=True))()
