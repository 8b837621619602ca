"""Fifty containers of one profile at once: started, entered, and what each of them holds."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import jailkit
from bench.instances import started
from bench.measure import COMMAND, JAIL, PROFILE, Peer, Series, call, interleaved
from bench.report import Bar, Section
from jailkit.backends.instance import group_of
from jailkit.linux.cgroup import read_cgroups
from jailkit.store import Jail

_COUNT = 50
_MONITORS = "jailkit-monitor"


def fifty(place: Path) -> list[Section]:
    """Measure containers that share a read-only root."""
    home = place / "fifty"
    profile = place / "fifty.yaml"
    profile.write_text(f"{PROFILE}read-only-root: true\n")
    with contextlib.ExitStack() as made:
        boxes = [made.enter_context(_created(profile, f"{JAIL}{number}", home)) for number in range(_COUNT)]
        with contextlib.ExitStack() as running:

            def start() -> None:
                for box in boxes:
                    running.enter_context(started(box.record))

            starting = Series(f"start of {_COUNT}", (call(start)(),))
            entered = interleaved([Peer(f"exec in {_COUNT}", call(lambda: _enter(boxes)))], rounds=5)
            memory = max(_monitor_memory(box.record) for box in boxes)
            disk = max(_disk(box.record) for box in boxes[1:])
    bars = [
        Bar(f"start {_COUNT} lxc jails", starting.wall, 3, "s"),
        Bar(f"exec /bin/true in each of {_COUNT} lxc jails", entered[0].wall, 1, "s"),
        Bar(f"memory of the monitor of one of {_COUNT} lxc jails", memory / 1e6, 2, "MB"),
        Bar("disk of one more jail with a shared read-only root", disk / 1e3, 200, "kB"),
    ]
    notes = "One profile with `read-only-root: true`; one Python process starts them one after the other."
    return [Section(f"{_COUNT} lxc jails", notes, [starting, *entered], bars)]


@contextlib.contextmanager
def _created(profile: Path, name: str, home: Path) -> Iterator[jailkit.OpenJail]:
    box = jailkit.create(profile, name=name, level="lxc", home=home)
    try:
        yield box
    finally:
        box.destroy(force=True)


def _enter(boxes: list[jailkit.OpenJail]) -> None:
    for box in boxes:
        result = box.run([COMMAND])
        if not result.ok:
            raise SystemExit(f"bench: {result}")


def _monitor_memory(jail: Jail) -> int:
    """Give the bytes of a monitor's own, and of what it shares its share (proc_pid_smaps(5): Pss)."""
    monitors = group_of(jail, read_cgroups(_MONITORS)).pids()
    if len(monitors) != 1:
        raise SystemExit(f"bench: jail {jail.name} has the monitors {monitors}")
    lines = Path(f"/proc/{monitors[0]}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def _disk(jail: Jail) -> int:
    """Give the bytes that a jail takes on disk besides its image."""
    folders = [path for path in (jail.directory, jail.volumes) if os.path.isdir(path)]
    return 1024 * sum(
        int(line.split()[0]) for line in subprocess.check_output(["du", "-sk", *folders], text=True).splitlines()
    )
