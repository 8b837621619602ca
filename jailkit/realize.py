"""Realizing a plan: file operations become a tree below a root, and a record of each path that was made."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from posixpath import basename
from typing import NamedTuple

from jailkit.errors import RealizeError
from jailkit.linux.copy import NEW, copy_and_hash, sha256
from jailkit.linux.paths import Parents, Tree
from jailkit.linux.shift import UNSHIFTED, Shift
from jailkit.linux.worker import Worker
from jailkit.loader_cache import write_loader_cache
from jailkit.manifest import Record
from jailkit.plan.hidden import BASE
from jailkit.plan.model import Copy, Device, Directory, Entry, Plan, Symlink, Text

Progress = Callable[[Record], None]  # told of each path that was made
_SOURCE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CAPABILITY = "security.capability"  # capabilities(7)
_MAX_SIZE = 64 << 30  # bytes; a file of a terabyte may be nothing but holes, and hashing those takes as long as data
_LARGE = 1 << 16  # bytes from which on a file's copying and hashing outweighs handing it to another thread


def realize(plan: Plan, root: str, progress: Progress = lambda _: None, shift: Shift = UNSHIFTED) -> list[Record]:
    """Apply a plan's entries to the new directory `root`; `shift` tells whose the files become.

    Raises:
        RealizeError: an operation failed; what was made so far stays for the caller to delete.
    """
    _make_root(root, shift)
    with Tree(root) as tree:
        records = []
        for record in _written(plan, root, tree, shift):
            records.append(record)
            progress(record)
        return records


def _written(plan: Plan, root: str, tree: Tree, shift: Shift) -> Iterator[Record]:
    """Make one path after the other; records of large files come when their copies are done."""
    yield Record("/", "directory", 0o755, 0, 0, BASE)
    with Tree("/") as host, closing(_Writer(tree, host, dict(plan.owners), shift)) as writer:
        for entry in plan.entries:
            record = writer.write(entry)
            if record is not None:
                yield record
            yield from writer.worker.results(wait=False)
        yield from writer.worker.results(wait=True)
    cache = write_loader_cache(root, tree, shift)
    if cache is not None:
        yield cache


def _make_root(root: str, shift: Shift) -> None:
    """Make the jail's / as the manifest says it is: whatever the umask, and the group that a parent hands down."""
    try:
        os.mkdir(root, 0o755)
        os.chown(root, *shift.owner(0, 0))
        os.chmod(root, 0o755)  # noqa: S103 - it is everybody's to enter
        _drop_acl(root)
    except OSError as error:
        raise RealizeError.because(f"cannot make {root}", error) from error


def _drop_acl(root: str) -> None:
    """Take away a default ACL that the parent directory handed down; everything below would inherit it (acl(5))."""
    for name in ("system.posix_acl_default", "system.posix_acl_access"):
        try:
            os.removexattr(root, name)
        except OSError as error:
            if error.errno not in (errno.ENODATA, errno.EOPNOTSUPP):
                raise


def _failed(entry: Entry, error: OSError) -> RealizeError:
    what = entry.source if isinstance(entry, Copy) else entry.path
    return RealizeError.because(f"cannot {_VERBS[type(entry)]} {what}", error)


_VERBS: Mapping[type[Entry], str] = {
    Copy: "copy",
    Directory: "make directory",
    Symlink: "make link",
    Device: "make device",
    Text: "write",
}


class _Writer:
    """Writes entries that come sorted, parents first. Sources are near each other, too, most of the time."""

    def __init__(self, tree: Tree, host: Tree, packages: Mapping[str, str], shift: Shift) -> None:
        self.packages = packages
        self.shift = shift
        self.parents = Parents(tree)
        self.sources = Parents(host)
        self.worker: Worker[Record] = Worker()

    def write(self, entry: Entry) -> Record | None:
        """Make one path; None for a large file, which the worker fills.

        Raises:
            RealizeError: it could not be made.
        """
        try:
            return self._write(entry, self.parents.of(entry.path), basename(entry.path))
        except OSError as error:
            raise _failed(entry, error) from error

    def _write(self, entry: Entry, parent: int, name: str) -> Record | None:
        match entry:
            case Directory():
                return self._write_directory(entry, parent, name)
            case Copy():
                return self._write_copy(entry, parent)
            case Text():
                return self._write_text(entry, parent, name)
            case Symlink():
                os.symlink(entry.target, name, dir_fd=parent)
                if self.shift != UNSHIFTED:
                    os.chown(name, *self.shift.owner(0, 0), dir_fd=parent, follow_symlinks=False)
                return Record(entry.path, "symlink", 0o777, 0, 0, entry.reason, target=entry.target)
            case Device():
                return self._write_device(entry, parent, name)

    def _write_directory(self, entry: Directory, parent: int, name: str) -> Record:
        os.mkdir(name, 0o700, dir_fd=parent)
        self._own(entry, parent, name)
        return Record(entry.path, "directory", entry.mode, entry.uid, entry.gid, entry.reason)

    def _write_device(self, entry: Device, parent: int, name: str) -> Record:
        os.mknod(name, stat.S_IFCHR | 0o600, os.makedev(entry.major, entry.minor), dir_fd=parent)
        self._own(entry, parent, name)
        number = (entry.major, entry.minor)
        return Record(entry.path, "device", entry.mode, entry.uid, entry.gid, entry.reason, device=number)

    def _own(self, entry: Directory | Device, parent: int, name: str) -> None:
        """Set owner, then mode: chown(2) may clear mode bits, and the umask does not count for chmod(2)."""
        os.chown(name, *self.shift.owner(entry.uid, entry.gid), dir_fd=parent, follow_symlinks=False)
        os.chmod(name, entry.mode, dir_fd=parent)

    def _write_text(self, entry: Text, parent: int, name: str) -> Record:
        descriptor = os.open(name, NEW, 0o600, dir_fd=parent)
        with open(descriptor, "wb") as file:
            content = entry.content.encode()
            file.write(content)
            file.flush()
            os.fchown(descriptor, *self.shift.owner(entry.uid, entry.gid))
            os.fchmod(descriptor, entry.mode)
            digest = sha256(descriptor)
        size = len(content)
        return Record(entry.path, "file", entry.mode, entry.uid, entry.gid, entry.reason, size=size, sha256=digest)

    def _write_copy(self, entry: Copy, parent: int) -> Record | None:
        package, owner = self.packages.get(entry.source), self.shift.owner(entry.uid, entry.gid)
        source = self._open_source(entry.source)
        try:
            copy = os.open(basename(entry.path), NEW, 0o600, dir_fd=parent)
        except OSError:
            os.close(source)
            raise
        copying = _Copying(entry, source, copy, os.fstat(source), package, owner)
        if copying.before.st_size >= _LARGE and self.worker.take(copying.run):
            return None
        return copying.run()

    def _open_source(self, path: str) -> int:
        """Open a file of the host. No planned path holds a link, but whoever owns a directory can put one there."""
        try:
            return os.open(basename(path), _SOURCE, dir_fd=self.sources.of(path))
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                raise
            raise OSError(
                errno.ESTALE, "a symbolic link has taken its place, or that of a directory above it"
            ) from error

    def close(self) -> None:
        """Close all directories, and dismiss the worker."""
        self.worker.close()
        self.parents.close()
        self.sources.close()


class _Copying(NamedTuple):
    """A copy that is open at both ends. `before` is what fstat(2) said of the source, `owner` whose it becomes."""

    entry: Copy
    source: int
    copy: int
    before: os.stat_result
    package: str | None
    owner: tuple[int, int]

    def run(self) -> Record:
        """Fill the copy, and close both.

        Raises:
            RealizeError: it could not be filled.
        """
        try:
            return _fill_copy(self)
        except OSError as error:
            raise _failed(self.entry, error) from error
        finally:
            os.close(self.copy)
            os.close(self.source)


def _fill_copy(copying: _Copying) -> Record:
    entry, source, copy, before, package, owner = copying
    if not stat.S_ISREG(before.st_mode):
        raise OSError(errno.ESTALE, "it is no longer a regular file")
    if before.st_size > _MAX_SIZE:
        raise RealizeError(
            f"cannot copy {entry.source}: it has {before.st_size} bytes, more than {_MAX_SIZE >> 30} GiB",
            resolution="take the file out of the profile: no jail needs one of that size, which may be all holes",
        )
    # What is hashed is the copy: the manifest tells what is there, not what should be.
    digest = copy_and_hash(source, copy, before.st_size)
    after, size = os.fstat(source), os.fstat(copy).st_size
    if size > before.st_size or (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise OSError(errno.ESTALE, "it changed while it was copied")
    os.fchown(copy, *owner)
    if entry.keep_privileges:
        _copy_capability(source, copy)
    os.fchmod(copy, entry.mode)
    os.utime(copy, ns=(before.st_atime_ns, before.st_mtime_ns))
    return Record(
        entry.path,
        "file",
        entry.mode,
        entry.uid,
        entry.gid,
        entry.reason,
        size=size,
        sha256=digest,
        source=entry.source,
        source_size=before.st_size,
        source_ctime_ns=before.st_ctime_ns,
        package=package,
        privileged=entry.keep_privileges,
    )


def _copy_capability(source: int, copy: int) -> None:
    try:
        os.setxattr(copy, _CAPABILITY, os.getxattr(source, _CAPABILITY))
    except OSError as error:
        if error.errno not in (errno.ENODATA, errno.EOPNOTSUPP):
            raise
