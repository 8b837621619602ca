"""Limits of control groups, measured: what the kernel really does to processes in them."""

from __future__ import annotations

import errno
import mmap
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.cgroups import jail_group, limited, run_in, start_in
from support.children import end

from jailkit.linux.cgroup import Group, Io, LimitsRefusedError, Setting, disk_of

pytestmark = pytest.mark.needs("root", "cgroups")

MIB = 1 << 20


@pytest.fixture
def box() -> Iterator[Group]:
    with jail_group() as group:
        yield group


def test_memory_beyond_the_limit_is_an_oom_kill(box: Group) -> None:
    main = limited(box, memory=64 * MIB)
    assert end(start_in(main, lambda: bytearray(48 * MIB))) == 0
    assert box.stats().oom_kills == 0
    assert end(start_in(main, lambda: bytearray(200 * MIB))) == -signal.SIGKILL
    used = box.stats()
    assert (used.oom_kills, main.stats().oom_kills) == (1, 1)
    assert 32 * MIB < (used.memory_peak or 0) <= 64 * MIB
    assert not used.swap


def test_processes_beyond_the_limit_cannot_be_made(box: Group) -> None:
    main = limited(box, pids=16)
    leader = start_in(main, _fork_until_refused)
    _until(lambda: (box.stats().pids_denied or 0) > 0)
    assert len(box.pids()) == 16
    used = box.stats()
    assert used.pids == 16
    assert used.pids_peak in (16, None)
    assert main.stats().pids_denied or used.pids_denied
    box.kill()
    assert end(leader) == -signal.SIGKILL


def _fork_until_refused() -> None:
    for _ in range(100):
        try:
            pid = os.fork()
        except OSError as error:
            if error.errno == errno.EAGAIN:
                signal.pause()
        if pid == 0:
            signal.pause()


def test_instances_share_the_limit_of_their_jail(box: Group) -> None:
    first, second = limited(box, "first", pids=4), limited(box, "second", pids=4)
    for group in (first, second, first):
        start_in(group, signal.pause)

    def fork_twice() -> int:
        if os.fork() == 0:
            signal.pause()
        return 0

    with pytest.raises(AssertionError, match="Resource temporarily unavailable"):
        run_in(second, fork_twice)
    assert (len(first.pids()), len(second.pids())) == (2, 1)


@pytest.mark.parametrize("percent", [25, 150])
def test_cpu_time(box: Group, percent: int) -> None:
    if len(os.sched_getaffinity(0)) * 100 <= percent:
        pytest.skip("too few processors to use that much")
    main = limited(box, cpus=percent / 100)
    _outweigh_others(box)
    for _ in range(2):
        start_in(main, _burn)
    time.sleep(0.3)
    # Others may use the processors meanwhile, so that there is less than the limit: never may there be more.
    shares = []
    for _ in range(5):
        shares.append(_share(main, 2.0))
        assert shares[-1] <= percent + 2
        if shares[-1] >= percent - 2:
            break
    assert max(shares) >= percent - 2
    assert (box.stats().throttled_time or 0) > 0.5


def _outweigh_others(group: Group) -> None:
    """Let the parent of this test's groups have a processor before what else runs on this machine has it."""
    cpu = group.host.holding("cpu")
    assert cpu is not None
    file, most = ("cpu.shares", "262144") if cpu.version == 1 else ("cpu.weight", "10000")
    Path(group.parent(cpu), file).write_text(most)


def _burn() -> None:
    while True:
        pass


def _share(group: Group, seconds: float) -> float:
    """Give the percentage of one processor that a group used in that time."""
    start, used = time.monotonic(), group.stats().cpu_time or 0
    time.sleep(seconds)
    now = group.stats().cpu_time or 0
    return (now - used) / (time.monotonic() - start) * 100


def test_a_weight_divides_a_contended_processor(box: Group) -> None:
    cpu = str(max(os.sched_getaffinity(0)))
    other = Group(box.host, "other")
    groups = limited(box, cpuset=cpu, cpu_weight=400), limited(other, cpuset=cpu, cpu_weight=100)
    for group in groups:
        start_in(group, _burn)
    time.sleep(2.0)
    heavy, light = (group.stats().cpu_time or 0 for group in groups)
    other.kill()
    other.remove()
    assert 3 < heavy / light < 5


def test_processors(box: Group) -> None:
    cpu = max(os.sched_getaffinity(0))
    main = limited(box, cpuset=str(cpu))
    assert run_in(main, lambda: os.sched_getaffinity(0)) == {cpu}

    def spread() -> None:
        os.sched_setaffinity(0, {0, cpu})
        assert os.sched_getaffinity(0) == {cpu}

    run_in(main, spread)


@pytest.mark.needs("cgroup-devices")
def test_devices(box: Group) -> None:
    main = limited(box, devices=((1, 3),))

    def use() -> str | None:
        os.write(os.open("/dev/null", os.O_WRONLY), b"x")
        try:
            os.open("/dev/zero", os.O_RDONLY)
        except OSError as error:
            return error.strerror
        return None

    assert run_in(main, use) == "Operation not permitted"


@pytest.mark.needs("cgroup-io")
@pytest.mark.parametrize("direction", ["read", "write"])
def test_direct_io_to_the_disk(box: Group, tmp_path: Path, direction: str) -> None:
    rate, size = 4 * MIB, 10 * MIB
    file = tmp_path / "file"
    file.write_bytes(bytes(size))
    os.sync()
    main = limited(box, io=(Io(*disk_of(str(tmp_path)), **{f"{direction}_bps": rate}),))
    seconds = run_in(main, lambda: _transfer(str(file), direction, size))
    assert seconds == pytest.approx(size / rate, rel=0.1)
    used = box.stats()
    counted = used.read_bytes if direction == "read" else used.written_bytes
    assert counted is not None
    assert size <= counted < size + MIB


def _transfer(path: str, direction: str, size: int) -> float:
    """Read or write a file past the page cache, and give the seconds it took."""
    block = mmap.mmap(-1, MIB // 4)  # O_DIRECT asks for aligned memory.
    file = os.open(path, os.O_DIRECT | (os.O_RDONLY if direction == "read" else os.O_WRONLY))
    start = time.monotonic()
    for _ in range(size // len(block)):
        done = os.readv(file, [block]) if direction == "read" else os.write(file, block)
        assert done == len(block)
    return time.monotonic() - start


def test_a_limit_that_the_kernel_refuses_leaves_nothing(box: Group) -> None:
    impossible = Setting("pids", "pids", "pids.max", (("pids.max", "-7"),), frozenset({"-7"}))
    with pytest.raises(LimitsRefusedError, match=r"pids: .*Invalid argument") as caught:
        box.make_leaf("main", [impossible])
    assert caught.value.mismatches[0].found == {"max"}
    assert not box.exists()


def test_a_limit_that_does_not_arrive_leaves_nothing(box: Group) -> None:
    odd, file = str(64 * MIB + 1), _memory_file(box)
    rounded = Setting("memory", "memory", file, ((file, odd),), frozenset({odd}))
    with pytest.raises(LimitsRefusedError, match=f"shows {64 * MIB}, not {odd}"):
        box.make_leaf("main", [rounded])
    assert not box.exists()


def _memory_file(group: Group) -> str:
    memory = group.host.holding("memory")
    return "memory.limit_in_bytes" if memory and memory.version == 1 else "memory.max"


def test_a_limit_changed_from_outside_is_noticed(box: Group) -> None:
    pids = Setting("pids", "pids", "pids.max", (("pids.max", "16"),), frozenset({"16"}))
    box.make_leaf("main", [pids])
    assert box.read_back([pids]) == []
    where = box.files("pids")
    assert where is not None
    Path(where[1], "pids.max").write_text("max")
    assert [wrong.found for wrong in box.read_back([pids])] == [{"max"}]


def _until(reached: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.01)
