"""Deleting a tree that its inhabitant may have made hostile."""

from __future__ import annotations

import contextlib
import os
import stat
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from jailkit.linux.paths import rename_noreplace

_SHOWN = 400  # characters of a path in a message; trees may be deeper than any path


def remove_tree(path: str, *, last: str = "") -> list[str]:
    """Delete the directory `path` and all below it, and give a line for each thing that would not go.

    The file `last` in it is kept until everything else is gone.

    No link is followed and no mount is crossed: before a directory is opened it is moved up beside the others, and
    a mount point can be neither renamed nor removed (EBUSY, rename(2), rmdir(2)), so it stays and is reported.
    Moving also means that a tree of any depth needs no recursion, no descriptor a level, no path above PATH_MAX.
    Nothing leaves the directory of `path` that it is in: a process that has its root there and stands in what is
    moved would else stand outside its root.

    Raises:
        OSError: `path` itself cannot be opened as a directory.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        removal = _Removal(descriptor)
        removal.empty(descriptor, besides=last)
        while removal.waiting:
            removal.remove_next(removal.clear)
        if not removal.failures:
            removal.finish(path, last)
    finally:
        os.close(descriptor)
    return removal.failures


@dataclass
class _Removal:
    """Directories that were moved up wait with the path that they had, for messages."""

    top: int
    failures: list[str] = field(default_factory=list)
    token: str = field(default_factory=lambda: os.urandom(8).hex())
    waiting: deque[tuple[str, str]] = field(default_factory=deque)

    def empty(self, directory: int, above: str = "", besides: str = "") -> None:
        """Unlink every file of a directory and move every directory in it below the top one."""
        for name in os.listdir(directory):
            if name == besides:
                continue
            path = f"{above}{name}"[-_SHOWN:]
            try:
                status = os.lstat(name, dir_fd=directory)
                if stat.S_ISDIR(status.st_mode):
                    self._lift(directory, name, status.st_ino, path)
                else:
                    os.unlink(name, dir_fd=directory)
            except OSError as error:
                self.failures.append(f"{path}: {error.strerror}")

    def _lift(self, directory: int, name: str, inode: int, path: str) -> None:
        # An inode number is unique below one mount, and nobody inside can guess the token.
        lifted = f".{self.token}.{inode}"
        rename_noreplace(name, lifted, src_dir_fd=directory, dst_dir_fd=self.top)
        self.waiting.append((lifted, path))

    def clear(self, directory: int, above: str) -> None:
        """Delete all that is in a directory, which takes the place of the top one for what is in it."""
        inner = _Removal(directory, self.failures)
        inner.empty(directory, above)
        while inner.waiting:
            inner.remove_next(inner.empty)

    def remove_next(self, make_empty: Callable[[int, str], None]) -> None:
        """Empty and remove one directory that was moved up."""
        name, path = self.waiting.popleft()
        failed = len(self.failures)
        try:
            directory = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.top)
            try:
                make_empty(directory, f"{path}/")
            finally:
                os.close(directory)
            if len(self.failures) == failed:
                os.rmdir(name, dir_fd=self.top)
        except OSError as error:
            self.failures.append(f"{path}: {error.strerror}")

    def finish(self, path: str, last: str) -> None:
        """Remove what is left: the file `last` and the top directory."""
        try:
            if last:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(last, dir_fd=self.top)
            os.rmdir(path)
        except OSError as error:
            self.failures.append(f"{path}: {error.strerror}")
