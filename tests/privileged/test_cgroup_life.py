"""Control groups made, entered, frozen, killed and removed, also by many at once."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support import leftovers
from support.cgroups import enter, jail_group, limited, run_in, start_in
from support.children import NOBODY, end, in_child, start, together

from jailkit.backends.instance import take_down
from jailkit.linux.cgroup import Demand, Group, make, read_cgroups, settings

pytestmark = pytest.mark.needs("root", "cgroups")


@pytest.fixture
def box() -> Iterator[Group]:
    with jail_group() as group:
        yield group


class Counter:
    """A number that a child counts up, in memory shared with it."""

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, 8)

    def run(self) -> None:
        while True:
            self.memory[:] = (self.value() + 1).to_bytes(8, "little")

    def value(self) -> int:
        return int.from_bytes(self.memory[:], "little")

    def runs(self) -> bool:
        before = self.value()
        time.sleep(0.1)
        return self.value() != before


def test_a_child_is_in_every_tree_that_the_group_is_in(box: Group) -> None:
    main = limited(box, cpus=0.5, cpuset="0")

    def groups() -> list[str]:
        with open("/proc/self/cgroup") as file:
            return [line for line in file.read().splitlines() if box.host.parent in line]

    found = run_in(main, groups)
    assert {line.rpartition("/")[2] for line in found} <= {"main", "box"}
    assert len(found) == sum(os.path.isdir(main.path(h)) for h in box.host.usable)


def test_pids_are_those_of_the_group_and_below(box: Group) -> None:
    main, other = limited(box, "main"), limited(box, "other")
    first, second = start_in(main, signal.pause), start_in(other, signal.pause)
    assert (main.pids(), other.pids(), sorted(box.pids())) == ([first], [second], sorted([first, second]))
    assert box.children() == ["main", "other"]


def test_frozen_processes_stand_until_they_are_thawed(box: Group) -> None:
    main, counter = limited(box), Counter()
    start_in(main, counter.run)
    assert counter.runs()
    box.freeze()
    assert not counter.runs()
    assert box.frozen()
    assert main.frozen()
    box.thaw()
    assert counter.runs()
    assert not main.frozen()


def test_a_frozen_group_can_be_killed(box: Group) -> None:
    main = limited(box)
    pid = start_in(main, signal.pause)
    main.freeze()
    main.kill()
    assert end(pid) == -signal.SIGKILL
    assert main.pids() == []


def test_a_group_below_a_frozen_one_is_killed_once_that_is_thawed(box: Group) -> None:
    main = limited(box)
    pid = start_in(main, signal.pause)
    box.freeze()
    box.thaw()
    main.kill()
    assert end(pid) == -signal.SIGKILL


def test_a_fork_bomb_is_killed(box: Group) -> None:
    main = limited(box, pids=64)
    leader = start_in(main, _bomb)
    deadline = time.monotonic() + 20
    while not box.stats().pids_denied:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    main.kill()
    assert main.pids() == []
    assert end(leader) == -signal.SIGKILL
    main.remove()
    assert leftovers.groups() == []


def _bomb() -> None:
    while True:
        with contextlib.suppress(BlockingIOError):  # EAGAIN: the limit.
            os.fork()


def test_without_a_freezer_processes_are_killed_too(box: Group) -> None:
    kept = [h._replace(base=None) if "freezer" in h.controllers or h.version == 2 else h for h in box.host.hierarchies]
    if not any(h.controllers and h.base is not None for h in kept):
        pytest.skip("version 2 always freezes")
    with jail_group() as group:
        poor = Group(group.host._replace(hierarchies=tuple(kept)), "box")
        main = limited(poor, pids=32)
        leader = start_in(main, _bomb)
        while not poor.stats().pids_denied:
            time.sleep(0.01)
        main.kill()
        assert end(leader) == -signal.SIGKILL
        assert main.pids() == []


def test_killing_one_instance_spares_the_other(box: Group) -> None:
    first, second = limited(box, "first"), limited(box, "second")
    victim, spared = start_in(first, signal.pause), start_in(second, signal.pause)
    first.kill()
    assert end(victim) == -signal.SIGKILL
    first.remove()
    assert (first.exists(), box.pids()) == (False, [spared])


def test_the_last_one_takes_the_groups_above_along(box: Group) -> None:
    first, second = limited(box, "first", pids=9), limited(box, "second", pids=9)
    first.remove()
    assert box.exists()
    second.remove()
    assert leftovers.groups() == []
    second.remove()


def test_a_group_with_processes_is_not_removed(box: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jailkit.linux.cgroup.patience._PATIENCE", 0.05)
    main = limited(box)
    start_in(main, signal.pause)
    with pytest.raises(OSError, match="processes are in it") as caught:
        box.remove()
    assert caught.value.errno == errno.EBUSY


def test_groups_that_others_made_below_ours_go_too(box: Group) -> None:
    """LXC makes its groups in every tree, named ones and an empty one of version 2 among them."""
    for hierarchy in box.host.usable:
        os.makedirs(f"{box.path(hierarchy)}/main/payload/deep")
    box.remove()
    assert leftovers.groups() == []


def test_what_is_partly_gone_is_removed_and_made_again(box: Group) -> None:
    main = limited(box, pids=9)
    memory = box.host.holding("memory")
    assert memory is not None
    os.rmdir(main.path(memory))
    if memory.version == 1:
        os.rmdir(box.path(memory))
    assert limited(box, pids=9).exists()
    assert os.path.isdir(main.path(memory))
    box.remove()
    assert leftovers.groups() == []


def test_many_make_and_remove_at_once(box: Group) -> None:
    made, _ = settings(Demand(pids=99, memory=1 << 28), box.host)

    def job(number: int) -> Callable[[], int]:
        def go() -> int:
            for turn in range(15):
                leaf = box.make_leaf(f"run-{number}-{turn}", made)
                assert box.read_back(made) == []
                pid = start_in(leaf, signal.pause)
                leaf.kill()
                end(pid)
                leaf.remove()
            return 0

        return go

    assert together(*(job(number) for number in range(8))) == [0] * 8
    assert leftovers.groups() == []


def test_a_user_limits_below_a_group_that_was_given(box: Group) -> None:
    """The group of this user's processes, and in version 2 the one above, belong to the user."""
    host = limited(box, "given").host

    def give(path: str) -> None:
        os.chown(path, NOBODY, NOBODY)
        for name in ("cgroup.procs", "tasks", "cgroup.subtree_control", "cgroup.threads"):
            if os.path.exists(f"{path}/{name}"):
                os.chown(f"{path}/{name}", NOBODY, NOBODY)

    def as_user(job: Callable[[], Any]) -> Any:
        def there() -> Any:
            enter(Group(host, "box/given"))
            return in_child(job, uid=NOBODY)

        return in_child(there)

    for hierarchy in host.usable:
        if os.path.isdir(box.path(hierarchy)):
            give(box.path(hierarchy))
            give(Group(host, "box/given").path(hierarchy))

    def limit() -> tuple[int, str]:
        mine = Group(read_cgroups("mine"), "jail")
        made, missing = settings(Demand(pids=5), mine.host)
        assert missing == []
        leaf = mine.make_leaf("main", made)
        pid = start(lambda: (enter(leaf), signal.pause()))
        while leaf.pids() != [pid]:
            time.sleep(0.001)
        leaf.kill()
        code = end(pid)
        leaf.remove()
        assert not mine.exists()
        return code, settings(Demand(cpuset="0"), mine.host)[1][0].why

    code, why = as_user(limit)
    assert code == -signal.SIGKILL
    assert "not delegated" in why or "no cpuset" in why


def test_a_user_without_a_group_of_their_own_is_told() -> None:
    made, missing = in_child(lambda: settings(Demand(pids=5), read_cgroups()), uid=NOBODY)
    assert made == []
    assert "the pids controller is not delegated to this user" in missing[0].why


def test_those_who_make_one_at_the_same_time_do_not_disturb_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of devices takes several writes: another who begins anew must not show half of them to who reads back."""
    host = read_cgroups()
    write = make.write

    def write_slowly(path: str, value: str) -> None:
        time.sleep(0.001)
        write(path, value)

    monkeypatch.setattr(make, "write", write_slowly)
    wanted, _ = settings(Demand(devices=((1, 3), (1, 5), (136, None))), host)
    failures: list[BaseException] = []

    def work(group: Group, number: int) -> None:
        try:
            group.make_leaf(f"leaf-{number}", wanted)
        except BaseException as error:
            failures.append(error)

    for _ in range(5):
        with jail_group() as group:
            threads = [threading.Thread(target=work, args=(group, number)) for number in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    assert failures == []


def test_what_joins_a_group_that_is_being_taken_down_is_killed_too(box: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as an init on its way in whose caller was killed."""
    leaf = box.make_leaf("main", settings(Demand(pids=5), read_cgroups())[0])
    kill, late = Group.kill, iter([True])

    def kill_too_early(group: Group) -> None:
        kill(group)
        if next(late, False):
            start_in(group, lambda: time.sleep(600))

    monkeypatch.setattr(Group, "kill", kill_too_early)
    start_in(leaf, lambda: time.sleep(600))
    take_down(leaf)
    assert not leaf.exists()
