"""What tests must not leave behind: mounts, processes in their jails, loop devices, a changed host."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from jailkit.linux.cgroup import read_cgroups

WATCHED = (
    *(
        f"/etc/{name}"
        for name in ["passwd", "group", "shadow", "gshadow", "subuid", "subgid", "fstab", "hosts", "hostname"]
    ),
    *(f"/etc/{name}" for name in ["resolv.conf", "nsswitch.conf", "ld.so.conf", "ld.so.preload", "localtime"]),
    *(f"/dev/{name}" for name in ["null", "zero", "full", "random", "urandom", "tty"]),
    "/",
    "/bin/sh",
    "/tmp",
)


def _fingerprint(path: str) -> str:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return "absent"
    identity = f"{status.st_mode:o} {status.st_uid}:{status.st_gid} {status.st_rdev}"
    if not Path(path).is_file():
        return identity
    try:
        return f"{identity} {hashlib.sha256(Path(path).read_bytes()).hexdigest()}"
    except PermissionError:
        return f"{identity} {status.st_mtime_ns}"


def _unescape(field: str) -> str:
    """Undo the octal escapes of /proc/self/mountinfo (proc(5))."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def mount_points() -> list[str]:
    """List where something is mounted, in the order of mounting."""
    lines = Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()
    return [_unescape(line.split(" ")[4]) for line in lines]


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")


def _jailed_processes(folder: str) -> Iterator[str]:
    for entry in os.scandir("/proc"):
        if not entry.name.isdecimal():
            continue
        try:
            root = os.readlink(f"{entry.path}/root")
            name = Path(entry.path, "comm").read_text(errors="replace").strip()
        except OSError:
            continue
        if _within(root.removesuffix(" (deleted)"), folder):
            yield f"process {entry.name} ({name}) has its root in {root}"


def _supervisors(folder: str) -> Iterator[str]:
    for pid in supervisors(folder):
        yield f"supervisor {pid} of a jail below {folder}"


def supervisors(folder: str) -> list[int]:
    """Give the pids of the supervisors of jails in or below a folder."""
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                words = os.fsdecode(Path(entry.path, "cmdline").read_bytes()).split("\0")
                if any("jailkit.lifecycle.supervise" in word for word in words[:6]) and any(
                    _within(word, folder) for word in words[5:7]
                ):
                    found.append(int(entry.name))
    return sorted(found)


def _loop_devices(folder: str) -> Iterator[str]:
    for record in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            backing = record.read_text(errors="surrogateescape").strip()
        except OSError:
            continue
        if _within(backing.removesuffix(" (deleted)"), folder):
            yield f"loop device {record.parts[3]} still holds {backing}"


def groups() -> list[str]:
    """List the control groups that the tests of this very process made."""
    ours = f"jailkit-test-{os.getpid()}"
    return [
        f"{hierarchy.top}/{name}"
        for hierarchy in read_cgroups().usable
        for name in os.listdir(hierarchy.top)
        if name.startswith(ours)
    ]


@dataclass(frozen=True, slots=True)
class Host:
    """The host as it was before the tests."""

    files: Mapping[str, str]
    mounts: frozenset[str]

    @classmethod
    def now(cls) -> Host:
        """Look at the host."""
        return cls({path: _fingerprint(path) for path in WATCHED}, frozenset(mount_points()))

    def leftovers(self, folder: str) -> list[str]:
        """Say what differs from this host now; `folder` is where the tests had their files."""
        changed = [f"{path} was changed" for path, before in self.files.items() if _fingerprint(path) != before]
        mounts = [f"{point} is still mounted" for point in mount_points() if point not in self.mounts]
        left = [f"control group {group} is still there" for group in groups()]
        return [*changed, *mounts, *left, *_jailed_processes(folder), *_supervisors(folder), *_loop_devices(folder)]

    def settled_leftovers(self, folder: str, *, patience: float = 10.0) -> list[str]:
        """Give what is left after `patience` seconds: what is just ending is no leftover."""
        deadline = time.monotonic() + patience
        while (found := self.leftovers(folder)) and time.monotonic() < deadline:
            time.sleep(0.05)
        return found


def mounts_within(folder: str) -> list[str]:
    """List what is mounted below a folder, the innermost first."""
    return [point for point in reversed(mount_points()) if _within(point, folder)]
