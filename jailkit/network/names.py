"""What jailkit's own things in the host's network are called: the one place for it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Final

BRIDGE: Final = "jailkit0"

# Marks a bridge as ours. Unlike an alias the hardware address is there from the link's first moment, so that no kill
# leaves an unmarked bridge; and a bridge that has one does not change it with its ports. Locally administered.
MARK: Final = "02:6a:61:69:6c:6b"

TABLE: Final = "jailkit"  # of nftables, in the families inet and bridge

# A bridge of Linux has at most 1024 ports (BR_MAX_PORTS, net/bridge/br_private.h): a /22 has addresses for all of them.
SUBNETS: Final = tuple(
    IPv4Network(text)
    for text in ("10.213.0.0/22", "10.87.64.0/22", "172.29.212.0/22", "172.22.88.0/22", "192.168.212.0/22")
)

INTERFACE: Final = "eth0"  # the jail's side
LOOPBACK: Final = IPv4Network("127.0.0.0/8")
ANY_ADDRESS: Final = "0.0.0.0"  # noqa: S104 - a published port's way to say all addresses of the host

RUN: Final = "/run/jailkit"
LOCK: Final = f"{RUN}/network.lock"


def port_name(address: IPv4Address) -> str:
    """Name the host's side of a jail's link. One name an address: what is left of either tells the other."""
    return f"jk{int(address):08x}"


def port_address(name: str) -> IPv4Address | None:
    """Undo `port_name`; None for any other name."""
    digits = name.removeprefix("jk")
    if len(digits) != 8 or name == digits or set(digits) - set("0123456789abcdef"):
        return None
    return IPv4Address(int(digits, 16))


def jail_hardware(address: IPv4Address) -> str:
    """Give the hardware address of a jail: 02:6a, locally administered, and its IPv4 address."""
    return ":".join(f"{byte:02x}" for byte in b"\x02\x6a" + address.packed)
