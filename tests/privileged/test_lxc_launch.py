"""Containers launched by the real liblxc: what they are, and what is left of them.

The exit codes of commands are nobody's here: LXC starts an idle process, and never a command.
"""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median

import pytest
from support.children import in_child
from support.containers import IDS, Place, alive, eventually, parent, status, stop

from jailkit.backends.lxc import stage
from jailkit.backends.lxc.launch import Worker
from jailkit.errors import BackendError
from jailkit.linux.devices import DEVICES
from jailkit.linux.hidden import HIDDEN_FILES, HIDDEN_FOLDERS, present
from jailkit.linux.mountinfo import cgroup_mounts

pytestmark = pytest.mark.needs("root", "lxc", "busybox")
SECCOMP = "2\ndenylist\n[all]\nswapon errno 1\n"


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Worker() as one:
        yield one


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    before = set(os.listdir("/run/lxc")) if os.path.isdir("/run/lxc") else set()
    one = Place(tmp_path)
    yield one
    try:
        eventually(lambda: one.groups() == [])
    finally:
        one.close()
    assert (set(os.listdir("/run/lxc")) if os.path.isdir("/run/lxc") else set()) <= before | {"lock"}


def inside(init: int, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a busybox command in the container's namespaces and root."""
    enter = ["nsenter", "--target", str(init), "--all", "/bin/busybox"]
    return subprocess.run([*enter, *command], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("ids", [IDS, None])
def test_a_container_is_an_idle_process_as_closed_as_ordered(
    worker: Worker, place: Place, ids: tuple[int, int] | None, tmp_path: Path
) -> None:
    host = socket.gethostname()
    policy = tmp_path / "seccomp.lxc"
    policy.write_text(SECCOMP)
    tmp_path.chmod(0o700)  # LXC refuses a path that the container's root cannot walk.
    init = worker.launch(place.order(ids=ids, seccomp=str(policy), limits=(("nofile", 256),)))
    facts = status(init)
    assert facts["Name"] == ".jailkit-init"
    assert facts["NSpid"].split()[-1] == "1"
    assert facts["Uid"].split() == [str(ids[0] if ids else 0)] * 4
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(facts[kind], 16) == 0, kind
    assert (facts["NoNewPrivs"], facts["Seccomp"]) == ("1", "2")
    mine = {name: os.readlink(f"/proc/self/ns/{name}") for name in ("uts", "ipc", "mnt", "net", "pid", "cgroup")}
    assert not {name for name, link in mine.items() if os.readlink(f"/proc/{init}/ns/{name}") == link}
    assert "Max open files            256                  256" in Path(f"/proc/{init}/limits").read_text()
    assert (inside(init, "hostname").stdout, socket.gethostname()) == ("box\n", host)
    stop(init)


def test_dev_has_what_was_listed_and_no_more(worker: Worker, place: Place) -> None:
    init = worker.launch(place.order(devices=("null", "urandom")))
    dev = Path(f"/proc/{init}/root/dev")
    links = {"fd", "stdin", "stdout", "stderr"}
    assert {entry.name for entry in dev.iterdir()} == {
        "null", "urandom", "pts", "ptmx", "shm", "console", ".jailkit-init", *links,
    }  # fmt: skip
    for name in ("null", "urandom"):
        mode = (dev / name).stat()
        assert stat.S_ISCHR(mode.st_mode)
        assert (os.major(mode.st_rdev), os.minor(mode.st_rdev)) == DEVICES[name]
    assert inside(init, "sh", "-c", "echo x > /dev/null && echo y > /dev/shm/y").returncode == 0
    assert not (place.root / "dev/shm").exists(), "the tree is as it was"
    stop(init)


@pytest.mark.parametrize("read_only", [True, False])
def test_mounts_are_as_ordered(worker: Worker, place: Place, read_only: bool) -> None:
    files, folders = present(HIDDEN_FILES), present(HIDDEN_FOLDERS)
    order = place.order(read_only=read_only, tmp_size=1 << 20, hidden_files=files, hidden_folders=folders)
    init = worker.launch(order)
    assert files
    for path in files:
        assert os.stat(f"/proc/{init}/root{path}").st_rdev == os.makedev(*DEVICES["null"]), path
    for path in folders:
        assert os.listdir(f"/proc/{init}/root{path}") == [], path
        assert inside(init, "touch", f"{path}/x").returncode == 1, path
    assert (inside(init, "touch", "/root/x").returncode != 0) == read_only
    assert inside(init, "touch", "/sys/x", "/proc/sys/kernel/hostname").returncode != 0
    assert inside(init, "dd", "if=/dev/zero", "of=/tmp/x", "bs=1M", "count=2").returncode != 0, "larger than its /tmp"
    assert sorted(os.listdir(f"/proc/{init}/root")) == sorted(os.listdir(place.root))
    stop(init)


def test_files_belong_inside_to_whom_they_belong_outside(worker: Worker, place: Place) -> None:
    init = worker.launch(place.order())
    assert inside(init, "sh", "-c", "echo hello > /root/new").returncode == 0
    assert (place.root / "root/new").stat().st_uid == 0, "unshifted on disk"
    stop(init)


def test_a_device_that_is_not_listed_is_denied_by_the_cgroup(worker: Worker, place: Place) -> None:
    order = place.order(ids=None, capabilities=("CAP_MKNOD",))
    init = worker.launch(order)
    groups = [f"{point}/{order.group}" for point in cgroup_mounts()]

    def opened(name: str) -> str | None:
        for group in groups:
            Path(group, "cgroup.procs").write_text("0")
        try:
            os.close(os.open(f"/dev/{name}", os.O_RDONLY))
        except OSError as error:
            return error.strerror
        return None

    found = {name: in_child(partial(opened, name)) for name in ("null", "zero", "full", "urandom")}
    denied = "Operation not permitted"
    assert found == {"null": None, "zero": None, "full": denied, "urandom": denied}
    stop(init)


@pytest.mark.parametrize("ids", [IDS, None])
def test_the_network_of_the_host_on_demand_only(worker: Worker, place: Place, ids: tuple[int, int] | None) -> None:
    host = os.readlink("/proc/self/ns/net")
    init = worker.launch(place.order(ids=ids, network="host"))
    assert os.readlink(f"/proc/{init}/ns/net") == host
    assert os.listdir(f"/proc/{init}/root/sys/fs/cgroup") == [], "sysfs is there, and no cgroup of the host's"
    stop(init)
    init = worker.launch(place.order(ids=ids, network="bridge"))
    assert os.listdir(f"/proc/{init}/root/sys/class/net") == ["lo"]
    stop(init)


def test_capabilities_that_are_kept_are_all_that_is_left(worker: Worker, place: Place) -> None:
    init = worker.launch(place.order(capabilities=("CAP_CHOWN", "CAP_NET_BIND_SERVICE")))
    assert int(status(init)["CapBnd"], 16) == 1 << 0 | 1 << 10
    stop(init)


def strangers() -> list[str]:
    """List groups with names that LXC chooses by itself."""
    return [f"{point}/{name}" for point in cgroup_mounts() for name in os.listdir(point) if name.startswith("lxc.")]


def test_no_groups_of_lxcs_own_naming_and_the_same_names_can_be_used_again(worker: Worker, place: Place) -> None:
    before = strangers()
    order = place.order()
    for _ in range(2):
        init = worker.launch(order)
        assert len(place.groups()) == 2 * len(cgroup_mounts()), "one for the container, one for its monitor"
        for pid, group in ((init, order.group), (parent(init), order.monitor_group)):
            lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
            assert {line.split(":", 2)[2] for line in lines} == {f"/{group}"}
        assert strangers() == before
        stop(init)
        eventually(lambda: place.groups() == [])


def test_a_monitor_needs_less_than_two_megabytes_of_its_own(worker: Worker, place: Place) -> None:
    init = worker.launch(place.order())
    text = Path(f"/proc/{parent(init)}/smaps_rollup").read_text()
    sizes = {line.split(":")[0]: int(line.split()[1]) for line in text.splitlines()[1:]}
    assert sizes["Private_Dirty"] < 1024
    assert sizes["Pss"] < 2560  # of which the pages of lxc-start itself are shared by all monitors
    stop(init)


def test_many_one_after_the_other_take_little_time(worker: Worker, place: Place) -> None:
    inits, times = [], []
    for _ in range(20):
        began = time.perf_counter()
        inits.append(worker.launch(place.order()))
        times.append(time.perf_counter() - began)
    assert median(times) < 0.1, f"{median(times) * 1000:.0f} ms"
    for init in inits:
        stop(init)


def test_a_configuration_that_liblxc_holds_otherwise_is_refused(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    order = place.order()
    os.mkdir(order.folder)
    changes = {"lxc.idmap": None, "lxc.cap.keep": "none sys_admin", "lxc.rootfs.managed": "1"}
    for key, other in changes.items():
        # The file says something else than what was wanted: as if liblxc had taken it so.
        written = stage.render
        pairs = [(k, other if k == key else v) for k, v in stage.translate(order) if k != key or other is not None]
        monkeypatch.setattr(stage, "render", lambda _, pairs=pairs, written=written: written(pairs))
        with pytest.raises(AssertionError, match=f"{key}: wrote"):
            in_child(lambda: _compare(order), private_mounts=True)
        monkeypatch.undo()


def _compare(order: stage.LaunchOrder) -> None:
    stage._set_stage(order)
    stage._write_config(order)
    stage._compare(order)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"root": "/nonexistent/root"}, "cannot prepare the root /nonexistent/root: open_tree: No such file"),
        ({"root": "/proc"}, "cannot prepare the root /proc: Operation not supported"),
        ({"seccomp": "/nonexistent"}, "its filter of system calls could not be loaded"),
        ({"hostname": "x" * 80}, "LXC refuses its configuration"),
        ({"hostname": "a\nb"}, "cannot write lxc.uts.name"),
        ({"hidden_files": ("/proc/nonexistent",)}, "something is to be mounted where its tree has no file"),
        ({"folder": "/proc/nonexistent/x"}, "cannot make /proc/nonexistent/x"),
    ],
)
def test_a_failure_says_why_and_leaves_nothing(
    worker: Worker, place: Place, fields: dict[str, object], words: str
) -> None:
    with pytest.raises(BackendError) as caught:
        worker.launch(place.order(**fields))
    assert words in caught.value.brief
    assert place.groups() == []


def test_what_lxc_would_ignore_is_refused(worker: Worker, place: Place) -> None:
    if not os.path.exists("/sys/kernel/security/apparmor"):
        with pytest.raises(BackendError, match="not as closed as ordered") as caught:
            worker.launch(place.order(apparmor="jail"))
        assert caught.value.details == ("its AppArmor profile is none, not jail",)
    if place.order().device_rules == 1:
        with pytest.raises(BackendError, match="not as closed as ordered"):
            worker.launch(place.order(device_rules=2))


def test_a_second_one_of_the_same_name_is_refused_and_the_first_lives(worker: Worker, place: Place) -> None:
    order = place.order()
    init = worker.launch(order)
    with pytest.raises(BackendError) as caught:
        worker.launch(order)
    assert "there already" in caught.value.brief or "runs already" in caught.value.brief
    assert alive(init)
    assert len(place.groups()) == 2 * len(cgroup_mounts())
    stop(init)
