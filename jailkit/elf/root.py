"""Paths within a root directory, resolved as a process would see them that has it as its root."""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

from jailkit.linux.limits import MAX_LINKS

_COST: Final = 300  # bytes that one remembered path takes, roughly
_ABSENT: Final = frozenset((errno.ENOENT, errno.ENOTDIR, errno.EACCES))


class Root:
    """A directory taken as the root of all paths. What it held is remembered: this is a snapshot.

    Every component is looked at by itself and links are followed by hand, so that neither an absolute link nor
    `..` leads out. A process that changes the tree at the same time could still make one look-up miss.
    """

    def __init__(self, top: str) -> None:
        self.top = "" if top == "/" else os.path.realpath(top)
        self.weight = 0
        self._links: dict[str, str] = {}
        self._modes: dict[str, int | None] = {}
        self._reals: dict[str, str | None] = {}

    def on_host(self, path: str) -> str:
        """Give the path to open on this machine for a path that `real` gave."""
        return self.top + path

    def absolute(self, path: str) -> str:
        """Make a path absolute: from the caller's working directory, or from the root when it is another one."""
        if path.startswith("/"):
            return path
        return f"{self.working_directory().rstrip('/')}/{path}"

    def working_directory(self) -> str:
        """Give the directory that relative paths start from."""
        try:
            return "/" if self.top else os.getcwd()
        except OSError:  # it was deleted
            return "/"

    def real(self, path: str) -> str | None:
        """Follow every link of an absolute path. None when there is nothing, or the way to it is barred.

        Raises:
            OSError: ELOOP when the links do not end, ENAMETOOLONG, or an error of the disk.
        """
        if path not in self._reals:
            self._remember(path, self._find(path))
        return self._reals[path]

    def _remember(self, path: str, real: str | None) -> None:
        self._reals[path] = real
        self.weight += _COST + len(path)

    def _find(self, path: str) -> str | None:
        """Find a path by way of its directory, which is found once for all that are in it."""
        parent, _, name = path.rpartition("/")
        if not parent or name in ("", ".", ".."):
            return self._walk(path)
        if parent not in self._reals:
            self._remember(parent, self._walk(parent))
        folder = self._reals[parent]
        if folder is None or not stat.S_ISDIR(self._mode(folder) or 0):
            return None
        here = f"{folder.rstrip('/')}/{name}"
        mode = self._mode(here)
        if mode is None:
            return None
        return self._walk(path) if stat.S_ISLNK(mode) else here

    def is_directory(self, path: str) -> bool:
        """Tell whether an absolute path leads to a directory."""
        try:
            real = self.real(path)
        except OSError:
            return False
        return real is not None and stat.S_ISDIR(self._mode(real) or 0)

    def names(self, path: str) -> list[str]:
        """List a directory, sorted; nothing when it is none or cannot be read."""
        try:
            real = self.real(path)
            return sorted(os.listdir(self.on_host(real))) if real is not None else []
        except OSError:
            return []

    def _walk(self, path: str) -> str | None:
        done = ""
        todo = path.split("/")[::-1]
        followed = 0
        while todo:
            part = todo.pop()
            if part in ("", "."):
                continue
            if not stat.S_ISDIR(self._mode(done or "/") or 0):
                return None
            if part == "..":
                done = done.rpartition("/")[0]
                continue
            here = f"{done}/{part}"
            mode = self._mode(here)
            if mode is None:
                return None
            if not stat.S_ISLNK(mode):
                done = here
                continue
            followed += 1
            if followed > MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            target = self._links[here]
            if target.startswith("/"):
                done = ""
            todo.extend(target.split("/")[::-1])
        return done or "/"

    def _mode(self, path: str) -> int | None:
        """Give st_mode of a path whose parents are no links, and remember where it leads if it is one."""
        if path not in self._modes:
            self._modes[path] = self._look(path)
            self.weight += _COST + len(path)
        return self._modes[path]

    def _look(self, path: str) -> int | None:
        try:
            mode = os.lstat(self.top + path).st_mode
            if stat.S_ISLNK(mode):
                self._links[path] = os.readlink(self.top + path)
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise
        return mode
