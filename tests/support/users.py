"""An ordinary user who runs jailkit: a home of their own, and a look at what is left of them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jailkit.linux.cgroup import Hierarchy, read_cgroups
from support.nobody import BLOCKS, FIRST, ORDINARY, as_ordinary

CONSOLE = Path(sys.executable).with_name("jailkit")


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who is not root, with a home at `home`; `groups` are folders of control groups to be in."""

    home: Path
    subids: bool = True
    groups: tuple[str, ...] = ()

    def __call__(self, *arguments: str | os.PathLike[str], **options: Any) -> subprocess.CompletedProcess[str]:
        """Run jailkit as this user."""
        return self.run((CONSOLE, *arguments), **options)

    def run(self, command: Sequence[str | os.PathLike[str]], **options: Any) -> subprocess.CompletedProcess[str]:
        """Run any command as this user."""
        defaults: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 120.0, "check": False}
        if "input" not in options:
            defaults["stdin"] = subprocess.DEVNULL
        return subprocess.run([*self.prefix, *command], env=self.environment, **(defaults | options))

    def start(self, *arguments: str | os.PathLike[str]) -> subprocess.Popen[bytes]:
        """Start jailkit as this user, and do not wait for it; its pid is that of jailkit itself."""
        command = [*self.prefix, CONSOLE, *arguments]
        return subprocess.Popen(command, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)

    @property
    def prefix(self) -> tuple[str, ...]:
        """What makes a command this user's."""
        return as_ordinary(subids=self.subids, groups=self.groups)

    @property
    def environment(self) -> dict[str, str]:
        """The user's own, without what tests set for root."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if name in ("PATH", "PYTHONPATH", "COVERAGE_PROCESS_START")
        }
        return kept | {"HOME": str(self.home), "LANG": "C.UTF-8"}

    @property
    def jails(self) -> Path:
        """Where the user's jails are."""
        return self.home / ".local/share/jailkit/jails"


def processes() -> dict[int, str]:
    """Give the living processes of the user, and of the ids that were given to the user, with their command lines."""
    found = {}
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            uid = os.stat(f"/proc/{name}").st_uid
            ours = uid == ORDINARY or FIRST <= uid < FIRST + BLOCKS * 65536
            if ours and Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX":
                found[int(name)] = Path(f"/proc/{name}/cmdline").read_text().replace("\0", " ")
    return found


def settled(patience: float = 5.0) -> dict[int, str]:
    """Give those that are left after a while: what is just ending is not."""
    deadline = time.monotonic() + patience
    while (found := processes()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


def foreign(folder: Path) -> list[Path]:
    """List what in a folder does not belong to the user."""
    return [path for path in (folder, *folder.rglob("*")) if path.lstat().st_uid != ORDINARY]


@contextlib.contextmanager
def delegated(*controllers: str) -> Iterator[tuple[str, ...]]:
    """Give the folders of groups for the user to be in, below which groups with these controllers can be made."""
    name = f"jailkit-test-{os.getpid()}-ordinary"
    trees = {tree for tree in map(read_cgroups().holding, controllers) if tree}
    made = [given for tree in trees for given in _give(tree, f"{tree.point}/{name}", controllers)]
    try:
        # In version 2 the group that was given has no processes itself, as those that systemd delegates.
        yield tuple(folder for folder in made if not any(other.startswith(f"{folder}/") for other in made))
    finally:
        for folder in reversed(made):
            os.rmdir(folder)


def _give(tree: Hierarchy, folder: str, controllers: Sequence[str]) -> list[str]:
    """Make a group that belongs to the user, and in version 2 one for processes below it."""
    if tree.version == 2:
        for controller in controllers:
            Path(tree.point, "cgroup.subtree_control").write_text(f"+{controller}")
    made = [folder] if tree.version == 1 else [folder, f"{folder}/session"]
    for path in made:
        os.mkdir(path)
        # What /sys/kernel/cgroup/delegate lists of each version.
        for file in ("", "tasks", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"):
            if os.path.exists(f"{path}/{file}"):
                os.chown(f"{path}/{file}", ORDINARY, ORDINARY)
    return made
