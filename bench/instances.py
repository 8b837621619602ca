"""Instances: what namespaces, a filter and a cgroup cost at chroot-hardened, and what a container costs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import jailkit
from bench.measure import COMMAND, JAIL, PROFILE, Peer, chroot, interleaved, process
from bench.peers import bwrap_all, lxc_execute, oci, remove_groups
from bench.report import Bar, Section
from bench.warm import warm
from jailkit.backends import backend_for
from jailkit.store import Jail

_TIMES_BWRAP = 1.5
_STOPPING = 5.0  # seconds


@contextlib.contextmanager
def created(home: Path, place: Path, level: str) -> Iterator[Jail]:
    """Give a jail that holds /bin/true, for a while."""
    profile = place / f"{JAIL}.yaml"
    profile.write_text(PROFILE)
    box = jailkit.create(profile, level=level, home=home)
    try:
        yield box.record
    finally:
        box.destroy(force=True)
        remove_groups()


@contextlib.contextmanager
def started(jail: Jail) -> Iterator[None]:
    """Keep the instance of a jail up for a while."""
    backend = backend_for(jail.level)
    backend.start(jail)
    try:
        yield
    finally:
        backend.stop(jail, 9, _STOPPING)


def hardened(place: Path) -> list[Section]:
    """Measure an instance that is made for one command."""
    home = place / "hardened"
    with created(home, place, "chroot-hardened") as jail:
        peers = {
            "bwrap --unshare-all": bwrap_all(jail.rootfs),
            "crun": oci("crun", ["--cgroup-manager=disabled"], jail.rootfs, place),
            "runc": oci("runc", [], jail.rootfs, place),
            "chroot(8)": chroot(jail.rootfs),
        }
        series = warm(home, JAIL, 100, peers)
    ours, bwrap, crun, runc = (one.wall for one in series[:4])
    what = "run /bin/true at chroot-hardened, warm"
    bars = [
        Bar(f"{what}: {_TIMES_BWRAP} times `bwrap --unshare-all`", ours, _TIMES_BWRAP * bwrap, "s"),
        Bar(f"{what}: faster than crun", ours, crun, "s"),
        Bar(f"{what}: faster than runc", ours, runc, "s"),
    ]
    notes = (
        f"{COMMAND} with every namespace, a /proc, a /dev and a /tmp; jailkit and runc with cgroups, jailkit alone "
        "with a filter of system calls. crun refuses a hybrid of cgroups: it runs without any, and the tree of "
        "version 2 is hidden from it."
    )
    return [Section("run at chroot-hardened", notes, series, bars)]


def containers(command: Path, place: Path) -> list[Section]:
    """Measure an exec into a running container, and a container that is made for one command."""
    home = place / "containers"
    with created(home, place, "lxc") as jail:
        with started(jail):
            config = Path(jail.directory, "lxc", "main", "config").read_text()
            entered = _into_running(home, jail)
        return [entered, _for_one_command(command, home, lxc_execute(config, jail.rootfs, place))]


def _into_running(home: Path, jail: Jail) -> Section:
    series = warm(home, JAIL, 200, {"bwrap --unshare-all": bwrap_all(jail.rootfs), "chroot(8)": chroot(jail.rootfs)})
    bars = [Bar("exec /bin/true in a running lxc jail, warm", series[0].wall, 0.006, "s")]
    return Section("exec at lxc", f"{COMMAND} in a container that is there; the peers make theirs.", series, bars)


def _for_one_command(command: Path, home: Path, execute: list[str]) -> Section:
    run = process([command, "--home", home, "run", JAIL, "--", COMMAND])
    series = interleaved([Peer("jailkit run", run), Peer("lxc-execute", process(execute))], rounds=25)
    ours, theirs = (one.wall for one in series)
    what = "run /bin/true at lxc, whole process"
    bars = [Bar(what, ours, 0.12, "s"), Bar(f"{what}: beyond lxc-execute", ours - theirs, 0.09, "s")]
    notes = f"{COMMAND} in a container that is made for it; lxc-execute has the configuration that jailkit writes."
    return Section("run at lxc, whole process", notes, series, bars)
