"""The kernel's names that a policy may compare an argument with, as x86, ARM and RISC-V have them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

CONSTANTS: Final[Mapping[str, int]] = MappingProxyType(
    {
        # asm-generic/fcntl.h
        "O_CREAT": 0o100,
        "__O_TMPFILE": 0o20000000,
        # asm-generic/ioctls.h
        "TIOCLINUX": 0x541C,
        "TIOCSETD": 0x5423,
        "TIOCSTI": 0x5412,
        # linux/net.h: what socketcall(2) multiplexes
        "SYS_SOCKET": 1,
        "SYS_SOCKETPAIR": 8,
        # linux/netlink.h
        "NETLINK_AUDIT": 9,
        # linux/sched.h
        "CLONE_NEWCGROUP": 0x02000000,
        "CLONE_NEWIPC": 0x08000000,
        "CLONE_NEWNET": 0x40000000,
        "CLONE_NEWNS": 0x00020000,
        "CLONE_NEWPID": 0x20000000,
        "CLONE_NEWTIME": 0x00000080,
        "CLONE_NEWUSER": 0x10000000,
        "CLONE_NEWUTS": 0x04000000,
        # linux/socket.h
        "AF_APPLETALK": 5,
        "AF_ATMPVC": 8,
        "AF_AX25": 3,
        "AF_BRIDGE": 7,
        "AF_DECnet": 12,
        "AF_IPX": 4,
        "AF_NETLINK": 16,
        "AF_NETROM": 6,
        "AF_PACKET": 17,
        "AF_ROSE": 11,
        "AF_X25": 9,
        # linux/stat.h
        "S_ISGID": 0o2000,
        "S_ISUID": 0o4000,
    }
)
