"""What putting a view together takes of the kernel: made at once here, or recorded by a Recorder and made later."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from typing import Final, Protocol

from jailkit.linux import libc, mounting

# EINVAL says that a file system cannot map ids, EPERM that somebody else has mapped them already (mount_setattr(2)).
CANNOT_MAP: Final = (errno.EINVAL, errno.EPERM)


class Calls(Protocol):
    """Calls by the names that they have in libc, mounting and os, and two that are several."""

    def open_tree(self, dir_fd: int, path: str, flags: int, /) -> int:
        """As mounting.open_tree."""

    def move_mount(self, from_fd: int, to_fd: int, to_path: str, flags: int, /) -> None:
        """As mounting.move_mount."""

    def move_mount_if_there(self, from_fd: int, to_fd: int, to_path: str, /) -> None:
        """As mounting.move_mount, but nothing where there is no such path."""

    def mount_setattr(
        self, descriptor: int, attributes: int, flags: int = 0, userns_fd: int = 0, propagation: int = 0, /
    ) -> None:
        """As mounting.mount_setattr."""

    def map_ids(self, tree: int, userns_fd: int, source: str, /) -> None:
        """Map the ids of all files below a tree, which came from `source`: EOPNOTSUPP where that cannot be."""

    def new_mount(self, kind: str, options: Mapping[str, str], attributes: int, /) -> int:
        """As mounting.new_mount."""

    def open_place(self, root: int, path: str, /) -> int:
        """Open where a path of a tree leads, links followed within it, for what is to be attached there."""

    def pivot_root(self, new_root: str, put_old: str, /) -> None:
        """As mounting.pivot_root."""

    def umount2(self, target: str, flags: int, /) -> None:
        """As mounting.umount2."""

    def close(self, descriptor: int, /) -> None:
        """As os.close."""

    def fchdir(self, descriptor: int, /) -> None:
        """As os.fchdir."""

    def chdir(self, path: str, /) -> None:
        """As os.chdir."""

    def create(self, dir_fd: int, name: str, /) -> None:
        """Make an empty file, or fail where there is one."""

    def mkdir(self, dir_fd: int, path: str, /) -> None:
        """As os.mkdir."""

    def symlink(self, target: str, dir_fd: int, name: str, /) -> None:
        """As os.symlink."""

    def give(self, path: str, owner: tuple[int, int], mode: int, /) -> None:
        """As os.chown and os.chmod."""


class AtOnce:
    """Makes each call when it is told to. Raises OSError, as the functions of which it is made."""

    open_tree = staticmethod(mounting.open_tree)
    move_mount = staticmethod(mounting.move_mount)
    mount_setattr = staticmethod(mounting.mount_setattr)
    new_mount = staticmethod(mounting.new_mount)
    pivot_root = staticmethod(mounting.pivot_root)
    umount2 = staticmethod(mounting.umount2)
    close = staticmethod(os.close)
    fchdir = staticmethod(os.fchdir)
    chdir = staticmethod(os.chdir)

    def map_ids(self, tree: int, userns_fd: int, source: str, /) -> None:
        """As the protocol has it."""
        try:
            mounting.mount_setattr(tree, mounting.MOUNT_ATTR_IDMAP, mounting.AT_RECURSIVE, userns_fd)
        except OSError as error:
            number = errno.EOPNOTSUPP if error.errno in CANNOT_MAP else error.errno
            raise OSError(number, os.strerror(number or errno.EIO), source) from error

    def open_place(self, root: int, path: str, /) -> int:
        """As the protocol has it."""
        return libc.openat2(root, path, os.O_PATH, 0, libc.RESOLVE_IN_ROOT)

    def move_mount_if_there(self, from_fd: int, to_fd: int, to_path: str, /) -> None:
        """As the protocol has it."""
        try:
            mounting.move_mount(from_fd, to_fd, to_path, 0)
        except FileNotFoundError:
            return

    def create(self, dir_fd: int, name: str, /) -> None:
        """As the protocol has it."""
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, dir_fd=dir_fd))

    def mkdir(self, dir_fd: int, path: str, /) -> None:
        """As the protocol has it."""
        os.mkdir(path, dir_fd=dir_fd if dir_fd != libc.AT_FDCWD else None)

    def symlink(self, target: str, dir_fd: int, name: str, /) -> None:
        """As the protocol has it."""
        os.symlink(target, name, dir_fd=dir_fd)

    def give(self, path: str, owner: tuple[int, int], mode: int, /) -> None:
        """As the protocol has it."""
        os.chown(path, *owner)
        os.chmod(path, mode)
