"""Limits of real profiles, measured by what they do to commands."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import yaml

import jailkit
from bench.instances import started
from bench.measure import Sample, Series
from bench.report import Bar, Section
from jailkit.backends import backend_for
from jailkit.backends.base import ExecResult

_SECONDS = 4.0  # of burning processors
_WRITTEN = 16  # MiB
_RATE = 4  # MiB a second
_PIDS = 16
_BURN = "while :; do :; done"
# busybox, and the dd of coreutils, which knows direct I/O.
_PROFILE = {
    "binaries": ["dd", "busybox"],
    "symlinks": {f"/usr/bin/{name}": "busybox" for name in ("sh", "sleep", "grep")},
    "directories": ["/data"],
    "volumes": ["/data"],
}


def limits(level: str, place: Path) -> Section:
    """Measure every kind of limit at a level; `place` is on a disk."""
    lab = _Lab(level, place)
    bars = [lab.memory(), lab.cpus(0.25), lab.cpus(1.5), lab.pids(), lab.io(), lab.cpuset()]
    notes = "Each limit in a profile of its own, met by a command."
    return Section(f"limits at {level}", notes, lab.series, bars)


class _Lab:
    def __init__(self, level: str, place: Path) -> None:
        self._level = level
        self._place = place
        self.series: list[Series] = []

    def memory(self) -> Bar:
        with self._jail("memory", memory="64MiB") as box:
            result = self._run(box, "64 MiB of memory", ["dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1"])
        return self._ended("64 MiB of memory", result, "out-of-memory")

    def pids(self) -> Bar:
        loop = "i=0; while [ $i -lt 200 ]; do sleep 9 & i=$((i+1)); done"
        with self._jail("pids", pids=_PIDS) as box:
            result = self._run(box, f"{_PIDS} processes", ["sh", "-c", loop])
        return self._ended(f"{_PIDS} processes under a loop of forks", result, "pids-limit")

    def cpus(self, cpus: float) -> Bar:
        """Take time from the cgroup: nobody waits for what is killed."""
        what = f"{cpus * 100:.0f} % of a CPU"
        with self._jail("cpus", cpus=cpus) as box, started(box.record):
            jail = box.record
            backend = backend_for(jail.level)
            before, began = backend.stats(jail).cpu_time or 0.0, time.monotonic()
            self._run(box, what, ["sh", "-c", f"({_BURN}) & {_BURN}"], timeout=_SECONDS)
            used = (backend.stats(jail).cpu_time or 0.0) - before
            share = 100 * used / (time.monotonic() - began)
        return Bar(f"{self._level}: {what}, points off {share:.1f} %", abs(share - 100 * cpus), 2, "points")

    def io(self) -> Bar:
        limit = {"path": str(self._place), "write-bps": f"{_RATE}MiB"}
        write = ["dd", "if=/dev/zero", "of=/data/file", "bs=1M", f"count={_WRITTEN}", "oflag=direct"]
        with self._jail("io", io=[limit]) as box:
            result = self._run(box, f"{_RATE} MiB/s of direct I/O", write)
        rate = _WRITTEN / result.wall_time
        return Bar(
            f"{self._level}: {_RATE} MiB/s of direct I/O, off at {rate:.2f}", abs(100 * rate / _RATE - 100), 10, "%"
        )

    def cpuset(self) -> Bar:
        last = str(max(os.sched_getaffinity(0)))
        with self._jail("cpuset", cpuset=last) as box:
            result = self._run(box, f"CPU {last} alone", ["grep", "Cpus_allowed_list", "/proc/self/status"])
        found = (result.stdout or b"").split()[-1:]
        return self._wrong(f"CPU {last} alone, shown {b''.join(found).decode()}", found != [last.encode()])

    @contextlib.contextmanager
    def _jail(self, name: str, **limits: object) -> Iterator[jailkit.OpenJail]:
        profile = self._place / f"{name}.yaml"
        profile.write_text(yaml.safe_dump({"name": name, "limits": limits, **_PROFILE}))
        box = jailkit.create(profile, level=self._level, home=self._place / "limits")
        try:
            yield box
        finally:
            box.destroy(force=True)

    def _run(self, box: jailkit.OpenJail, what: str, command: list[str], timeout: float | None = None) -> ExecResult:
        result = box.run(command, user="root", timeout=timeout)
        self.series.append(Series(f"{what}: {result.reason}", (Sample(result.wall_time, result.cpu_time),)))
        return result

    def _ended(self, what: str, result: ExecResult, reason: str) -> Bar:
        return self._wrong(f"{what}, ended by {result.reason}", result.reason != reason)

    def _wrong(self, what: str, wrong: bool) -> Bar:
        return Bar(f"{self._level}: {what}", float(wrong), 0, "wrong")
