"""Making jails: beside Sessink's jk_init and beside cp(1)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.measure import Peer, Series, interleaved, process
from bench.report import Bar, Section
from bench.sections import write_profile
from jailkit.lifecycle.verify import read_manifest
from jailkit.store import Store


class Place:
    """A directory that only root may write to, on a file system of a kind."""

    def __init__(self, kind: str, path: Path) -> None:
        self.kind = kind
        self.path = path
        self._discarded = 0

    def discard(self, path: Path) -> None:
        """Put a tree out of the way.

        On a disk it stays until the end: for a minute after thousands of files were deleted, ext4 spends most of
        the time for a new file on passing over their inodes, and the next to be measured would pay for that.
        """
        if self.kind == "tmpfs":
            shutil.rmtree(path)
        else:
            self._discarded += 1
            path.rename(f"{path}.{self._discarded}")


@dataclass(frozen=True, slots=True)
class Task:
    """A section of jk_init.ini, and what its making may cost."""

    section: str
    rounds: int
    times_faster: float
    seconds: float | None = None
    times_copy: float | None = None


BASICSHELL = Task("basicshell", 15, times_faster=5, seconds=0.25)
PERL = Task("perl", 5, times_faster=20, times_copy=2)
GIT = Task("git", 5, times_faster=20, times_copy=2)
_ALLOWANCE = 0.2  # seconds on top of the copy


def creating(jailkit: Path, place: Place, task: Task) -> Section:
    """Measure the three in turn, each into a place of its own."""
    profile = place.path / f"{task.section}.yaml"
    write_profile(task.section, profile)
    home, jail, copies = (place.path / name for name in ("home", "jail", "copies"))
    create = process([jailkit, "--home", home, "create", profile])
    create()
    files, size, sources = _made(home, task.section)
    place.discard(home)
    series = interleaved(
        [
            Peer("jailkit create", create, _flush, lambda: place.discard(home)),
            Peer("jk_init", process(["jk_init", "-j", jail, task.section]), _fresh(jail), lambda: place.discard(jail)),
            Peer(
                "cp -a",
                process(["cp", "-a", "--parents", *sources, copies]),
                _fresh(copies),
                lambda: place.discard(copies),
            ),
        ],
        task.rounds,
    )
    notes = f"{files} files, {size / 1e6:.1f} MB; `cp -a` copies the same files from a list."
    return Section(f"create {task.section} on {place.kind}", notes, series, _bars(task, place, series))


def _made(home: Path, name: str) -> tuple[int, int, list[str]]:
    """Give the number of files in a jail, their bytes, and where files and links came from."""
    records = read_manifest(Store(str(home)).load(name)).records.values()
    files = [record for record in records if record.kind == "file"]
    links = [record.path for record in records if record.kind == "symlink" and os.path.islink(record.path)]
    sources = [*(record.source for record in files if record.source is not None), *links]
    # Relative to /, where this program runs: cp --parents of coreutils 9.1 fails with absolute paths.
    return len(files), sum(record.size for record in files), [source.lstrip("/") for source in sources]


def _bars(task: Task, place: Place, series: list[Series]) -> list[Bar]:
    ours, theirs, copy = (one.wall for one in series)
    what = f"create {task.section}, {place.kind}"
    bars = [
        Bar(f"{what}: a {task.times_faster:.0f}th of jk_init's {theirs:.2f} s", ours, theirs / task.times_faster, "s")
    ]
    if task.seconds is not None:
        bars.append(Bar(what, ours, task.seconds, "s"))
    if task.times_copy is not None:
        limit = task.times_copy * copy + _ALLOWANCE
        bars.append(Bar(f"{what}: {task.times_copy:.0f} times `cp -a` and {_ALLOWANCE} s", ours, limit, "s"))
    return bars


def destroyer(jailkit: Path, home: Path, name: str) -> Callable[[], None]:
    """Give what deletes a jail."""
    run = process([jailkit, "--home", home, "destroy", "--force", name])

    def destroy() -> None:
        run()

    return destroy


def _flush() -> None:
    """Let nobody pay for what others have left to write."""
    os.sync()


def _fresh(path: Path) -> Callable[[], None]:
    def make() -> None:
        path.mkdir()
        _flush()

    return make
