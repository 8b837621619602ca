"""Jails of one small profile at any level, driven by the real console command, and what must not be left of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from jailkit.backends import backend_for
from jailkit.backends.instance import MONITORS, group_of
from jailkit.linux.mountinfo import cgroup_mounts
from jailkit.store import Jail, Store
from jailkit.store.ids import IdRegistry
from support.leftovers import mounts_within, supervisors
from support.profiles import write_profile

CONSOLE = Path(sys.executable).with_name("jailkit")
_LXC = pytest.mark.needs("lxc")
LEVELS = (
    "chroot-root", "chroot", "chroot-hardened",
    pytest.param("lxc-privileged", marks=_LXC), pytest.param("lxc", marks=_LXC),
)  # fmt: skip
# Says when it has begun and when it was asked to end; a shell's own words about its sleep(1) go nowhere.
COMMAND = ("sh", "-c", 'exec 2>/dev/null; trap "echo ending; exit 0" TERM; echo begun; while :; do sleep 0.02; done')
TOOLS = ("sh", "sleep", "id", "cat", "env", "pwd", "head", "wc", "dd", "readlink", "nproc")

Done = subprocess.CompletedProcess[str]


class Box(NamedTuple):
    """A jail of a home by its name."""

    home: Path
    level: str
    name: str = "box"

    @property
    def jail(self) -> Jail:
        return Store(str(self.home)).load(self.name)

    @property
    def cares(self) -> bool:
        return self.level != "chroot-root"

    @property
    def has_instances(self) -> bool:
        return self.level not in ("chroot-root", "chroot")

    def call(self, *words: str | os.PathLike[str], **options: Any) -> Done:
        """Run `jailkit WORDS` in the home, and give what it says."""
        return call(self.home, *words, **options)

    def good(self, *words: str | os.PathLike[str], **options: Any) -> Done:
        """As `call`, for what must succeed."""
        done = self.call(*words, **options)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done

    def exec(self, script: str, *options: str, **more: Any) -> Done:
        """Run a script in the jail."""
        return self.call("exec", *options, self.name, "--", "sh", "-c", script, **more)

    def result(self, script: str, *options: str) -> dict[str, Any]:
        """Run a script in the jail, and give its result as data."""
        data: dict[str, Any] = json.loads(self.exec(script, "--json", *options).stdout)
        return data

    def popen(self, *words: str) -> subprocess.Popen[str]:
        """Start `jailkit WORDS` with pipes."""
        pipe = subprocess.PIPE
        return subprocess.Popen([CONSOLE, "--home", self.home, *words], stdin=pipe, stdout=pipe, stderr=pipe, text=True)

    def status(self) -> str:
        """Give the status that `jailkit list` shows."""
        rows = json.loads(self.good("list", "--json").stdout)
        return next(str(row["status"]) for row in rows if row["name"] == self.name)


def call(home: Path, *words: str | os.PathLike[str], **options: Any) -> Done:
    """Run `jailkit WORDS` in a home."""
    defaults: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 120.0, "check": False}
    if "input" not in options:
        defaults["stdin"] = subprocess.DEVNULL
    return subprocess.run([CONSOLE, "--home", home, *words], **(defaults | options))


def profile(folder: Path, name: str = "small", **keys: Any) -> Path:
    """Write the profile."""
    return write_profile(folder, name, binaries=list(TOOLS), **keys)


def create(home: Path, level: str, file: Path, *options: str, name: str = "box") -> Box:
    """Create a jail by the command."""
    home.mkdir(exist_ok=True)
    box = Box(home, level, name)
    box.good("create", file, "--level", level, "--name", name, *options)
    return box


def everything_of(box: Box) -> list[int]:
    """Give the pids of all that lives because of a jail: its processes, its init, LXC's monitor, its supervisor."""
    jail = box.jail
    # Supervisors first: one that sees its command end would call the run a good one.
    found = [*supervisors(jail.directory), *backend_for(jail.level).processes(jail)]
    if box.has_instances:
        group = group_of(jail)
        found += group._replace(host=group.host._replace(parent=MONITORS)).pids()
    return found


def kill_everything(box: Box, order: Sequence[int] | None = None) -> None:
    """End all that lives because of a jail at once, as the end of the host does."""
    for pid in order or everything_of(box):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def groups_of(jail: Jail) -> list[str]:
    """List the groups of a jail and of its monitors, in all hierarchies."""
    name = group_of(jail).name
    places = [f"{point}/{parent}/{name}" for point in cgroup_mounts() for parent in ("jailkit", MONITORS)]
    return [place for place in places if os.path.isdir(place)]


def ids_below(home: Path) -> list[str]:
    """List the owners in the registry of ids that are jails of a home."""
    registry = IdRegistry()
    if not os.path.isdir(registry.folder):
        return []
    return [owner for owner in registry._entries().values() if owner and owner.startswith(f"{home}/")]


def nothing_left(home: Path, jails: Sequence[Jail]) -> None:
    """Assert that of jails that were destroyed nothing is left."""
    assert [group for jail in jails for group in groups_of(jail)] == []
    assert [point for point in mounts_within(str(home)) if point != str(home)] == []
    assert supervisors(str(home)) == []
    assert ids_below(home) == []
    left = [str(path.relative_to(home)) for path in home.rglob("*") if not path.is_dir()]
    assert left in ([], ["lock"]), left
    assert [os.listdir(home / name) for name in ("jails", "drafts", "trash", "previous") if (home / name).exists()] in (
        [[]] * count for count in range(5)
    )
