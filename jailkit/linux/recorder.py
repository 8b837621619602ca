"""Recording system calls for a script, by functions named as those that make them at once."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from jailkit.linux.calls import CANNOT_MAP
from jailkit.linux.libc import AT_FDCWD, RESOLVE_IN_ROOT
from jailkit.linux.mounting import (
    AT_EMPTY_PATH,
    AT_RECURSIVE,
    FSCONFIG_CMD_CREATE,
    FSCONFIG_SET_FLAG,
    FSCONFIG_SET_STRING,
    FSMOUNT_CLOEXEC,
    FSOPEN_CLOEXEC,
    MOUNT_ATTR_IDMAP,
    MOVE_MOUNT_F_EMPTY_PATH,
    MOVE_MOUNT_T_EMPTY_PATH,
    OPEN_TREE_CLOEXEC,
)
from jailkit.linux.script import ANY, Argument, Line

LAST: Final = 0xFFFFFFFF  # descriptor of close_range(2)


class Recorder:
    """A script that grows.

    Descriptors are known before there are any: the kernel gives the lowest that is free (open(2)), and the script
    demands that it does.

    Args:
        inherited: how many descriptors, from 0 on, are open when the script begins; others are closed first.
    """

    def __init__(self, inherited: int) -> None:
        self.lines: list[Line] = []
        self._open = set(range(inherited))
        self._step = "close what was inherited"
        self._tolerated: tuple[int, ...] = ()
        self.call("close_range", inherited, LAST, 0)

    @contextmanager
    def step(self, name: str, *, tolerated: Iterable[int] = ()) -> Iterator[None]:
        """Say what the calls in this block are for, as the end of "cannot ...", and which errors are no matter."""
        before = self._step, self._tolerated
        self._step, self._tolerated = name, tuple(tolerated)
        try:
            yield
        finally:
            self._step, self._tolerated = before

    def call(self, name: str, *arguments: Argument, thing: str = "", gives: tuple[int, int] = ANY) -> None:
        """Record any call."""
        self.lines.append(Line(self._step, name, arguments, thing, gives, self._tolerated))

    def tolerating(self, errors: tuple[int, ...], name: str, *arguments: Argument) -> None:
        """Record a call of which some errors are no matter."""
        with self.step(self._step, tolerated=errors):
            self.call(name, *arguments)

    def opening(self, name: str, *arguments: Argument, thing: str = "") -> int:
        """Record a call that gives a descriptor, and give that."""
        descriptor = next(number for number in range(len(self._open) + 1) if number not in self._open)
        self._open.add(descriptor)
        with self.step(self._step):  # No error is any matter here: the numbers of the next ones depend on it.
            self.call(name, *arguments, thing=thing, gives=(descriptor, descriptor))
        return descriptor

    def close(self, descriptor: int) -> None:
        """As os.close."""
        self._open.discard(descriptor)
        self.call("close", descriptor)

    def open_tree(self, dir_fd: int, path: str, flags: int) -> int:
        """As mounting.open_tree."""
        return self.opening("open_tree", dir_fd, _text(path), flags | OPEN_TREE_CLOEXEC, thing=path)

    def move_mount(self, from_fd: int, to_fd: int, to_path: str, flags: int) -> None:
        """As mounting.move_mount."""
        flags |= MOVE_MOUNT_F_EMPTY_PATH | (0 if to_path else MOVE_MOUNT_T_EMPTY_PATH)
        self.call("move_mount", from_fd, b"\0", to_fd, _text(to_path), flags, thing=to_path)

    def move_mount_if_there(self, from_fd: int, to_fd: int, to_path: str) -> None:
        """As the protocol has it."""
        with self.step(self._step, tolerated=(errno.ENOENT,)):
            self.move_mount(from_fd, to_fd, to_path, 0)

    def mount_setattr(
        self, descriptor: int, attributes: int, flags: int = 0, userns_fd: int = 0, propagation: int = 0
    ) -> None:
        """As mounting.mount_setattr."""
        attr = struct.pack("<4Q", attributes, 0, propagation, userns_fd)
        self.call("mount_setattr", descriptor, b"\0", flags | AT_EMPTY_PATH, attr, len(attr))

    def map_ids(self, tree: int, userns_fd: int, source: str) -> None:
        """As the protocol has it."""
        self.mount_setattr(tree, MOUNT_ATTR_IDMAP, AT_RECURSIVE, userns_fd)
        self.lines[-1] = self.lines[-1]._replace(thing=source, unsupported=CANNOT_MAP)

    def new_mount(self, kind: str, options: Mapping[str, str], attributes: int) -> int:
        """As mounting.new_mount."""
        context = self.opening("fsopen", _text(kind), FSOPEN_CLOEXEC, thing=kind)
        for name, value in options.items():
            command = FSCONFIG_SET_STRING if value else FSCONFIG_SET_FLAG
            self.call("fsconfig", context, command, _text(name), _text(value) if value else 0, 0, thing=name)
        self.call("fsconfig", context, FSCONFIG_CMD_CREATE, 0, 0, 0, thing=kind)
        made = self.opening("fsmount", context, FSMOUNT_CLOEXEC, attributes, thing=kind)
        self.close(context)
        return made

    def open_place(self, root: int, path: str) -> int:
        """As the protocol has it."""
        how = struct.pack("<3Q", os.O_PATH | os.O_CLOEXEC, 0, RESOLVE_IN_ROOT)
        return self.opening("openat2", root, _text(path), how, len(how), thing=path)

    def pivot_root(self, new_root: str, put_old: str) -> None:
        """As mounting.pivot_root."""
        self.call("pivot_root", _text(new_root), _text(put_old), thing=new_root)

    def umount2(self, target: str, flags: int) -> None:
        """As mounting.umount2."""
        self.call("umount2", _text(target), flags, thing=target)

    def fchdir(self, descriptor: int) -> None:
        """As os.fchdir."""
        self.call("fchdir", descriptor)

    def chdir(self, path: str) -> None:
        """As os.chdir."""
        self.call("chdir", _text(path), thing=path)

    def create(self, dir_fd: int, name: str) -> None:
        """Make an empty file."""
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
        self.close(self.opening("openat", dir_fd, _text(name), flags, 0o777, thing=name))

    def mkdir(self, dir_fd: int, name: str) -> None:
        """As os.mkdir."""
        self.call("mkdirat", dir_fd, _text(name), 0o777, thing=name)

    def symlink(self, target: str, dir_fd: int, name: str) -> None:
        """As os.symlink."""
        self.call("symlinkat", _text(target), dir_fd, _text(name), thing=name)

    def give(self, path: str, owner: tuple[int, int], mode: int) -> None:
        """As os.chown and os.chmod."""
        self.call("fchownat", AT_FDCWD, _text(path), *owner, 0, thing=path)
        self.call("fchmodat", AT_FDCWD, _text(path), mode, thing=path)


def _text(path: str) -> bytes:
    return os.fsencode(path) + b"\0"
