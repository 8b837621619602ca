"""The programs that version 2 of cgroups asks about devices, where version 1 has a list (cgroup-v2.rst of Linux)."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import Final

from jailkit.linux.libc import check, syscall

# linux/bpf.h
_BPF_CGROUP_DEVICE: Final = 6
_BPF_PROG_QUERY: Final = 16
_QUERY: Final = struct.Struct("=4IQI4x")  # target_fd, attach_type, query_flags, attach_flags, prog_ids, prog_cnt

# The kernel's syscall tables, by the machine of uname(2).
_SYS_BPF: Final = {
    "x86_64": 321, "aarch64": 280, "riscv64": 280, "loongarch64": 280, "ppc64le": 361, "s390x": 351, "armv7l": 386,
    "i686": 357,
}.get(os.uname().machine)  # fmt: skip


def device_programs(group: str) -> int:
    """Count the programs of a group itself that decide on devices.

    Raises:
        OSError: there is no such group, or this process may not ask (bpf(2)); ENOSYS where the number of the call is
            not known here.
    """
    if _SYS_BPF is None:
        raise OSError(errno.ENOSYS, "bpf: not known on this architecture")
    folder = os.open(group, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        query = ctypes.create_string_buffer(_QUERY.pack(folder, _BPF_CGROUP_DEVICE, 0, 0, 0, 0), _QUERY.size)
        call, command, size = ctypes.c_long(_SYS_BPF), ctypes.c_int(_BPF_PROG_QUERY), ctypes.c_uint(_QUERY.size)
        check(syscall(call, command, query, size), "bpf", group)
    finally:
        os.close(folder)
    count: int = _QUERY.unpack(query.raw)[-1]
    return count
