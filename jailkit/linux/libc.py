"""System calls that Python lacks, in kernel spelling; a failure is an OSError of operation and object."""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Any, Final

# linux/bpf_common.h
_BPF_MAXINSNS: Final = 4096

# linux/capability.h
LINUX_CAPABILITY_VERSION_3: Final = 0x20080522

# linux/fcntl.h
AT_FDCWD: Final = -100

# linux/fs.h
RENAME_EXCHANGE: Final = 1 << 1
RENAME_NOREPLACE: Final = 1 << 0

# linux/keyctl.h
KEYCTL_JOIN_SESSION_KEYRING: Final = 1

# linux/openat2.h
RESOLVE_BENEATH: Final = 0x08
RESOLVE_IN_ROOT: Final = 0x10
RESOLVE_NO_MAGICLINKS: Final = 0x02
RESOLVE_NO_SYMLINKS: Final = 0x04

# linux/prctl.h
PR_CAPBSET_DROP: Final = 24
PR_CAP_AMBIENT: Final = 47
PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
PR_CAP_AMBIENT_RAISE: Final = 2
PR_SET_CHILD_SUBREAPER: Final = 36
PR_SET_DUMPABLE: Final = 4
PR_SET_KEEPCAPS: Final = 8
PR_SET_NO_NEW_PRIVS: Final = 38
PR_SET_PDEATHSIG: Final = 1
PR_SET_SECCOMP: Final = 22

# linux/sched.h
CLONE_NEWCGROUP: Final = 0x02000000
CLONE_NEWIPC: Final = 0x08000000
CLONE_NEWNET: Final = 0x40000000
CLONE_NEWNS: Final = 0x00020000
CLONE_NEWPID: Final = 0x20000000
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWUTS: Final = 0x04000000
CLONE_PARENT: Final = 0x00008000

# linux/seccomp.h
SECCOMP_MODE_FILTER: Final = 2

# signal.h of glibc and musl: a sigset_t has 1024 bits.
ALL_SIGNALS: Final = b"\xff" * 128
NO_SIGNALS: Final = bytes(128)
_SIG_SETMASK: Final = 2

# Numbers of calls that no libc of today wraps; from 424 on they are the same on every architecture of ours.
_SYS_CLOSE_RANGE: Final = 436
_SYS_OPENAT2: Final = 437

# Older ones differ by architecture: the kernel's syscall tables, by the machine of uname(2).
_SYS_CLONE: Final = {
    "x86_64": 56, "aarch64": 220, "riscv64": 220, "loongarch64": 220, "ppc64le": 120, "s390x": 120, "armv7l": 120,
    "i686": 120,
}.get(os.uname().machine)  # fmt: skip
_SYS_KEYCTL: Final = {
    "x86_64": 250, "aarch64": 219, "riscv64": 219, "loongarch64": 219, "ppc64le": 271, "s390x": 280, "armv7l": 311,
    "i686": 288,
}.get(os.uname().machine)  # fmt: skip


class _OpenHow(ctypes.Structure):
    """`struct open_how` of openat2(2)."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


class _SockFprog(ctypes.Structure):
    """`struct sock_fprog` of seccomp(2)."""

    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_char_p))


class SeccompFilter:
    """A program for `seccomp_set_mode_filter`, laid out as the kernel wants it.

    It is made before a fork, so that the child has nothing left to do but the call.

    Args:
        bpf: an array of `struct sock_filter`, 8 bytes each (linux/filter.h).

    Raises:
        OSError: EINVAL, when the bytes cannot be such an array.
    """

    __slots__ = ("_program", "address", "bpf")

    def __init__(self, bpf: bytes) -> None:
        if not bpf or len(bpf) % 8 or len(bpf) // 8 > _BPF_MAXINSNS:
            raise OSError(errno.EINVAL, f"seccomp: {len(bpf)} bytes are no program")
        self.bpf = bpf  # Kept alive: the structure has but a pointer.
        self._program = _SockFprog(len(bpf) // 8, bpf)
        self.address: int = ctypes.addressof(self._program)


class _CapHeader(ctypes.Structure):
    """`struct __user_cap_header_struct` of capset(2)."""

    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapData(ctypes.Structure):
    """`struct __user_cap_data_struct` of capset(2); version 3 takes two, the low 32 bits first."""

    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


_libc = ctypes.CDLL(None, use_errno=True)
_ulong = ctypes.c_ulong


def bind(name: str, *argtypes: Any) -> Any:  # noqa: ANN401 - ctypes has no public name for these types
    """Give a function of libc that takes such arguments and returns an int."""
    function = _libc[name]
    function.argtypes = argtypes
    return function


syscall = _libc["syscall"]  # variadic: every caller below gives each argument its C type
syscall.restype = ctypes.c_long
# The same, but the interpreter's lock is kept during the call.
_syscall_locked = ctypes.PyDLL(None, use_errno=True)["syscall"]
_syscall_locked.restype = ctypes.c_long
_renameat2 = bind("renameat2", ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
_sethostname = bind("sethostname", ctypes.c_char_p, ctypes.c_size_t)
_setns = bind("setns", ctypes.c_int, ctypes.c_int)
_socket = bind("socket", ctypes.c_int, ctypes.c_int, ctypes.c_int)
_unshare = bind("unshare", ctypes.c_int)
_prctl = bind("prctl", ctypes.c_int, _ulong, _ulong, _ulong, _ulong)
_pthread_sigmask = bind("pthread_sigmask", ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p)
_signal = bind("signal", ctypes.c_int, ctypes.c_void_p)
_signal.restype = ctypes.c_void_p
_capset = bind("capset", ctypes.POINTER(_CapHeader), ctypes.POINTER(_CapData * 2))


def check(result: int, operation: str, thing: object = None) -> int:
    """Turn the -1 of a failed call into an OSError with the call's name and object."""
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{operation}: {os.strerror(number)}", thing)
    return result


def openat2(dir_fd: int, path: str, flags: int, mode: int, resolve: int) -> int:
    """Open `path` below `dir_fd` by the rules of `resolve`; the descriptor is close-on-exec (openat2(2))."""
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    result = syscall(
        ctypes.c_long(_SYS_OPENAT2),
        ctypes.c_int(dir_fd),
        os.fsencode(path),
        ctypes.byref(how),
        ctypes.c_size_t(ctypes.sizeof(how)),
    )
    return check(result, "openat2", path)


def renameat2(src_dir_fd: int, src: str, dst_dir_fd: int, dst: str, flags: int) -> None:
    """Rename with RENAME_NOREPLACE or RENAME_EXCHANGE (renameat2(2))."""
    check(_renameat2(src_dir_fd, os.fsencode(src), dst_dir_fd, os.fsencode(dst), flags), "renameat2", dst)


def close_range(first: int, last: int) -> None:
    """Close every descriptor from `first` to `last`, both included (close_range(2), Linux 5.9)."""
    result = syscall(ctypes.c_long(_SYS_CLOSE_RANGE), ctypes.c_uint(first), ctypes.c_uint(last), ctypes.c_int(0))
    check(result, "close_range", f"{first}-{last}")


def clone_sibling() -> int:
    """Fork a child of this process's own parent, which waits for it as for any other (CLONE_PARENT of clone(2)).

    Only for a process that has one thread, and whose child does little more than execve(2): libc and Python know
    nothing of this fork. The interpreter's lock is kept, because in the child nobody could give it back.

    Raises:
        OSError: ENOSYS where the number of the call is not known here.
    """
    if _SYS_CLONE is None:
        raise OSError(errno.ENOSYS, "clone: not known on this architecture")
    flags, nothing = ctypes.c_ulong(CLONE_PARENT), ctypes.c_ulong(0)
    # s390x takes the stack first; no stack means a copy of this one, as with fork(2).
    first = (nothing, flags) if os.uname().machine == "s390x" else (flags, nothing)
    return check(_syscall_locked(ctypes.c_long(_SYS_CLONE), *first, nothing, nothing, nothing), "clone")


def prctl(option: int, arg2: int = 0, arg3: int = 0) -> int:
    """Set or ask an attribute of the calling thread (prctl(2))."""
    return check(_prctl(option, arg2, arg3, 0, 0), "prctl")


def join_session_keyring() -> None:
    """Give the calling thread a new session keyring with nothing in it (keyctl_join_session_keyring(3)).

    Raises:
        OSError: ENOSYS where the kernel has no keys, or the number of the call is not known here.
    """
    if _SYS_KEYCTL is None:
        raise OSError(errno.ENOSYS, "keyctl: not known on this architecture")
    result = syscall(ctypes.c_long(_SYS_KEYCTL), ctypes.c_int(KEYCTL_JOIN_SESSION_KEYRING), ctypes.c_char_p(None))
    check(result, "keyctl")


def seccomp_set_mode_filter(program: SeccompFilter) -> None:
    """Filter the system calls of the calling thread and of all that it starts, for ever (seccomp(2)).

    By prctl(2), which libc has by name, while the number of seccomp(2) differs by architecture.

    Raises:
        OSError: EACCES without no_new_privs and without CAP_SYS_ADMIN; EINVAL for a program that the kernel refuses.
    """
    check(_prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program.address, 0, 0), "seccomp")


def set_signal_mask(mask: bytes) -> bytes:
    """Set the signal mask of this thread, a `sigset_t`, and give the one before (pthread_sigmask(3)).

    Unlike the function of the `signal` module this runs no handlers of Python.
    """
    before = ctypes.create_string_buffer(len(NO_SIGNALS))
    _pthread_sigmask(_SIG_SETMASK, mask, before)  # Fails for a wrong first argument only.
    return before.raw


def default_signal(number: int) -> None:
    """Give a signal its default disposition; those that cannot be changed stay (signal(2))."""
    _signal(number, None)


def capset(effective: int, permitted: int, inheritable: int) -> None:
    """Set the calling thread's three capability sets from bit masks (capset(2))."""
    sets = (effective, permitted, inheritable)
    data = (_CapData * 2)(_CapData(*(s & 0xFFFFFFFF for s in sets)), _CapData(*(s >> 32 for s in sets)))
    check(_capset(_CapHeader(LINUX_CAPABILITY_VERSION_3, 0), data), "capset")


def unshare(flags: int) -> None:
    """Leave the namespaces that the CLONE_NEW* `flags` name, and enter new ones (unshare(2))."""
    check(_unshare(flags), "unshare", f"flags {flags:#x}")


def sethostname(name: str) -> None:
    """Set the name of this UTS namespace (sethostname(2))."""
    text = os.fsencode(name)
    check(_sethostname(text, len(text)), "sethostname", name)


def socket(domain: int, kind: int) -> int:
    """Make a socket, close-on-exec, without the cost of Python's module (socket(2))."""
    return check(_socket(domain, kind | os.O_CLOEXEC, 0), "socket")


def setns(descriptor: int, flags: int) -> None:
    """Enter the namespaces that `flags` name of a process, by its pidfd, or the one of a file in /proc (setns(2))."""
    check(_setns(descriptor, flags), "setns", f"flags {flags:#x}")
