"""Carrying what a jail changed itself from its old tree into its new one."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from posixpath import basename, dirname

from jailkit.lifecycle.drift import Drift, by_inhabitant, drifts, read_link
from jailkit.linux.copy import NEW, copy_content
from jailkit.linux.paths import Tree
from jailkit.linux.shift import UNSHIFTED, Shift
from jailkit.linux.walk import status_of, walk_tree
from jailkit.manifest import Manifest
from jailkit.plan.hidden import LD_SO_CACHE

_SPECIAL = stat.S_ISUID | stat.S_ISGID
# What stands in the way of a directory: a file, a link, or a path that grew too long.
_NO_FOLDER = (errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)


@dataclass(slots=True)
class Carried:
    """What became of the paths that differed from the old manifest; each list is sorted.

    Attributes:
        kept: carried over as the jail had them.
        replaced: what had been altered or deleted and is as planned again.
        dropped: path and reason for what cannot live in the new tree.
    """

    kept: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    dropped: list[tuple[str, str]] = field(default_factory=list)


def carry(old: Tree, new: Tree, manifest: Manifest, *, by_root: bool, shift: Shift = UNSHIFTED) -> Carried:
    """Copy every path that the jail added or changed since `manifest` was written; `shift` is that of both trees.

    An altered copy of a host file, directory or device that the jail's user could not have changed is damage, not
    data, so it is not kept. A text or a link of the profile's is: whoever changed it on the host meant to.
    With `by_root` the jail's user is uid 0 and could change everything.
    Devices, sockets and FIFOs are dropped; setuid and setgid are taken away.

    Raises:
        OSError: the new tree could not be written.
    """
    result = Carried()
    found = list(drifts(old, manifest, shift))
    result.dropped += [(drift.path, drift.message) for drift in found if drift.difference == "unread"]
    damaged = {drift.path for drift in found if not by_root and not by_inhabitant(drift, manifest)}
    for drift in _in_order(drift for drift in found if drift.difference != "unread"):
        record = manifest.records.get(drift.path)
        if drift.path in ("/", LD_SO_CACHE):
            continue
        if drift.status is None:
            result.replaced += [drift.path] if _is_there(new, drift.path) else []
            continue
        if record is not None and drift.path in damaged and (record.source or record.kind in ("directory", "device")):
            result.replaced.append(drift.path)
            continue
        reason = _carry_one(old, new, drift.path, drift.status)
        if reason is None:
            result.kept.append(drift.path)
        else:
            result.dropped.append((drift.path, reason))
    return result


def _is_there(tree: Tree, path: str) -> bool:
    try:
        os.close(tree.open(path, os.O_PATH | os.O_NOFOLLOW))
    except OSError:
        return False
    return True


def _in_order(found: Iterable[Drift]) -> list[Drift]:
    """Give one drift a path, parents before children."""
    return list({drift.path: drift for drift in sorted(found, key=lambda drift: drift.path.split("/"))}.values())


def carry_folder(old: Tree, new: Tree, folder: str) -> None:
    """Copy a directory and all below it to the same place of another tree, apart from what `carry` would drop.

    Raises:
        OSError: there is none, or the new tree could not be written.
    """
    _carry_one(old, new, folder, status_of(old, folder))
    for path, status, unread in walk_tree(old, folder):
        if unread is None:
            _carry_one(old, new, path, status)


def _carry_one(old: Tree, new: Tree, path: str, status: os.stat_result) -> str | None:
    """Carry one path; give the reason when that is impossible."""
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode) or stat.S_ISLNK(status.st_mode)):
        return "neither a file, a directory nor a link"
    try:
        parent = _folder(old, new, dirname(path))
    except OSError as error:
        if error.errno not in _NO_FOLDER:
            raise
        return f"its directory cannot be in the new tree: {error.strerror}"
    try:
        return _put(old, path, status, parent)
    finally:
        os.close(parent)


def _folder(old: Tree, new: Tree, path: str) -> int:
    """Open a directory of the new tree. One that the new plan no longer has is made as it was, for the data in it."""
    try:
        return new.open(path, os.O_PATH | os.O_DIRECTORY)
    except FileNotFoundError:
        before = old.open(path, os.O_PATH | os.O_DIRECTORY)
    try:
        above = _folder(old, new, dirname(path))
        try:
            os.mkdir(basename(path), 0o700, dir_fd=above)
            _own(above, basename(path), os.fstat(before))
        finally:
            os.close(above)
    finally:
        os.close(before)
    return new.open(path, os.O_PATH | os.O_DIRECTORY)


def _put(old: Tree, path: str, status: os.stat_result, parent: int) -> str | None:
    """Make in `parent` what the old tree has at `path`. What its inhabitant made unreadable stops nothing else."""
    name, target = basename(path), ""
    with contextlib.ExitStack() as opened:
        try:
            if stat.S_ISLNK(status.st_mode):
                target = read_link(old, path)
            elif stat.S_ISREG(status.st_mode):
                source = old.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
                opened.callback(os.close, source)
        except OSError as error:
            return f"it cannot be read: {error.strerror}"
        if not _make_room(parent, name, status):
            return "the new tree has something else there"
        if stat.S_ISLNK(status.st_mode):
            os.symlink(target, name, dir_fd=parent)
        elif stat.S_ISREG(status.st_mode):
            _copy_file(source, parent, name)
    _own(parent, name, status)
    return None


def _make_room(parent: int, name: str, status: os.stat_result) -> bool:
    """Delete the new tree's file where the jail's own one goes, or make the directory that is to be there."""
    if stat.S_ISDIR(status.st_mode):
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            return stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode)
        return True
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        pass
    except (IsADirectoryError, PermissionError):
        return False
    return True


def _copy_file(source: int, parent: int, name: str) -> None:
    copy = os.open(name, NEW, 0o600, dir_fd=parent)
    try:
        status = os.fstat(source)
        copy_content(source, copy, status.st_size)
        os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns))
    finally:
        os.close(copy)


def _own(parent: int, name: str, status: os.stat_result) -> None:
    os.chown(name, status.st_uid, status.st_gid, dir_fd=parent, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        special = 0 if stat.S_ISDIR(status.st_mode) else _SPECIAL
        os.chmod(name, stat.S_IMODE(status.st_mode) & ~special, dir_fd=parent)
