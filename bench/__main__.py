"""Measure everything, or the questions named: `python -m bench [--update-readme] [QUESTION]...`.

Needs root, and a mount namespace of its own, which scripts/bench gives it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from bench.creating import BASICSHELL, GIT, PERL, Place, creating
from bench.deps import deps
from bench.entering import entering
from bench.fifty import fifty
from bench.instances import containers, hardened
from bench.limits import limits
from bench.many import many
from bench.memory import memory
from bench.report import Section, bars_text, section_text, write_into

README = Path(__file__).parents[1] / "README.md"


Question = Callable[[Place, Place], Iterable[Section]]
JAILKIT = Path(sys.executable).with_name("jailkit")

# Each is asked on a tmpfs, some on the disk as well.
QUESTIONS: dict[str, Question] = {
    "enter": lambda memory_fs, _: entering(JAILKIT, memory_fs.path),
    "hardened": lambda memory_fs, _: hardened(memory_fs.path),
    "lxc": lambda memory_fs, _: containers(JAILKIT, memory_fs.path),
    "fifty": lambda _, disk: fifty(disk.path),
    # A limit of input and output needs a disk.
    "limits": lambda _, disk: (limits(level, disk.path) for level in ("chroot-hardened", "lxc")),
    "shell": lambda *places: (creating(JAILKIT, place, BASICSHELL) for place in places),
    "perl": lambda memory_fs, _: [creating(JAILKIT, memory_fs, PERL)],
    "git": lambda *places: (creating(JAILKIT, place, GIT) for place in places),
    "many": lambda memory_fs, _: many(JAILKIT, memory_fs.path),
    "deps": lambda *_: [deps(JAILKIT)],
    "memory": lambda memory_fs, _: [memory(JAILKIT, memory_fs.path)],
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench")
    parser.add_argument("--update-readme", action="store_true", help="write the bars into README.md")
    parser.add_argument("questions", nargs="*", choices=[[], *QUESTIONS], metavar="QUESTION", help=", ".join(QUESTIONS))
    wanted = parser.parse_args()
    os.chdir("/")
    # jk_init takes no directory whose parents others may write to, so it cannot be one in /tmp.
    top = Path(tempfile.mkdtemp(prefix="jailkit-bench.", dir="/var/lib"))
    top.chmod(0o755)
    try:
        with_memory = (Place("tmpfs", top / "memory"), Place("disk", top / "disk"))
        for place in with_memory:
            place.path.mkdir()
        with tmpfs(with_memory[0].path):
            sections = answered(wanted.questions or list(QUESTIONS), with_memory)
    finally:
        shutil.rmtree(top)
    print(bars_text(sections))
    if wanted.update_readme:
        write_into(README, bars_text(sections))
    return 0 if all(bar.met for section in sections for bar in section.bars) else 1


@contextlib.contextmanager
def tmpfs(path: Path) -> Iterator[None]:
    """Mount a file system in memory for a while."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0755,size=3g", "jailkit-bench", path], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", path], check=True)


def answered(questions: Iterable[str], places: tuple[Place, Place]) -> list[Section]:
    """Print each answer as it comes."""
    done = []
    for question in questions:
        for section in QUESTIONS[question](*places):
            print(section_text(section), flush=True)
            done.append(section)
    return done


sys.exit(main())
