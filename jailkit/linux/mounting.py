"""System calls about mounts that Python lacks, in kernel spelling; a failure is an OSError of operation and object."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Mapping
from typing import Final

from jailkit.linux.libc import bind, check, syscall

# linux/fcntl.h
AT_EMPTY_PATH: Final = 0x1000
AT_RECURSIVE: Final = 0x8000

# linux/mount.h
FSCONFIG_CMD_CREATE: Final = 6
FSCONFIG_SET_FLAG: Final = 0
FSCONFIG_SET_STRING: Final = 1
FSMOUNT_CLOEXEC: Final = 0x1
FSOPEN_CLOEXEC: Final = 0x1
MNT_DETACH: Final = 0x2
MOUNT_ATTR_IDMAP: Final = 0x00100000
MOUNT_ATTR_NODEV: Final = 0x4
MOUNT_ATTR_NOEXEC: Final = 0x8
MOUNT_ATTR_NOSUID: Final = 0x2
MOUNT_ATTR_RDONLY: Final = 0x1
MOVE_MOUNT_F_EMPTY_PATH: Final = 0x4
MOVE_MOUNT_T_EMPTY_PATH: Final = 0x40
MS_BIND: Final = 1 << 12
MS_NODEV: Final = 1 << 2
MS_NOEXEC: Final = 1 << 3
MS_NOSUID: Final = 1 << 1
MS_PRIVATE: Final = 1 << 18
MS_RDONLY: Final = 1 << 0
MS_REC: Final = 1 << 14
OPEN_TREE_CLOEXEC: Final = os.O_CLOEXEC
OPEN_TREE_CLONE: Final = 0x1

# Numbers of calls, the same on every architecture of ours.
_SYS_FSCONFIG: Final = 431
_SYS_FSMOUNT: Final = 432
_SYS_FSOPEN: Final = 430
_SYS_MOUNT_SETATTR: Final = 442
_SYS_MOVE_MOUNT: Final = 429
_SYS_OPEN_TREE: Final = 428

# An older one differs by architecture: the kernel's syscall tables, by the machine of uname(2).
_SYS_PIVOT_ROOT: Final = {
    "x86_64": 155, "aarch64": 41, "riscv64": 41, "loongarch64": 41, "ppc64le": 203, "s390x": 217, "armv7l": 218,
    "i686": 217,
}.get(os.uname().machine)  # fmt: skip


class _MountAttr(ctypes.Structure):
    """`struct mount_attr` of mount_setattr(2)."""

    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


_mount = bind("mount", ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
_umount2 = bind("umount2", ctypes.c_char_p, ctypes.c_int)


def mount(source: str, target: str, kind: str, flags: int, data: str | None = None) -> None:
    """Mount, or change how a mount propagates (mount(2)); `kind` is the type of file system."""
    options = None if data is None else os.fsencode(data)
    check(_mount(os.fsencode(source), os.fsencode(target), os.fsencode(kind), flags, options), "mount", target)


def umount2(target: str, flags: int) -> None:
    """Take a mount away (umount2(2))."""
    check(_umount2(os.fsencode(target), flags), "umount2", target)


def pivot_root(new_root: str, put_old: str) -> None:
    """Make another mount the root of this mount namespace (pivot_root(2)).

    Raises:
        OSError: ENOSYS also where the number of the call is not known here.
    """
    if _SYS_PIVOT_ROOT is None:
        raise OSError(errno.ENOSYS, "pivot_root: not known on this architecture")
    paths = (os.fsencode(new_root), os.fsencode(put_old))
    check(syscall(ctypes.c_long(_SYS_PIVOT_ROOT), *map(ctypes.c_char_p, paths)), "pivot_root", new_root)


def open_tree(dir_fd: int, path: str, flags: int) -> int:
    """Open a mount, or with OPEN_TREE_CLONE a detached copy of one (open_tree(2)); close-on-exec."""
    flags |= OPEN_TREE_CLOEXEC
    result = syscall(ctypes.c_long(_SYS_OPEN_TREE), ctypes.c_int(dir_fd), os.fsencode(path), ctypes.c_uint(flags))
    return check(result, "open_tree", path)


def move_mount(from_fd: int, to_fd: int, to_path: str, flags: int) -> None:
    """Attach the mount of a descriptor (move_mount(2)); with an empty `to_path`, to the place of `to_fd`."""
    flags |= MOVE_MOUNT_F_EMPTY_PATH | (0 if to_path else MOVE_MOUNT_T_EMPTY_PATH)
    result = syscall(
        ctypes.c_long(_SYS_MOVE_MOUNT),
        ctypes.c_int(from_fd),
        b"",
        ctypes.c_int(to_fd),
        os.fsencode(to_path),
        ctypes.c_uint(flags),
    )
    check(result, "move_mount", to_path or None)


def mount_setattr(descriptor: int, attributes: int, flags: int = 0, userns_fd: int = 0, propagation: int = 0) -> None:
    """Add MOUNT_ATTR_* to the mount of a descriptor; AT_RECURSIVE takes those below too (mount_setattr(2)).

    `propagation` is MS_PRIVATE, or 0 to leave it as it is.
    """
    attr = _MountAttr(attr_set=attributes, propagation=propagation, userns_fd=userns_fd)
    result = syscall(
        ctypes.c_long(_SYS_MOUNT_SETATTR),
        ctypes.c_int(descriptor),
        b"",
        ctypes.c_uint(flags | AT_EMPTY_PATH),
        ctypes.byref(attr),
        ctypes.c_size_t(ctypes.sizeof(attr)),
    )
    check(result, "mount_setattr")


def new_mount(kind: str, options: Mapping[str, str], attributes: int) -> int:
    """Make a file system and give a descriptor of its detached mount (fsopen(2), fsconfig(2), fsmount(2)).

    An option whose value is empty is a flag.
    """
    context = check(syscall(ctypes.c_long(_SYS_FSOPEN), os.fsencode(kind), ctypes.c_uint(FSOPEN_CLOEXEC)), "fsopen")
    try:
        for name, value in options.items():
            command, text = (FSCONFIG_SET_STRING, os.fsencode(value)) if value else (FSCONFIG_SET_FLAG, None)
            _fsconfig(context, command, name, text)
        _fsconfig(context, FSCONFIG_CMD_CREATE, None, None)
        result = syscall(
            ctypes.c_long(_SYS_FSMOUNT),
            ctypes.c_int(context),
            ctypes.c_uint(FSMOUNT_CLOEXEC),
            ctypes.c_uint(attributes),
        )
        return check(result, "fsmount", kind)
    finally:
        os.close(context)


def _fsconfig(context: int, command: int, name: str | None, value: bytes | None) -> None:
    key = None if name is None else os.fsencode(name)
    result = syscall(
        ctypes.c_long(_SYS_FSCONFIG),
        ctypes.c_int(context),
        ctypes.c_uint(command),
        ctypes.c_char_p(key),
        ctypes.c_char_p(value),
        ctypes.c_int(0),
    )
    check(result, "fsconfig", name)
