"""Violent ends, crowds, full disks and traps at the levels with instances: nothing leaks, the next command works."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import boxes
from support.boxes import COMMAND, Box, call, everything_of, groups_of, ids_below, nothing_left
from support.children import end, in_child, kill, together
from support.children import start as in_background
from support.containers import alive, children, eventually
from support.leftovers import supervisors
from support.trees import dump, plant

from jailkit.backends.base import ExecRequest
from jailkit.backends.instance import MAIN, MONITORS, find_init, group_of
from jailkit.errors import BackendError, StateError
from jailkit.lifecycle import create as create_module
from jailkit.lifecycle import destroy as destroy_module
from jailkit.lifecycle import ownership
from jailkit.lifecycle.enter import run
from jailkit.lifecycle.start import start
from jailkit.lifecycle.stop import status, stop
from jailkit.store import Jail, Store
from jailkit.store.ids import IdRegistry

pytestmark = pytest.mark.needs("root", "mount-namespace", "user-namespace", "cgroups")


@pytest.fixture(params=["chroot-hardened", pytest.param("lxc", marks=pytest.mark.needs("lxc"))])
def level(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def box(level: str, tmp_path: Path) -> Iterator[Box]:
    """Give a jail with a command; after the test it is destroyed, and nothing of it may be left."""
    made = boxes.create(tmp_path / "home", level, boxes.profile(tmp_path, command=COMMAND))
    jail = made.jail
    yield made
    made.good("destroy", "--force", "box")
    nothing_left(made.home, [jail])


def store_of(box: Box) -> Store:
    return Store(str(box.home))


# Violent ends


def victim(kind: str, job: int, jail: Jail) -> int | None:
    """Give the pid of what takes part in starting or stopping a jail; None while there is none."""
    if kind == "jailkit":
        return job
    if kind == "supervisor":
        return next(iter(supervisors(jail.directory)), None)
    if kind == "worker":
        return next((pid for pid in children(job) if b"lxc.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()), None)
    if kind == "monitor":
        group = group_of(jail)
        return next(iter(group._replace(host=group.host._replace(parent=MONITORS)).pids()), None)
    init = find_init(group_of(jail).leaf(MAIN), jail.ids)
    if init is not None:
        os.close(init.pidfd)
    return init.pid if init else None


def strike(kind: str, job: int, jail: Jail, delay: float) -> None:
    """Kill one of those, some time after it has come to be; nobody where the job is over before."""
    with contextlib.suppress(OSError):
        while alive(job) and (pid := victim(kind, job, jail)) is None:
            pass
        time.sleep(delay)
        if pid := victim(kind, job, jail):
            os.kill(pid, signal.SIGKILL)


def works(store: Store, name: str = "box") -> None:
    """Assert that a command can be run, by and by: one that has joined what is just being stopped is killed with it."""
    eventually(lambda: run(name, ExecRequest(("sh", "-c", "exit 3"), capture=True), store).exit_code == 3)


def is_stopped(jail: Jail, box: Box) -> None:
    eventually(lambda: everything_of(box) == [] and groups_of(jail) == [])


@pytest.mark.parametrize("verb", ["start", "stop"])
@pytest.mark.parametrize("kind", ["jailkit", "worker", "monitor", "init", "supervisor"])
def test_killed_while_it_starts_or_stops(box: Box, kind: str, verb: str) -> None:
    if (kind in ("worker", "monitor") and box.level != "lxc") or (kind, verb) == ("worker", "stop"):
        pytest.skip("nothing of that kind takes part")
    jail, store, chance = box.jail, store_of(box), random.Random(f"{kind} {verb}")
    for _ in range(3):
        if verb == "stop":
            start("box", store)
        job = in_background(lambda: start("box", store) if verb == "start" else void(stop("box", store)))
        strike(kind, job, jail, chance.uniform(0.0, 0.03 if kind != "jailkit" else 0.15))
        end(job)
        works(store)
        with contextlib.suppress(StateError):  # It is running: the strike came too late.
            start("box", store)
        assert status("box", store) == "running"
        stop("box", store)
        is_stopped(jail, box)


def void(_: object) -> None:
    return None


def test_a_command_of_its_own_killed_at_any_moment(box: Box) -> None:
    jail, store, chance = box.jail, store_of(box), random.Random(7)
    for _ in range(8):
        job = in_background(lambda: void(run("box", ExecRequest(("sleep", "1000"), capture=True), store)))
        time.sleep(chance.uniform(0.0, 0.25))
        kill(job)
    works(store)
    stop("box", store)
    is_stopped(jail, box)


# Crowds


def test_forty_starts_and_stops_from_eight_processes(level: str, tmp_path: Path) -> None:
    file = boxes.profile(tmp_path)
    crowd = [boxes.create(tmp_path / "home", level, file, name=f"box{number}") for number in range(4)]
    store = store_of(crowd[0])

    def cycle(name: str) -> int:
        started = 0
        for _ in range(5):
            with contextlib.suppress(StateError):  # The other one has started it.
                start(name, store)
                started += 1
            with contextlib.suppress(BackendError):  # The other one is stopping it.
                result = run(name, ExecRequest(("sh", "-c", "exit 3"), capture=True), store)
                assert result.shell_code in (3, 125, 137, 143), result
            stop(name, store)
        return started

    counts = together(*[lambda name=box.name: cycle(name) for box in crowd * 2])
    assert sum(counts) >= 20
    jails = [box.jail for box in crowd]
    assert [group for jail in jails for group in groups_of(jail)] == []
    for box in crowd:
        assert box.exec("echo there").stdout == "there\n"
    crowd[0].good("destroy", *[box.name for box in crowd])
    nothing_left(crowd[0].home, jails)


# A full disk, used up ids, limits that there are not


def fill(folder: Path) -> None:
    with contextlib.suppress(OSError), (folder / "filler").open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while file.write(b"x" * size):
                    pass


def test_a_full_disk(level: str, tmp_path: Path) -> None:
    home, file = tmp_path / "home", boxes.profile(tmp_path, command=COMMAND)
    home.mkdir()

    def on_a_small_disk() -> dict[str, object]:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48M,mode=755", "small", home], check=True)
        box = boxes.create(home, level, file)
        fill(home)
        jail, seen = box.jail, {}
        other = box.call("create", file, "--level", level, "--name", "other")
        seen["create"] = (other.returncode, "No space left on device" in other.stderr, Store(str(home)).names())
        ran = box.exec("echo ran")
        seen["exec"] = ran.stdout if ran.returncode == 0 else "No space left on device" in ran.stderr
        begun = box.call("start", "box")
        seen["start"] = (begun.returncode, "No space left on device" in begun.stderr, box.status())
        seen["left"] = (everything_of(box), groups_of(jail))
        (home / "filler").unlink()
        seen["later"] = (box.call("start", "box").returncode, box.call("stop", "box").returncode)
        box.good("destroy", "box")
        nothing_left(home, [jail])
        return seen

    seen = in_child(on_a_small_disk, private_mounts=True)
    assert seen["create"] == (1, True, ["box"])
    assert seen["exec"] in ("ran\n", True)
    assert seen["start"] == (1, True, "stopped")
    assert seen["left"] == ([], [])
    assert seen["later"] == (0, 0)


def test_ids_that_are_used_up(level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("subuid", "subgid"):
        (tmp_path / name).write_text("root:3000000000:65536\n")
    registry = IdRegistry(f"{tmp_path}/ids", (f"{tmp_path}/subuid", f"{tmp_path}/subgid"))
    for module in (create_module, destroy_module, ownership):
        monkeypatch.setattr(module, "IdRegistry", lambda: registry)
    store = Store(str(tmp_path / "home"))
    wanted = create_module.order(str(boxes.profile(tmp_path)), level)
    first = create_module.create(wanted, store, name="first")
    assert first.ids == (3_000_000_000, 65536)
    with pytest.raises(StateError, match="all 1 of root are in use") as caught:
        create_module.create(wanted, store, name="second")
    assert "jailkit destroy a jail, or usermod" in str(caught.value.resolution)
    assert store.names() == ["first"]
    assert os.listdir(f"{store.home}/drafts") == []
    destroy_module.destroy("first", store)
    second = create_module.create(wanted, store, name="second")
    assert second.ids == first.ids
    destroy_module.destroy("second", store)
    assert os.listdir(registry.folder) == ["lock"]


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"cpuset": "999"}, "limits.cpuset"),
        ({"io": [{"path": "/nowhere", "write-bps": "1M"}], "pids": 5}, "limits.io: no disk can be told for /nowhere"),
    ],
)
def test_a_limit_that_the_host_does_not_have(level: str, tmp_path: Path, limits: dict[str, object], words: str) -> None:
    file, home = boxes.profile(tmp_path, limits=limits), tmp_path / "home"
    done = call(home, "create", file, "--level", level, "--name", "box")
    assert done.returncode == 1
    assert words in done.stderr
    box = boxes.create(home, level, file, "--accept-gaps")
    jail = box.jail
    assert box.exec("echo ran").stdout == "ran\n"
    box.good("destroy", "box")
    nothing_left(home, [jail])


def test_a_tree_that_was_removed_by_hand(box: Box) -> None:
    shutil.rmtree(box.jail.rootfs)
    for words, code in ((("exec", "box", "--", "id"), 125), (("start", "box"), 1), (("verify", "box"), 1)):
        done = box.call(*words)
        assert done.returncode == code
        assert "No such file or directory\n  Try: jailkit update box" in done.stderr
    box.good("update", "box")
    assert box.exec("echo there").stdout == "there\n"


# Nothing outside is deleted


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """Give a folder that is none of jailkit's, and look that it stays as it is."""
    folder = plant(tmp_path / "outside", {"/file": "of the host", "/folder/file": "of the host"})
    before = dump(folder, owners=True, times=True)
    yield folder
    assert dump(folder, owners=True, times=True) == before


def test_a_mount_below_a_jail_keeps_it(box: Box, outside: Path) -> None:
    def with_a_mount() -> tuple[int, str]:
        subprocess.run(["mount", "--bind", outside, f"{box.jail.rootfs}/tmp"], check=True)
        done = box.call("destroy", "--force", "box")
        return done.returncode, done.stderr

    code, said = in_child(with_a_mount, private_mounts=True)
    assert code == 1
    assert "1 mount below it" in said
    assert box.exec("echo there").stdout == "there\n"


@pytest.mark.parametrize("idle", [True, False])
def test_links_that_were_planted_inside(box: Box, outside: Path, idle: bool) -> None:
    script = (
        f'cd $HOME; ln -s {outside} a; ln -s {outside}/file b; ln -s / c; ln -s "$PWD" d; mkdir -p e/f; ln -s .. e/f/g'
    )
    # What made them has ln(1); the host's here, in the name of the jail's user.
    subprocess.run(["sh", "-c", script], check=True, env=os.environ | {"HOME": f"{box.jail.rootfs}/home/jail"})
    if not idle:
        box.good("start", "box")
    box.good("destroy", "--force", "box")
    assert not (box.home / "jails/box").exists()
    boxes.create(box.home, box.level, box.home.parent / "small.yaml")


@pytest.mark.needs("lxc")
@pytest.mark.parametrize("running", [True, False])
def test_a_configuration_of_lxc_that_was_edited(tmp_path: Path, outside: Path, running: bool) -> None:
    box = boxes.create(tmp_path / "home", "lxc", boxes.profile(tmp_path, command=COMMAND))
    jail = box.jail
    box.good("start", "box")
    if not running:
        box.good("stop", "box")
    config = Path(jail.directory, "lxc/main/config")
    config.write_text(
        f"{config.read_text()}\nlxc.rootfs.path = dir:{outside}\nlxc.rootfs.managed = 1\nlxc.ephemeral = 1\n"
        f"lxc.hook.destroy = /bin/false\nlxc.hook.post-stop = /bin/rm -r {outside}\n"
    )
    box.good("stop", "box")
    box.good("start", "box")
    assert str(outside) not in config.read_text(), "it is written anew at each start"
    box.good("destroy", "--force", "box")
    nothing_left(box.home, [jail])


def test_a_folder_of_ids_that_somebody_else_has(box: Box, tmp_path: Path) -> None:
    """The range of a jail that still lives is never given to another."""
    other = boxes.create(box.home, box.level, boxes.profile(tmp_path), name="other")
    assert box.jail.ids is not None
    assert other.jail.ids is not None
    assert box.jail.ids[0] != other.jail.ids[0]
    assert len(ids_below(box.home)) == 2
    other.good("destroy", "other")
    assert ids_below(box.home) == [box.jail.directory]
