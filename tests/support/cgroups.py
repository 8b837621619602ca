"""Control groups of a test's own, and processes in them."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator
from typing import Any

from jailkit.linux.cgroup import Demand, Group, read_cgroups, settings
from support import children

_numbers = itertools.count()
_started: list[int] = []  # pids of children that no test may have waited for yet


@contextlib.contextmanager
def jail_group(name: str = "box") -> Iterator[Group]:
    """Give a jail's group below a parent that is this test's alone; processes in it are killed at the end."""
    host = read_cgroups(f"jailkit-test-{os.getpid()}-{next(_numbers)}")
    group = Group(host, name)
    try:
        yield group
    finally:
        group.kill()
        for pid in _started:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
        _started.clear()
        group.remove()


def limited(group: Group, leaf: str = "main", **limits: Any) -> Group:
    """Make a leaf under limits that all hold here."""
    made, missing = settings(Demand(**limits), group.host)
    assert missing == []
    return group.make_leaf(leaf, made)


def enter(group: Group) -> None:
    """Move this process, of one thread, into a group."""
    for file in group.open_procs():
        os.write(file, b"0")
        os.close(file)


def start_in(group: Group, function: Callable[[], Any]) -> int:
    """Run `function` in a child in the group and give its pid, once it is there."""
    ready, there = os.pipe()

    def job() -> None:
        enter(group)
        os.write(there, b"x")
        os.close(there)
        function()

    pid = children.start(job)
    _started.append(pid)
    os.close(there)
    os.read(ready, 1)
    os.close(ready)
    return pid


def run_in(group: Group, function: Callable[[], Any]) -> Any:
    """Run `function` in a child in the group and give what it returns."""

    def job() -> Any:
        enter(group)
        return function()

    return children.in_child(job)
