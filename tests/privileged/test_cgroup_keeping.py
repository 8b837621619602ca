"""Groups above others stay while somebody makes those: LXC makes each level once, and does not try again."""

from __future__ import annotations

import os
import stat

import pytest
from support.cgroups import jail_group, limited
from support.children import together

from jailkit.linux.cgroup import keeping
from jailkit.linux.cgroup.keeping import keeping_parents, removing_parents

pytestmark = pytest.mark.needs("root", "cgroups")


def test_who_makes_groups_keeps_those_above() -> None:
    with keeping_parents(), keeping_parents(), removing_parents(0.05) as free:  # Many may make some.
        assert not free
    with removing_parents(0.0) as free, removing_parents(0.0) as other:
        assert (free, other) == (True, False)


def test_nobody_else_can_hold_it() -> None:
    with keeping_parents():
        status = os.stat(keeping._LOCK)
    assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (0, 0o600)


def test_an_empty_group_above_stays_as_long() -> None:
    with jail_group() as group:
        limited(group, pids=5)
        parents = [group.parent(hierarchy) for hierarchy in group.host.usable]
        made = [parent for parent in parents if os.path.isdir(parent)]
        with keeping_parents():
            group.leaf("main").remove()
            assert not group.exists()
            assert [parent for parent in parents if os.path.isdir(parent)] == made
        group.remove()
        assert not any(map(os.path.isdir, parents))


def test_makers_and_removers_at_once() -> None:
    """As LXC does it: a level, and then the next, which is nobody's fault to find gone."""
    with jail_group() as group:
        parent = group.parent(group.host.usable[-1])

        def make() -> int:
            for number in range(100):
                with keeping_parents():
                    os.makedirs(parent, exist_ok=True)
                    os.mkdir(f"{parent}/{os.getpid()}-{number}")
                os.rmdir(f"{parent}/{os.getpid()}-{number}")
            return 1

        def remove() -> int:
            for _ in range(200):
                group.remove()
            return 1

        assert together(make, make, remove, remove) == [1] * 4
