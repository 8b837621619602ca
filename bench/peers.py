"""Other programs that run a command in the tree of a jail, and what they have to be told for that."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench.measure import COMMAND
from jailkit.linux.cgroup import Group, read_cgroups

GROUPS = "jailkit-bench"  # the cgroup below which peers make theirs
_USER = 60999
_NAMESPACES = ("cgroup", "ipc", "mount", "network", "pid", "user", "uts")
_HIDDEN = ["/proc/acpi", "/proc/kallsyms", "/proc/kcore", "/proc/keys", "/proc/kmsg", "/proc/timer_list"]
_READ_ONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
# What a container's root must reach is in the jail's folder, and this is LXC's idea of the same mapping.
_LXC_ROOT = "lxc.rootfs.path = dir:{root}\nlxc.rootfs.options = idmap=container\nlxc.rootfs.mount = {mount}\n"
_LXC_OURS = ("lxc.rootfs.", "lxc.init.cmd", "lxc.cgroup.dir.", "lxc.console.", "lxc.log.", "lxc.monitor.")


def bwrap_all(root: str) -> list[str]:
    """Give the command that makes all namespaces around a tree with a /proc, a /dev and a /tmp."""
    mounts = ["--bind", root, "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
    return ["bwrap", "--unshare-all", *mounts, COMMAND]


def oci(program: str, options: Iterable[str], root: str, place: Path) -> list[str]:
    """Give the command by which an OCI runtime runs one container; `place` gets its bundle."""
    bundle, state = place / f"{program}-bundle", place / f"{program}-state"
    bundle.mkdir()
    (bundle / "config.json").write_text(json.dumps(_bundle(root)))
    return [program, *options, "--root", str(state), "run", "--bundle", str(bundle), f"jailkit-bench-{program}"]


def _bundle(root: str) -> dict[str, Any]:
    restricted = ["nosuid", "noexec"]
    ids = [{"containerID": 0, "hostID": 0, "size": 65536}]
    process = {"args": [COMMAND], "cwd": "/", "user": {"uid": _USER, "gid": _USER}, "noNewPrivileges": True}
    return {
        "ociVersion": "1.0.2",
        "process": process | {"env": ["PATH=/bin"], "capabilities": {}},
        "root": {"path": root},
        "hostname": "one",
        "mounts": [
            _mount("/proc", "proc", []),
            _mount("/dev", "tmpfs", ["nosuid", "mode=755", "size=64k"]),
            _mount("/dev/pts", "devpts", [*restricted, "newinstance", "ptmxmode=0666", "mode=0620"]),
            _mount("/dev/shm", "tmpfs", [*restricted, "nodev", "mode=1777", "size=64m"]),
            _mount("/tmp", "tmpfs", ["nosuid", "nodev", "mode=1777", "size=64m"]),
        ],
        "linux": {
            "cgroupsPath": f"/{GROUPS}/oci",
            "namespaces": [{"type": name} for name in _NAMESPACES],
            "uidMappings": ids,
            "gidMappings": ids,
            "maskedPaths": _HIDDEN,
            "readonlyPaths": _READ_ONLY,
        },
    }


def _mount(target: str, kind: str, options: list[str]) -> dict[str, Any]:
    return {"destination": target, "type": kind, "source": kind, "options": options}


def lxc_execute(config: str, root: str, place: Path) -> list[str]:
    """Give the command that runs one container of LXC's, as a configuration that jailkit wrote says."""
    path, mount = place / "lxc", place / "lxc-mount"
    for folder in (path, mount):
        folder.mkdir()
    kept = [line for line in config.splitlines() if not line.startswith(_LXC_OURS) and ".jailkit-init" not in line]
    groups = [f"lxc.cgroup.dir.{part} = {GROUPS}/{part}" for part in ("container", "monitor")]
    # LXC's own init is executed from this /dev.
    text = "\n".join([_LXC_ROOT.format(root=root, mount=mount), *kept, *groups]).replace("noexec,mode=755", "mode=755")
    (place / "lxc.conf").write_text(text + "\n")
    return ["lxc-execute", "-n", "jailkit-bench", "-P", str(path), "-f", str(place / "lxc.conf"), "--", COMMAND]


def remove_groups() -> None:
    """Take away the cgroups that peers have left."""
    host = read_cgroups(GROUPS)
    for name in ("oci", "container", "monitor"):
        Group(host, name).remove()
