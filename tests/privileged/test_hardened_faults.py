"""What goes wrong with instances of `chroot-hardened`: spies, leaks, violent ends, missing parts, crowds."""

from __future__ import annotations

import dataclasses
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.children import in_child, kill, start, together
from support.containers import alive, eventually
from support.jails import init_of, run

from jailkit.backends import hardened, instance
from jailkit.backends.base import ExecRequest
from jailkit.backends.hardened import HardenedBackend
from jailkit.backends.instance import MAIN, group_of
from jailkit.errors import BackendError, JailkitError, StateError
from jailkit.linux.cgroup import Cgroups, read_cgroups
from jailkit.plan.settings import IoLimit, Limits, Mount
from jailkit.store import Jail

pytestmark = pytest.mark.needs("root", "mount-namespace", "user-namespace", "seccomp-filter", "busybox", "gcc")

MakeJail = Callable[..., Jail]
LEVEL = "chroot-hardened"
BACKEND = HardenedBackend()


@pytest.fixture
def jail(small_jail: MakeJail) -> Jail:
    return small_jail(LEVEL)


@pytest.fixture
def started(jail: Jail) -> Iterator[int]:
    """Start the jail, and give the pid of its init."""
    BACKEND.start(jail)
    yield init_of(jail)
    BACKEND.stop(jail, signal.SIGKILL, 0.0)


def said(jail: Jail, script: str, **request: object) -> str:
    result = run(jail, "sh", "-c", f"exec 2>&1; {script}", **request)
    assert result.stdout is not None
    assert result.reason in ("exited", "timeout"), result.message
    return result.stdout.decode().strip()


# Nothing of the caller goes in


def test_no_descriptor_of_the_caller_goes_in(jail: Jail, started: int) -> None:
    """Neither into a command nor into an init, of whatever kind and number."""

    def with_many_open() -> list[str]:
        opened = [os.open("/", os.O_RDONLY) for _ in range(40)]
        for number in (*opened, os.dup2(opened[0], 700)):
            os.set_inheritable(number, True)
        return said(jail, "ls -1 /proc/self/fd").split()

    assert in_child(with_many_open) == ["0", "1", "2", "3"]  # 3 is that of ls(1) itself
    assert os.listdir(f"/proc/{started}/fd") == ["0", "1", "2"]


def test_descriptors_of_a_process_that_runs_many_commands_stay_few(jail: Jail) -> None:
    run(jail, "true")
    before = os.listdir("/proc/self/fd")
    for _ in range(10):
        run(jail, "true")
        run(jail, "no-such-command")
    assert os.listdir("/proc/self/fd") == before


# A process of the jail's root looks for newcomers, which are copies of the caller until they become the command, and
# takes from them what it can get (PR_SET_DUMPABLE(2const)).
SPY = """\
while :; do
  for p in /proc/[2-9]* /proc/1?*; do
    [ $p = /proc/$$ ] && continue
    busybox readlink $p/exe $p/fd/* $p/cwd $p/root 2>/dev/null
    cat $p/environ $p/maps $p/mem 2>/dev/null
  done
done
"""


def test_a_spy_in_the_jail_sees_nothing_of_those_who_come(jail: Jail, started: int) -> None:
    spy = BACKEND.spawn(jail, ExecRequest(("sh", "-c", SPY), user="root", capture=True, timeout=2.0))
    assert spy.begun()
    for _ in range(60):
        run(jail, "true", user="root")
    run(jail, "sleep", "0.5", user="root")  # Seen for certain: the others are gone in a millisecond or two.
    result = spy.wait()
    assert result.reason == "timeout"
    assert result.stdout, "what they became is no secret"
    for word in (b"python", b"jailkit", b"JAILKIT", b"anon_inode", str(jail.directory).encode()):
        assert word not in result.stdout
    assert started


# Violent ends


def doomed(jail: Jail, *command: str) -> Callable[[], None]:
    def job() -> None:
        BACKEND.exec(jail, ExecRequest(command, capture=True))

    return job


def test_killing_the_caller_kills_the_jail(jail: Jail) -> None:
    caller = start(doomed(jail, "sh", "-c", "(setsid sleep 1000 &); echo $$ > $HOME/there; exec sleep 1000"))
    there = Path(jail.rootfs, "home/jail/there")
    eventually(lambda: there.exists() and len(group_of(jail).pids()) == 3)
    pids = group_of(jail).pids()
    assert kill(caller) == -signal.SIGKILL
    eventually(lambda: not any(map(alive, pids)))
    assert run(jail, "true").ok
    assert not group_of(jail).exists(), "the next command removes what is left"


def test_killed_at_any_moment(jail: Jail) -> None:
    chance = random.Random(3)
    for _ in range(40):
        caller = start(doomed(jail, "sleep", "1000"))
        time.sleep(chance.uniform(0.0, 0.03))
        kill(caller)
        eventually(lambda: not group_of(jail).pids())
    result = run(jail, "true")
    assert result.ok
    assert not group_of(jail).exists(), "the next command removes what is left"


@pytest.mark.parametrize("verb", ["start", "stop"])
def test_killed_while_it_starts_or_stops(jail: Jail, verb: str) -> None:
    chance = random.Random(5)
    for _ in range(25):
        if verb == "stop" and BACKEND.status(jail) == "stopped":
            BACKEND.start(jail)
        job = start(lambda: BACKEND.start(jail) if verb == "start" else BACKEND.stop(jail, signal.SIGTERM, 1.0))
        time.sleep(chance.uniform(0.0, 0.04))
        kill(job)
        # A process between the caller and the init finishes what it began, or ends.
        eventually(lambda: len(group_of(jail).pids()) <= 1)
        if verb == "start":
            BACKEND.stop(jail, signal.SIGKILL, 0.0)
            assert not group_of(jail).exists()
        else:
            assert run(jail, "true").ok
    BACKEND.stop(jail, signal.SIGKILL, 0.0)
    assert not group_of(jail).exists()


def test_a_killed_init_takes_the_jail_along(jail: Jail, started: int) -> None:
    running = BACKEND.spawn(jail, ExecRequest(("sleep", "1000"), capture=True))
    assert running.begun()
    os.kill(started, signal.SIGKILL)
    result = running.wait()
    assert (result.reason, result.signal) == ("signalled", signal.SIGKILL)
    eventually(lambda: BACKEND.status(jail) == "stopped")
    assert run(jail, "true").ok
    BACKEND.start(jail)
    assert BACKEND.status(jail) == "running"


def test_one_that_was_killed_while_it_stands_is_no_frozen_jail(jail: Jail, started: int) -> None:
    """Whoever kills a jail of version 1 and is killed meanwhile leaves that: its init waits for what stands."""
    said(jail, "(setsid sleep 1000 >/dev/null 2>&1 &)")
    leaf = group_of(jail).leaf(MAIN)
    leaf.freeze()
    assert BACKEND.status(jail) == "frozen"
    for pid in leaf.pids():
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: BACKEND.status(jail) == "stopped")
    assert run(jail, "true").ok
    BACKEND.start(jail)
    assert BACKEND.status(jail) == "running"
    assert not alive(started)


# Parts that are missing


def refusal(jail: Jail, *, kind: type[JailkitError] = BackendError) -> str:
    """Try to run and to start, and give how that is refused, without anything being left."""
    with pytest.raises(kind) as ran:
        run(jail, "true")
    with pytest.raises(kind) as started:
        BACKEND.start(jail)
    assert not group_of(jail).exists()
    assert ran.value.brief == started.value.brief
    return str(ran.value)


def test_a_tree_that_is_gone(jail: Jail) -> None:
    shutil.rmtree(jail.rootfs)
    assert "No such file or directory" in refusal(jail, kind=StateError)


@pytest.mark.parametrize("name", ["proc", "dev", "tmp"])
def test_a_folder_to_mount_on_that_is_gone(jail: Jail, name: str) -> None:
    shutil.rmtree(f"{jail.rootfs}/{name}")
    text = refusal(jail)
    assert f"/{name}" in text
    assert "No such file or directory" in text


def test_a_target_that_is_gone(small_jail: MakeJail, tmp_path: Path) -> None:
    text = refusal(small_jail(LEVEL, mounts=(Mount("bind", "/srv/data", str(tmp_path), True),)))
    assert text.startswith(
        "cannot enter jail box: cannot put the jail's tree and its mounts together: /srv/data: No such"
    )
    assert "jailkit verify box" in text


def test_a_source_that_is_gone(small_jail: MakeJail, tmp_path: Path) -> None:
    jail = small_jail(LEVEL, mounts=(Mount("bind", "/home", f"{tmp_path}/gone", True),))
    assert f"{tmp_path}/gone, which is mounted at /home: No such file or directory" in refusal(jail)


@pytest.mark.parametrize("source", ["/proc", "/sys"])
def test_a_source_whose_file_system_cannot_map_ids(small_jail: MakeJail, source: str) -> None:
    text = refusal(small_jail(LEVEL, mounts=(Mount("bind", "/home", source, True),)))
    assert f"{source}: Operation not supported" in text
    assert "a file system that can map ids" in text


def test_a_volume_that_is_gone(small_jail: MakeJail) -> None:
    jail = small_jail(LEVEL, volumes=("/home/jail",))
    text = refusal(jail, kind=StateError)
    assert f"its volume /home/jail, {jail.volume('/home/jail')}: No such file or directory" in text


def test_a_filter_that_is_gone(jail: Jail) -> None:
    os.unlink(f"{jail.directory}/seccomp.bpf")
    with pytest.raises(StateError, match="its filter of system calls: No such file"):
        run(jail, "true")
    assert not group_of(jail).exists()


def test_a_jail_without_ids(jail: Jail) -> None:
    bare = dataclasses.replace(jail, ids=None)
    assert "no range of ids of its own" in refusal(bare, kind=StateError)


# Limits


@pytest.mark.needs("cgroups")
def test_a_limit_that_the_kernel_refuses(small_jail: MakeJail) -> None:
    text = refusal(small_jail(LEVEL, limits=Limits(cpuset="999")))
    assert "the kernel does not hold its limits, so nothing was started" in text
    assert "limits.cpuset" in text


@pytest.mark.needs("cgroups")
def test_too_little_memory_to_begin_with(small_jail: MakeJail) -> None:
    jail = small_jail(LEVEL, limits=Limits(memory=1 << 16))
    text = refusal(jail)
    assert "its limit of memory leaves no room even for its first process" in text
    assert "raise limits.memory" in text


@pytest.mark.parametrize("path", ["/gone", "/proc"])
def test_a_path_of_io_without_a_disk(small_jail: MakeJail, path: str) -> None:
    jail = small_jail(LEVEL, limits=Limits(io=(IoLimit(path, write_bps=1 << 20),)))
    assert f"limits.io: no disk can be told for {path}" in refusal(jail)
    assert run(dataclasses.replace(jail, accepted=("limits.io",)), "true").ok


def without(controller: str) -> Cgroups:
    host = read_cgroups()
    kept = tuple(h for h in host.hierarchies if controller not in h.controllers)
    return host._replace(hierarchies=kept)


def test_a_controller_that_the_host_does_not_have(small_jail: MakeJail, monkeypatch: pytest.MonkeyPatch) -> None:
    jail = small_jail(LEVEL, limits=Limits(memory=1 << 26))
    monkeypatch.setattr(instance, "read_cgroups", lambda: without("memory"))
    text = refusal(jail)
    assert "limits.memory" in text
    accepted = dataclasses.replace(jail, accepted=("limits.memory",))
    assert run(accepted, "true").ok


def test_a_host_without_cgroups(jail: Jail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instance, "read_cgroups", lambda: read_cgroups()._replace(hierarchies=()))
    assert run(jail, "true").ok
    # Then it is found by what its first process is called, which no other jail's ids can have.
    assert BACKEND.status(jail) == "stopped"
    BACKEND.start(jail)
    assert BACKEND.status(jail) == "running"
    assert (run(jail, "cat", "/proc/1/cmdline").stdout or b"").endswith(b"/main\0")
    assert len(BACKEND.processes(jail)) == 1
    BACKEND.stop(jail, signal.SIGKILL, 0.0)
    assert (BACKEND.status(jail), BACKEND.processes(jail)) == ("stopped", [])
    limited = dataclasses.replace(jail, runtime=dataclasses.replace(jail.runtime, limits=Limits(pids=5)))
    with pytest.raises(BackendError) as caught:
        run(limited, "true")
    assert "limits.pids" in str(caught.value)


def test_a_host_without_user_namespaces(jail: Jail, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(base: int, size: int) -> None:
        raise OSError(28, f"unshare: No space left on device ({base}, {size})")

    monkeypatch.setattr(hardened, "make_owners", refuse)
    hardened._owners.cache_clear()  # They live as long as the process.
    assert "cannot make namespaces for jail box" in refusal(jail)
    hardened._owners.cache_clear()


# Crowds


def test_threads(jail: Jail) -> None:
    codes: list[int | None] = []

    def work(number: int) -> None:
        result = run(jail, "sh", "-c", f"echo {number}; exit {number}")
        assert result.stdout == f"{number}\n".encode()
        codes.append(result.exit_code)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(code for code in codes if code is not None) == list(range(16))
    assert not group_of(jail).exists()


def test_processes(small_jail: MakeJail) -> None:
    jail = small_jail(LEVEL, limits=Limits(pids=200, memory=1 << 28))

    def work() -> list[int | None]:
        return [run(jail, "sh", "-c", f"exit {number}").exit_code for number in range(5)]

    assert together(*[work] * 8) == [list(range(5))] * 8
    assert not group_of(jail).exists()


def test_they_share_one_instance_that_was_started(jail: Jail, started: int) -> None:
    def work() -> list[str]:
        return [said(jail, "busybox readlink /proc/self/ns/pid") for _ in range(5)]

    assert {name for names in together(*[work] * 8) for name in names} == {os.readlink(f"/proc/{started}/ns/pid")}
