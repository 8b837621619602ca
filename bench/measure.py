"""Measuring whole processes and calls, side by side."""

from __future__ import annotations

import os
import resource
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

# What a login shell has, and nothing of the caller's that would make Python behave otherwise.
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
}

# The jail of those questions for which it does not matter what is in one.
JAIL = "one"
COMMAND = "/bin/true"
PROFILE = f"name: {JAIL}\nbinaries: [{COMMAND}]\n"


def bwrap(root: str) -> list[str]:
    return ["bwrap", "--bind", root, "/", "--uid", "0", "--unshare-user", COMMAND]


def chroot(root: str) -> list[str]:
    return ["chroot", "--userspec", "60999:60999", root, COMMAND]


@dataclass(frozen=True, slots=True)
class Sample:
    """One run: seconds of wall and of CPU time, and the peak resident size in bytes where that was asked."""

    wall: float
    cpu: float
    peak: int = 0


@dataclass(frozen=True, slots=True)
class Series:
    """All runs of one peer."""

    name: str
    samples: tuple[Sample, ...]

    @property
    def wall(self) -> float:
        return statistics.median(sample.wall for sample in self.samples)

    @property
    def cpu(self) -> float:
        return statistics.median(sample.cpu for sample in self.samples)

    @property
    def peak(self) -> int:
        return max(sample.peak for sample in self.samples)

    @property
    def spread(self) -> tuple[float, float]:
        """The fastest and the slowest run."""
        walls = [sample.wall for sample in self.samples]
        return min(walls), max(walls)


def nothing() -> None:
    pass


@dataclass(frozen=True, slots=True)
class Peer:
    """Something to measure. `before` and `after` are not measured."""

    name: str
    run: Callable[[], Sample]
    before: Callable[[], None] = field(default=nothing)
    after: Callable[[], None] = field(default=nothing)


def interleaved(peers: Iterable[Peer], rounds: int) -> list[Series]:
    """Run all peers in turn, `rounds` times after one that does not count: it fills caches and writes bytecode."""
    peers = list(peers)
    found: dict[str, list[Sample]] = {peer.name: [] for peer in peers}
    for number in range(rounds + 1):
        for peer in peers:
            peer.before()
            try:
                sample = peer.run()
            finally:
                peer.after()
            if number:
                found[peer.name].append(sample)
    return [Series(name, tuple(samples)) for name, samples in found.items()]


def process(argv: Sequence[str | Path], **environment: str) -> Callable[[], Sample]:
    """Give what runs a command as a whole process, its output thrown away."""
    words = [os.fspath(word) for word in argv]

    def run() -> Sample:
        silent = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1)]
        started = time.perf_counter()
        pid = os.posix_spawnp(words[0], words, ENVIRONMENT | environment, file_actions=silent)
        _, status, usage = os.wait4(pid, 0)
        wall = time.perf_counter() - started
        if status:
            raise SystemExit(f"bench: exit code {os.waitstatus_to_exitcode(status)} of {' '.join(words)[:300]}")
        return Sample(wall, usage.ru_utime + usage.ru_stime)

    return run


def call(function: Callable[[], object]) -> Callable[[], Sample]:
    """Give what runs a function in this process, with what its children take."""

    def run() -> Sample:
        cpu = _cpu()
        started = time.perf_counter()
        function()
        return Sample(time.perf_counter() - started, _cpu() - cpu)

    return run


def _cpu() -> float:
    whos = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, whos))
