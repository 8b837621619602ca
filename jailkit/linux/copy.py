"""Copying the content of one open file into another, the cheapest way that the file systems allow."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator

FICLONE = 0x40049409  # linux/fs.h: _IOW(0x94, 9, int), see ioctl_ficlone(2)

# Not supported by this file system, between these two, or by this kernel: another way will do.
_NOT_HERE = {
    errno.EXDEV,
    errno.EINVAL,
    errno.EOPNOTSUPP,
    errno.ENOSYS,
    errno.ENOTTY,
    errno.EBADF,
    errno.EPERM,
}
_CHUNK = 1 << 20

# How a copy is opened: it is new, and nothing that somebody put in its place is written through.
NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def copy_content(source: int, copy: int, size: int) -> None:
    """Make the empty file `copy` equal to `source`: shared blocks if possible, else copied inside the kernel.

    `size` is what fstat(2) said of the source. One that grows meanwhile has no end, so no more than a byte beyond
    that is copied.

    Raises:
        OSError: reading or writing failed.
    """
    if size and not _clone(source, copy, size) and not _copy_in_kernel(source, copy, size):
        _copy_through_memory(source, copy, size)


def copy_and_hash(source: int, copy: int, size: int) -> str:
    """Do the same, and give the SHA-256 of what is in the copy.

    What is small goes through memory, where it is hashed on its way: that costs less than a copy inside the kernel
    and reading it all for the hash.

    Raises:
        OSError: reading or writing failed.
    """
    if not size or _clone(source, copy, size) or (size > _CHUNK and _copy_in_kernel(source, copy, size)):
        return sha256(copy)
    return _copy_through_memory(source, copy, size)


def _clone(source: int, copy: int, size: int) -> bool:
    try:
        fcntl.ioctl(copy, FICLONE, source)
    except OSError as error:
        if error.errno in _NOT_HERE:
            return False
        raise
    if os.fstat(copy).st_size > size:  # The source has grown, perhaps by a terabyte of holes.
        os.ftruncate(copy, size)
    return True


def _copy_in_kernel(source: int, copy: int, size: int) -> bool:
    """Tell whether it worked; if not, both files are at their beginning, and the copy is empty."""
    try:
        if all(_copy_extent(source, copy, start, end) for start, end in _extents(source, size)):
            os.ftruncate(copy, size)  # There may be a hole at the end.
            return True
    except OSError as error:
        if error.errno not in _NOT_HERE:
            raise
    os.lseek(source, 0, os.SEEK_SET)
    os.lseek(copy, 0, os.SEEK_SET)
    os.ftruncate(copy, 0)
    return False


def _extents(source: int, size: int) -> Iterator[tuple[int, int]]:
    """Give where a file has data (lseek(2)): a file of a few bytes may be a terabyte of holes."""
    start = 0
    while start < size:
        try:
            start = os.lseek(source, start, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return  # There are only holes from here.
            raise
        end = min(os.lseek(source, start, os.SEEK_HOLE), size)
        yield start, end
        start = end


def _copy_extent(source: int, copy: int, start: int, end: int) -> bool:
    while start < end:
        count = os.copy_file_range(source, copy, end - start, start, start)
        if count == 0:  # From a file that has some: procfs and the like.
            return False
        start += count
    return True


def _copy_through_memory(source: int, copy: int, size: int) -> str:
    digest = hashlib.sha256()
    room = size + 1  # The byte more shows that the source has grown.
    buffer = memoryview(bytearray(min(room, _CHUNK)))
    while room and (count := os.readv(source, [buffer[:room]])):
        room -= count
        left = buffer[:count]
        digest.update(left)
        while left:
            left = left[os.write(copy, left) :]
    return digest.hexdigest()


def sha256(descriptor: int) -> str:
    """Hash an open file from its beginning, in bounded memory, leaving its offset alone. Hexadecimal."""
    digest = hashlib.sha256()
    offset = 0
    while chunk := os.pread(descriptor, _CHUNK, offset):
        digest.update(chunk)
        offset += len(chunk)
    return digest.hexdigest()
