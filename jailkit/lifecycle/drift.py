"""How a tree differs from its manifest, and the host from what was copied, path by path."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from posixpath import dirname
from typing import Literal

from jailkit.host import Host
from jailkit.linux.copy import sha256
from jailkit.linux.paths import Tree
from jailkit.linux.shift import UNSHIFTED, Shift
from jailkit.linux.walk import walk_tree
from jailkit.manifest import Kind, Manifest, Record
from jailkit.plan.guard import is_open

Difference = Literal["content", "mode", "owner", "type", "target", "device", "missing", "extra", "unread"]


@dataclass(frozen=True, slots=True)
class Drift:
    """One difference. `status` is the lstat of what is there, None for what is missing."""

    path: str
    difference: Difference
    message: str
    status: os.stat_result | None = None


def drifts(tree: Tree, manifest: Manifest, shift: Shift = UNSHIFTED) -> Iterator[Drift]:
    """Compare every path of a tree with the manifest, and every path of the manifest with the tree.

    `shift` is that of the tree.
    """
    seen = {"/"}
    yield from _compare(tree, manifest.records["/"], os.fstat(tree.fd), shift)
    for path, status, unread in walk_tree(tree):
        record = manifest.records.get(path)
        seen.add(path)
        if unread is not None:
            yield Drift(path, "unread", f"what is in it was not looked at: {unread}", status)
        elif record is None:
            yield Drift(path, "extra", f"{kind_of(status)} that the manifest does not have", status)
        else:
            yield from _compare(tree, record, status, shift)
    for path in manifest.records.keys() - seen:
        yield Drift(path, "missing", f"{manifest.records[path].kind} is gone")


def kind_of(status: os.stat_result) -> Kind | Literal["socket", "fifo"]:
    """Name the type of a file."""
    mode = status.st_mode
    kinds: dict[int, Kind | Literal["socket", "fifo"]] = {
        stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink",
        stat.S_IFSOCK: "socket", stat.S_IFIFO: "fifo",
    }  # fmt: skip
    return kinds.get(stat.S_IFMT(mode), "device")


def _compare(tree: Tree, record: Record, status: os.stat_result, shift: Shift) -> Iterator[Drift]:
    path, kind = record.path, kind_of(status)
    if kind != record.kind:
        yield Drift(path, "type", f"is a {kind}, was made as a {record.kind}", status)
        return
    mode = stat.S_IMODE(status.st_mode)
    if kind != "symlink" and mode != record.mode:
        yield Drift(path, "mode", f"mode is {mode:04o}, was made as {record.mode:04o}", status)
    owner = shift.owner(record.uid, record.gid)
    if (status.st_uid, status.st_gid) != owner:
        owners = f"{status.st_uid}:{status.st_gid}, was made as {owner[0]}:{owner[1]}"
        yield Drift(path, "owner", f"owner is {owners}", status)
    if kind == "file" and not _same_content(tree, record, status):
        yield Drift(path, "content", "content differs from what was made", status)
    if kind == "symlink" and (target := read_link(tree, path)) != record.target:
        yield Drift(path, "target", f"points to {target!r}, was made to point to {record.target!r}", status)
    if kind == "device" and _number(status) != (stat.S_IFCHR, record.device):
        yield Drift(path, "device", f"is another device than {record.device}", status)


def _number(status: os.stat_result) -> tuple[int, tuple[int, int]]:
    return stat.S_IFMT(status.st_mode), (os.major(status.st_rdev), os.minor(status.st_rdev))


def _same_content(tree: Tree, record: Record, status: os.stat_result) -> bool:
    if status.st_size != record.size:
        return False
    try:
        descriptor = tree.open(record.path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            return sha256(descriptor) == record.sha256
        finally:
            os.close(descriptor)
    except OSError:
        return False  # It cannot be read, or became something else this moment.


def read_link(tree: Tree, path: str) -> str:
    """Read a symbolic link of a tree; readlinkat(2) takes the descriptor of the link itself."""
    descriptor = tree.open(path, os.O_PATH | os.O_NOFOLLOW)
    try:
        return os.readlink("", dir_fd=descriptor)
    finally:
        os.close(descriptor)


def by_inhabitant(drift: Drift, manifest: Manifest) -> bool:
    """Tell whether the jail's own users could have made a difference, going by what was made: then it is data."""
    record = manifest.records.get(drift.path)
    folder = _folder_of(drift.path, manifest)
    if folder is not None and is_open(folder) and _may_replace(record, folder):
        return True
    if record is None or record.kind not in ("file", "directory"):
        return False
    if drift.difference in ("content", "unread"):
        return is_open(record)
    return drift.difference == "mode" and record.uid != 0


def _may_replace(record: Record | None, folder: Record) -> bool:
    """Tell whether who may write to a directory may take away what is there: not somebody else's in a sticky one."""
    return record is None or record.uid != 0 or folder.uid != 0 or not folder.mode & 0o1000


def _folder_of(path: str, manifest: Manifest) -> Record | None:
    """Give the record of the nearest directory above `path` that was made; None for the root and below files."""
    record = None
    while record is None and path != "/":
        path = dirname(path)
        record = manifest.records.get(path)
    return record if record is not None and record.kind == "directory" else None


def changed_source(source: str, record: Record, host: Host) -> str | None:
    """Say how the source of a record differs from what was copied.

    Its content decides, size and ctime only spare reading it.

    It is ctime and not mtime: whoever changes a file can set the one back, but not the other (inode(7)).
    """
    status = host.lstat(source)
    if status is None or not stat.S_ISREG(status.st_mode):
        return "is gone from the host"
    if (status.st_size, status.st_ctime_ns) == (record.source_size, record.source_ctime_ns):
        return None
    try:
        descriptor = os.open(host.real_path(source), os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            return None if sha256(descriptor) == record.sha256 else "has changed on the host since it was copied"
        finally:
            os.close(descriptor)
    except OSError as error:
        return f"cannot be read on the host: {error.strerror}"
