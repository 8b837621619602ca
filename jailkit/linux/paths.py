"""Paths confined to a directory tree by a descriptor, and renames that never replace by accident."""

from __future__ import annotations

import errno
import os
from posixpath import dirname
from types import TracebackType
from typing import Final

from jailkit.linux.libc import (
    AT_FDCWD,
    RENAME_EXCHANGE,
    RENAME_NOREPLACE,
    RESOLVE_BENEATH,
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    openat2,
    renameat2,
)

_ATTEMPTS: Final = 64


class Tree:
    """A directory tree addressed by a descriptor; no path given to it leads outside.

    Paths are absolute in the tree or relative to its root; both mean the same, and "/" is the root itself.
    `fd` is an O_PATH descriptor: good for `dir_fd=`, fstat and fchdir, not for reading the directory.
    """

    def __init__(self, path: str) -> None:
        # O_NOFOLLOW: a jail's tree that somebody replaced by a link is no tree of a jail.
        self.fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)

    def __enter__(self) -> Tree:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the descriptor back; a second call does nothing."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def open(self, path: str, flags: int, mode: int = 0) -> int:
        """Open a path that no symbolic link is part of, the last component included.

        `mode` counts only with O_CREAT or O_TMPFILE and must be 0 otherwise; the umask applies to it.

        Raises:
            OSError: ELOOP for a symbolic link anywhere (with O_PATH | O_NOFOLLOW a last one is opened
                itself), EXDEV for `..` that climbs above the root, and whatever open(2) gives.
        """
        return self._open(path, flags, mode, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS)

    def open_inside(self, path: str, flags: int, mode: int = 0) -> int:
        """Open a path with its links resolved as a process chrooted to the tree would (openat2(2)).

        Raises:
            OSError: ELOOP for a magic link such as those of /proc/PID/fd, and whatever open(2) gives.
        """
        return self._open(path, flags, mode, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)

    def _open(self, path: str, flags: int, mode: int, resolve: int) -> int:
        for _ in range(_ATTEMPTS):
            try:
                return openat2(self.fd, path.lstrip("/") or ".", flags, mode, resolve)
            except BlockingIOError:
                # EAGAIN: a rename or mount somewhere ran while `..` was resolved, so the kernel cannot
                # vouch for the result (openat2(2)).
                continue
        raise BlockingIOError(errno.EAGAIN, "openat2: the tree keeps changing", path)


class Parents:
    """The directories above the path that was asked for last, kept open: for paths that come sorted."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._open: list[tuple[str, int]] = []

    def of(self, path: str) -> int:
        """Give an O_PATH descriptor of the directory that an absolute path is in, good until the next call.

        Raises:
            OSError: as Tree.open: ELOOP when one of the directories is a symbolic link.
        """
        folder = dirname(path)
        self._leave(folder)
        if not self._open or self._open[-1][0] != folder:
            self._open.append((folder, self._tree.open(folder, os.O_PATH | os.O_DIRECTORY)))
        return self._open[-1][1]

    def _leave(self, folder: str) -> None:
        """Close the open directories that are not `folder` or above it."""
        while self._open and not (folder.rstrip("/") + "/").startswith(self._open[-1][0].rstrip("/") + "/"):
            os.close(self._open.pop()[1])

    def close(self) -> None:
        """Close all of them."""
        while self._open:
            os.close(self._open.pop()[1])


def rename_noreplace(src: str, dst: str, *, src_dir_fd: int = AT_FDCWD, dst_dir_fd: int = AT_FDCWD) -> None:
    """Rename, failing with FileExistsError when `dst` is there already, whatever it is."""
    renameat2(src_dir_fd, src, dst_dir_fd, dst, RENAME_NOREPLACE)


def rename_exchange(src: str, dst: str, *, src_dir_fd: int = AT_FDCWD, dst_dir_fd: int = AT_FDCWD) -> None:
    """Swap two existing paths in one step, so that nobody ever finds either of them missing."""
    renameat2(src_dir_fd, src, dst_dir_fd, dst, RENAME_EXCHANGE)
