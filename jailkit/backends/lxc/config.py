"""From an order to LXC's configuration (lxc.container.conf(5)). Pure.

What is not here matters as much. `lxc.ephemeral` deletes a root that `lxc.rootfs.managed` protects. With
`lxc.namespace.clone` or `.keep` the UTS namespace may be the host's, and `lxc.uts.name` renames the host. The limits of
a jail are no business of LXC, which ignores those of the other version of cgroups in silence.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

from jailkit.backends.lxc.order import LaunchOrder
from jailkit.errors import BackendError
from jailkit.linux.devices import DEVICES
from jailkit.linux.hidden import LXCFS

Pairs = tuple[tuple[str, str], ...]

# Where the worker prepares what the container's root must reach. LXC has its locks in /run/lxc, so that a tmpfs there,
# in the mount namespace of one instance, is gone with it, locks and all.
LXC_RUN: Final = "/run/lxc"
STAGE: Final = f"{LXC_RUN}/jailkit"
STAGED_ROOT: Final = f"{STAGE}/root"
STAGED_INIT: Final = f"{STAGE}/init"
STAGED_SYS: Final = f"{STAGE}/sys"

APPARMOR_PROFILE: Final = "lxc-container-default-cgns"  # of LXC's own package; it allows a cgroup namespace
INIT: Final = "/dev/.jailkit-init"
_CONSOLE_SIZE: Final = 1 << 20  # bytes; a power of two, and LXC keeps one file more
_PTS: Final = ("c 136:* rwm", "c 5:2 rwm")  # terminals of the container's own devpts, and the ptmx that makes them


def translate(order: LaunchOrder) -> Pairs:
    """Give the keys and values for an order, in the order in which LXC is to take them."""
    return (
        ("lxc.uts.name", order.hostname),
        *_root(order),
        ("lxc.init.cmd", f"{INIT} {order.title}".rstrip()),
        *_network(order),
        *_mounts(order),
        *_privileges(order),
        *_groups(order),
        # With the monitor gone nobody would reap, log or clean up.
        ("lxc.monitor.signal.pdeath", "9"),
        *_output(order),
    )


def render(pairs: Pairs) -> str:
    """Write the configuration file.

    Raises:
        BackendError: a value has a character that would begin another line.
    """
    for key, value in pairs:
        if not value.isprintable():
            raise BackendError(f"cannot write {key} for LXC: {value!r} has a character that no configuration can have")
    return "".join(f"{key} = {value}\n" for key, value in pairs)


def _root(order: LaunchOrder) -> Iterator[tuple[str, str]]:
    # Mounted in LXC's own place, /usr/lib/TRIPLET/lxc/rootfs: in no other does AppArmor let lxc-start change its root
    # (/etc/apparmor.d/abstractions/lxc/start-container of Debian and Ubuntu).
    yield "lxc.rootfs.path", f"dir:{STAGED_ROOT}"
    yield "lxc.rootfs.managed", "0"
    if order.ids:
        for kind in ("u", "g"):
            yield "lxc.idmap", f"{kind} 0 {order.ids[0]} {order.ids[1]}"


def _network(order: LaunchOrder) -> Iterator[tuple[str, str]]:
    if order.network == "host":
        yield "lxc.net.0.type", "none"
        return
    yield "lxc.net.0.type", "empty"
    yield "lxc.net.0.flags", "up"  # Of the loopback interface, which is the only one.


def _mounts(order: LaunchOrder) -> Iterator[tuple[str, str]]:
    # With the network of the host, a user namespace that does not own it may not mount sysfs.
    staged_sys = order.ids is not None and order.network == "host"
    yield "lxc.mount.auto", "proc:mixed" if staged_sys else "proc:mixed sys:ro"
    if staged_sys:
        yield _entry(STAGED_SYS, "sys", "none", "bind,ro,nosuid,nodev,noexec")
    # LXC's own /dev always has all six nodes.
    yield "lxc.autodev", "0"
    yield _entry("none", "dev", "tmpfs", "nosuid,nodev,noexec,mode=755,size=64k")
    for name in order.view.devices:
        yield _entry(f"/dev/{name}", f"dev/{name}", "none", "bind,nosuid,noexec,create=file")
    yield _entry("none", "dev/shm", "tmpfs", f"nosuid,nodev,noexec,mode=1777,size={order.shm_size},create=dir")
    yield _entry(STAGED_INIT, INIT.lstrip("/"), "none", "bind,ro,nosuid,nodev,create=file")
    for path in order.hidden_files:
        yield _entry("/dev/null", path.lstrip("/"), "none", "bind,ro,nosuid,noexec")
    for path in order.hidden_folders:
        yield _entry("none", path.lstrip("/"), "tmpfs", "ro,nosuid,nodev,noexec,size=4k")
    for path in order.stand_ins:
        yield _entry(f"{LXCFS}{path}", path.lstrip("/"), "none", "bind,nosuid,nodev,noexec")
    yield "lxc.pty.max", "64"
    yield "lxc.tty.max", "0"


def _entry(source: str, target: str, kind: str, options: str) -> tuple[str, str]:
    return "lxc.mount.entry", f"{source} {target} {kind} {options} 0 0"


def _privileges(order: LaunchOrder) -> Iterator[tuple[str, str]]:
    kept = " ".join(name.removeprefix("CAP_").lower() for name in order.capabilities)
    yield "lxc.cap.keep", kept or "none"
    yield "lxc.no_new_privs", str(int(order.no_new_privileges))
    if order.seccomp:
        yield "lxc.seccomp.profile", order.seccomp
        # Else LXC skips the filter, without a word, where its own process has one already.
        yield "lxc.seccomp.allow_nesting", "1"
    # Left out, a kernel with AppArmor refuses to start the container.
    yield "lxc.apparmor.profile", order.apparmor or "unconfined"
    yield "lxc.keyring.session", "1"
    yield "lxc.prlimit.core", "0"
    for name, value in order.limits:
        yield f"lxc.prlimit.{name}", str(value)


def _groups(order: LaunchOrder) -> Iterator[tuple[str, str]]:
    if order.group is None or order.monitor_group is None:
        return
    yield "lxc.cgroup.dir.container", order.group
    yield "lxc.cgroup.dir.monitor", order.monitor_group
    yield "lxc.cgroup.dir.monitor.pivot", os.path.dirname(pivot_group(order.monitor_group))
    if order.device_rules:
        prefix = "lxc.cgroup.devices" if order.device_rules == 1 else "lxc.cgroup2.devices"
        yield f"{prefix}.deny", "a"
        nodes = [f"c {major}:{minor} rwm" for major, minor in (DEVICES[name] for name in order.view.devices)]
        for rule in (*nodes, *_PTS):
            yield f"{prefix}.allow", rule


def _output(order: LaunchOrder) -> Iterator[tuple[str, str]]:
    yield "lxc.console.logfile", f"{order.folder}/console.log"
    yield "lxc.console.size", str(_CONSOLE_SIZE)
    yield "lxc.console.rotate", "1"
    yield "lxc.log.file", log_file(order)
    yield "lxc.log.level", "WARN"


def pivot_group(monitor_group: str) -> str:
    """Give the group into which a monitor goes to take its own away; it is there for the next one, till removed."""
    return f"{monitor_group.split('/')[0]}/lxc.pivot"  # LXC appends the last part.


def log_file(order: LaunchOrder) -> str:
    """Give the path of LXC's own log of an instance."""
    return f"{order.folder}/lxc.log"


def config_file(order: LaunchOrder) -> str:
    """Give the path of the configuration that LXC reads."""
    return config_in(order.folder)


def config_in(folder: str) -> str:
    """Give the same, by the instance's folder."""
    return f"{folder}/config"
