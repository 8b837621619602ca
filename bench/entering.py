"""Entering a jail: as a command, and from a Python program."""

from __future__ import annotations

import sys
from pathlib import Path

import jailkit
from bench.measure import COMMAND, JAIL, PROFILE, Peer, bwrap, chroot, interleaved, process
from bench.report import Bar, Section
from bench.warm import warm


def entering(command: Path, place: Path) -> list[Section]:
    """Measure both ways into a jail that holds /bin/true."""
    profile = place / f"{JAIL}.yaml"
    profile.write_text(PROFILE)
    home = place / "entered"
    box = jailkit.create(profile, home=home)
    try:
        root = box.record.rootfs
        return [_as_command(command, home, root), _from_python(home, root)]
    finally:
        box.destroy()


def _as_command(command: Path, home: Path, root: str) -> Section:
    series = interleaved(
        [
            Peer("jailkit exec", process([command, "--home", home, "exec", JAIL, "--", COMMAND])),
            Peer('python3 -c "import click"', process([sys.executable, "-c", "import click"])),
            Peer("python3 -c pass", process([sys.executable, "-c", "pass"])),
            Peer("bwrap", process(bwrap(root))),
            Peer("chroot(8)", process(chroot(root))),
        ],
        rounds=25,
    )
    ours, click = series[0].wall, series[1].wall
    bars = [
        Bar("exec /bin/true at level chroot, whole process", ours, 0.06, "s"),
        Bar('the same: 1.6 times `python3 -c "import click"`', ours, 1.6 * click, "s"),
    ]
    return Section("exec, whole process", f"{COMMAND} in a jail at level chroot.", series, bars)


def _from_python(home: Path, root: str) -> Section:
    series = warm(home, JAIL, 200, {"bwrap": bwrap(root), "chroot(8)": chroot(root)})
    bars = [Bar("run /bin/true from Python, warm", series[0].wall, 0.004, "s")]
    notes = f"{COMMAND} from a small Python program that has done it before; the peers by subprocess.run."
    return Section("run from Python", notes, series, bars)
