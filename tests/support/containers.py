"""Launching containers over a small tree, and looking at what they are."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from jailkit.backends.lxc.config import pivot_group
from jailkit.backends.lxc.groups import end_groups, remove_groups
from jailkit.backends.lxc.order import LaunchOrder
from jailkit.linux.mountinfo import cgroup_mounts, controller_mount
from jailkit.linux.view import Graft, Memory, View
from support.jails import make_tree

IDS = (2_000_000, 65_536)


_PLACES = itertools.count()


def viewed(
    root: str, *, devices: tuple[str, ...] = (), read_only: bool = False, memory: tuple[Memory, ...] = ()
) -> View:
    """Give the view of a tree and nothing else of the host."""
    return View(Graft(root, "/", read_only, own=True), memory=memory, devices=devices)


class Place:
    """Where one test has its containers: a folder, and groups of its own in every hierarchy."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "rootfs"
        make_tree(self.root)
        for name in ("proc", "sys"):
            (self.root / name).mkdir()
        self.base = f"jailkit-test-{os.getpid()}-{next(_PLACES)}"  # No two tests meet in one group.
        self.tops = (self.base, f"{self.base}-monitor")
        self._count = 0

    def order(self, **fields: Any) -> LaunchOrder:
        """Give an order for one more container, in a user namespace unless `ids` says otherwise."""
        self._count += 1
        name = f"{self.base}-{self._count}"
        view = viewed(
            fields.pop("root", str(self.root)),
            devices=fields.pop("devices", ("null", "zero")),
            read_only=fields.pop("read_only", False),
            memory=(Memory("/tmp", fields.pop("tmp_size", 1 << 24), 0o1777),),
        )
        defaults: dict[str, Any] = {
            "name": name, "title": f"{self.base}/{name}", "view": view,
            "folder": str(self.folder / name), "group": f"{self.base}/{name}",
            "monitor_group": f"{self.base}-monitor/{name}", "hostname": "box", "ids": IDS, "transient": True,
            "device_rules": 1 if controller_mount("devices") else 2,
        }  # fmt: skip
        return LaunchOrder(**(defaults | fields))

    def groups(self) -> list[str]:
        """List the groups of all containers in all hierarchies."""
        tops = [f"{point}/{top}" for point in cgroup_mounts() for top in self.tops]
        found = [f"{top}/{name}" for top in tops if os.path.isdir(top) for name in os.listdir(top)]
        return [path for path in found if os.path.isdir(path) and not path.endswith("/lxc.pivot")]

    def close(self) -> None:
        """Take away what is left, and then the groups above; whoever finds fault with that looks at `groups` before."""
        names = tuple({path.split(f"/{top}/")[-1] for top in self.tops for path in self.groups()})
        end_groups(tuple(f"{top}/{name}" for top in self.tops for name in names))
        left = remove_groups((pivot_group(f"{self.base}-monitor"), *self.tops))
        assert left == []


def stop(init: int) -> None:
    """End a container by its first process, and wait until its monitor has cleaned up and gone."""
    monitor = parent(init)
    with contextlib.suppress(ProcessLookupError):
        os.kill(init, signal.SIGKILL)
    eventually(lambda: not alive(monitor))


def parent(pid: int) -> int:
    """Give the pid of a process's parent."""
    return int(status(pid)["PPid"])


def status(pid: int) -> dict[str, str]:
    """Give /proc/PID/status by its keys."""
    lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def alive(pid: int) -> bool:
    """Tell whether a process is there and no zombie."""
    try:
        return not status(pid)["State"].startswith("Z")
    except (FileNotFoundError, ProcessLookupError):
        return False


def eventually(question: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait until something is so.

    Raises:
        AssertionError: it was not so in time.
    """
    deadline = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.005)


def children(pid: int) -> Iterator[int]:
    """Give the pids of a process's children."""
    with contextlib.suppress(FileNotFoundError):
        yield from map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
