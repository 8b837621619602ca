"""A small Python program that runs commands in a jail again and again: `python -m bench.warm HOME NAME ROUNDS`.

A process of its own, because what a fork costs grows with the memory of the program that forks. Reads its peers as
JSON, a list of names and commands, and prints the samples.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import jailkit
from bench.measure import COMMAND, ENVIRONMENT, Peer, Sample, Series, call, interleaved
from jailkit.linux.mounting import mount, umount2

_CHECKOUT = Path(__file__).parents[1]
_UNIFIED = "/sys/fs/cgroup/unified"
OURS = "OpenJail.run"


def warm(home: Path, name: str, rounds: int, peers: Mapping[str, Sequence[str]]) -> list[Series]:
    """Measure `OpenJail.run` beside commands that are run by subprocess.run."""
    program = [sys.executable, "-m", "bench.warm", str(home), name, str(rounds)]
    answer = subprocess.check_output(program, cwd=_CHECKOUT, env=ENVIRONMENT, input=json.dumps(peers).encode())
    return [
        Series(name, tuple(Sample(wall, cpu) for wall, cpu in samples)) for name, samples in json.loads(answer).items()
    ]


def main() -> None:
    home, name, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
    box = jailkit.open(name, home=home)
    ours = Peer(OURS, call(lambda: box.run([COMMAND])))
    series = interleaved([ours, *(_peer(*item) for item in json.load(sys.stdin).items())], rounds)
    json.dump({one.name: [[sample.wall, sample.cpu] for sample in one.samples] for one in series}, sys.stdout)


def _peer(name: str, argv: list[str]) -> Peer:
    run = call(lambda: subprocess.run(argv, capture_output=True, check=True))
    return Peer(name, run, _hide_unified, _show_unified) if argv[0] == "crun" else Peer(name, run)


def _hide_unified() -> None:
    """Crun runs nothing where a tree of version 2 stands beside version 1, be its cgroup manager disabled or not."""
    if Path(_UNIFIED).is_dir():
        mount("none", _UNIFIED, "tmpfs", 0)


def _show_unified() -> None:
    with contextlib.suppress(OSError):
        umount2(_UNIFIED, 0)


if __name__ == "__main__":
    main()
