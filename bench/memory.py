"""The memory of a create: that of a small tree, of many files, and of many bytes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.creating import destroyer
from bench.measure import ENVIRONMENT, Peer, Sample, call, interleaved
from bench.report import Bar, Section

_MOST = 80.0  # MB
_TREES = {
    "20,000 files": (20_000, 200),
    "600 MB in 20,000 files": (20_000, 30_000),
    "1 GB in 4 files": (4, 250_000_000),
}


def memory(jailkit: Path, place: Path) -> Section:
    """Measure the peak resident size of creates of generated trees."""
    source, home = place / "tree", place / "memory"
    profile = place / "memory.yaml"
    profile.write_text(f"name: memory\nfiles: [{{source: {source}, target: /srv/tree}}]\n")
    create = _watched([str(jailkit), "--home", str(home), "create", str(profile)])
    series = []
    for name, (count, size) in _TREES.items():
        _grow(source, count, size)
        try:
            series += interleaved([Peer(name, create, after=destroyer(jailkit, home, "memory"))], rounds=1)
        finally:
            shutil.rmtree(source)
    bars = [Bar(f"memory of a create: {one.name}", one.peak / 1e6, _MOST, "MB") for one in series]
    return Section("memory of a create", "Peak resident size of the whole process.", series, bars)


# A new process counts the memory of the one that started it, until execve(2), as its own: so a small one starts it.
_STARTER = """
import os, sys
silent = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
_, status, usage = os.wait4(os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=silent), 0)
print(usage.ru_maxrss * 1024)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def _watched(argv: Sequence[str]) -> Callable[[], Sample]:
    """Give what runs a command and learns how large it became."""
    starter = [sys.executable, "-I", "-S", "-c", _STARTER, *argv]

    def run() -> Sample:
        peaks: list[int] = []
        sample = call(lambda: peaks.append(int(subprocess.check_output(starter, env=ENVIRONMENT))))()
        return Sample(sample.wall, sample.cpu, peaks[0])

    return run


def _grow(top: Path, count: int, size: int) -> None:
    """Make a tree of files in folders of a hundred."""
    content = bytes(range(256)) * (min(size, 1 << 20) // 256 + 1)
    for number in range(count):
        folder = top / f"folder{number // 100:04}"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"a-file-with-a-name-{number:06}").open("wb") as file:
            for start in range(0, size, 1 << 20):
                file.write(content[: min(1 << 20, size - start)])
