"""A small Python program that runs commands in a jail again and again: `python -m bench.warm HOME ROUNDS`.

A process of its own, because what a fork costs grows with the memory of the program that forks. Prints its samples.
"""

from __future__ import annotations

import json
import subprocess
import sys

import jailkit
from bench.measure import COMMAND, JAIL, Peer, bwrap, call, chroot, interleaved


def main() -> None:
    home, rounds = sys.argv[1], int(sys.argv[2])
    box = jailkit.open(JAIL, home=home)
    root = box.record.rootfs
    series = interleaved(
        [
            Peer("OpenJail.run", call(lambda: box.run([COMMAND]))),
            Peer("bwrap", call(lambda: _run(bwrap(root)))),
            Peer("chroot(8)", call(lambda: _run(chroot(root)))),
        ],
        rounds,
    )
    json.dump({one.name: [[sample.wall, sample.cpu] for sample in one.samples] for one in series}, sys.stdout)


def _run(argv: list[str]) -> None:
    subprocess.run(argv, capture_output=True, check=True)


main()
