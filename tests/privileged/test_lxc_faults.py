"""Violent ends of everybody who has a part in launching a container, and what is left then: nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.children import end, in_child, start, together
from support.containers import Place, alive, children, eventually, parent, status, stop

from jailkit.backends.lxc import launch as launch_module
from jailkit.backends.lxc.groups import remove_groups
from jailkit.backends.lxc.launch import Worker, launch
from jailkit.backends.lxc.order import LaunchOrder
from jailkit.backends.lxc.stage import Strings, become_monitor
from jailkit.errors import BackendError

pytestmark = pytest.mark.needs("root", "lxc", "busybox")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    one = Place(tmp_path)
    yield one
    try:
        eventually(lambda: monitors(one) == [])
        assert one.groups() == []
    finally:
        one.close()


def monitors(place: Place) -> list[int]:
    """List the processes that are LXC for a container of this test."""
    found = []
    for entry in os.listdir("/proc"):
        with contextlib.suppress(OSError, ValueError):
            words = Path(f"/proc/{int(entry)}/cmdline").read_bytes().split(b"\0")
            if words[0].endswith(b"lxc-start") and words[2].startswith(f"{place.base}-".encode()) and alive(int(entry)):
                found.append(int(entry))
    return found


def inits(place: Place) -> list[int]:
    return [init for monitor in monitors(place) for init in children(monitor)]


def swept(order: LaunchOrder) -> bool:
    return remove_groups((order.group, order.monitor_group)) == []


def launched(worker: Worker, order: LaunchOrder) -> tuple[int, str]:
    """Give the pid of the container's first process, or 0 and why it is not there."""
    try:
        return worker.launch(order), ""
    except BackendError as error:
        return 0, error.brief


@pytest.mark.parametrize("transient", [True, False])
@pytest.mark.parametrize("delay", range(0, 18, 2))
def test_a_worker_that_is_killed_is_an_error_and_leaves_nothing(place: Place, delay: int, transient: bool) -> None:
    with Worker() as worker:
        stop(worker.launch(place.order()))  # So that the delays are those of a launch.
        victim = worker._pid
        killer = threading.Thread(target=lambda: (time.sleep(delay / 1000), os.kill(victim, signal.SIGKILL)))
        killer.start()
        order = place.order(transient=transient)
        init, error = launched(worker, order)
        killer.join()
        assert init or "was killed" in error
        assert init or monitors(place) == []
        if init and not transient:
            assert alive(init), "it was there before, and is nobody's child"
            stop(init)
        eventually(lambda: monitors(place) == [])
        assert swept(order)
        if init:
            with pytest.raises(BackendError):
                worker.launch(place.order())
        stop(worker.launch(place.order()))


def test_a_worker_that_hangs_is_an_error_and_leaves_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch_module, "_PATIENCE", 0.3)
    with Worker() as worker:
        os.kill(worker._pid, signal.SIGSTOP)
        with pytest.raises(BackendError, match="did not answer within"):
            worker.launch(place.order())
        monkeypatch.undo()
        stop(worker.launch(place.order()))


def test_a_monitor_that_is_killed_takes_its_container_along(place: Place) -> None:
    order = place.order()
    with Worker() as worker:
        init = worker.launch(order)
        os.kill(parent(init), signal.SIGKILL)
        eventually(lambda: not alive(init))
        assert swept(order)
        stop(worker.launch(order))


@pytest.mark.parametrize("transient", [True, False])
def test_the_end_of_the_caller_ends_what_is_transient(place: Place, transient: bool) -> None:
    order = place.order(transient=transient)
    ready = place.folder / "ready"

    def caller() -> None:
        init = launch(order)
        ready.write_text(str(init))
        time.sleep(60)

    pid = start(caller)
    eventually(lambda: ready.exists() and ready.read_text())
    init = int(ready.read_text())
    monitor = parent(init)
    os.kill(pid, signal.SIGKILL)
    end(pid)
    if transient:
        eventually(lambda: not alive(init) and not alive(monitor))
        eventually(lambda: place.groups() == [])  # LXC cleaned up itself.
    else:
        time.sleep(0.3)
        assert alive(init)
        stop(init)


@pytest.mark.parametrize("delay", range(0, 100, 12))
def test_a_caller_that_is_killed_at_any_moment_leaves_nothing_transient(place: Place, delay: int) -> None:
    order = place.order()
    pid = start(lambda: (launch(order), time.sleep(60)))
    time.sleep(delay / 1000)
    os.kill(pid, signal.SIGKILL)
    end(pid)
    eventually(lambda: swept(order) and monitors(place) == [])
    time.sleep(0.1)
    assert monitors(place) == []
    assert swept(order)


def test_a_thread_that_ends_takes_nothing_along(place: Place) -> None:
    found: list[int] = []
    with Worker() as worker:
        thread = threading.Thread(target=lambda: found.append(worker.launch(place.order())))
        thread.start()
        thread.join()
        time.sleep(0.1)
        assert alive(found[0])
        stop(found[0])


def test_nothing_is_done_behind_a_gate_that_never_opens(place: Place) -> None:
    order = place.order()
    gate, let_go = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(let_go)
        become_monitor(order, Strings(gate, 2, os.getppid()))
    os.close(gate)
    os.close(let_go)
    assert end(pid) == 125
    assert not os.path.exists(order.folder)


def test_a_forked_child_has_a_worker_of_its_own(place: Place) -> None:
    init = launch(place.order())
    orders = [place.order() for _ in range(3)]
    results = together(*(lambda order=order: _launch_and_stop(order) for order in orders))
    assert results == [True] * 3
    assert alive(init)
    stop(init)
    launch_module._shared.close()


def _launch_and_stop(order: LaunchOrder) -> bool:
    init = launch(order)
    lived = alive(init)
    stop(init)
    launch_module._shared.close()
    return lived


def test_without_the_binding_the_error_says_how_to_get_it(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    stub = place.folder / "stub"
    stub.mkdir()
    (stub / "_lxc.py").write_text("raise ImportError('no liblxc here')\n")
    monkeypatch.setattr(sys, "path", [str(stub), *sys.path])
    with Worker() as worker, pytest.raises(BackendError, match="cannot load liblxc: no liblxc here") as caught:
        worker.launch(place.order())
    assert "apt install lxc python3-lxc" in (caught.value.resolution or "")


def test_a_crash_of_liblxc_is_an_error_and_the_worker_goes_on(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    stub = place.folder / "stub"
    stub.mkdir()
    (stub / "_lxc.py").write_text("import os, signal\ndef Container(*_): os.kill(os.getpid(), signal.SIGSEGV)\n")
    monkeypatch.setattr(sys, "path", [str(stub), *sys.path])
    with Worker() as worker:
        for _ in range(2):
            with pytest.raises(BackendError, match="ended by signal 11"):
                worker.launch(place.order())


def test_the_workers_end_is_waited_for(place: Place) -> None:
    with Worker() as worker:
        init = worker.launch(place.order())
        pid = worker._pid
    assert not alive(init)
    assert not os.path.exists(f"/proc/{pid}")
    assert inits(place) == []


def test_a_worker_that_was_forked_has_nothing_of_its_caller(place: Place) -> None:
    """The command line forks its own: it has no descriptor, no signal and no session of that, and ends with it."""

    def call() -> tuple[int, dict[str, str], list[str]]:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: None)
        with open("/dev/zero"):
            launch_module.prepare()
            pid = parent(parent(launch(place.order())))
            found = {name: status(pid)[name] for name in ("SigBlk", "SigIgn", "SigCgt", "NSsid", "PPid")}
            assert found.pop("PPid") == str(os.getpid())
            assert int(found.pop("NSsid").split()[0]) == pid
            return pid, found, [os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")]

    worker, signals, descriptors = in_child(call)
    eventually(lambda: not alive(worker))
    found = {name: int(mask, 16) for name, mask in signals.items()}
    assert found["SigBlk"] == 0
    assert found["SigIgn"] == 1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1, "as in every interpreter"
    assert found["SigCgt"] & ~(3 << 31) == 0, "but 32 and 33, which libc keeps for itself"
    assert not [target for target in descriptors if target.startswith(("/dev/zero", str(place.folder)))]
    assert sorted(descriptors)[:3] == ["/dev/null"] * 3
