"""Switches of the network below /proc/sys/net, those of the namespace that this thread is in.

Documented in the kernel's Documentation/networking/ip-sysctl.rst.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Final

from jailkit.network.links import doing
from jailkit.network.names import BRIDGE, INTERFACE

_ROOT: Final = "/proc/sys/net"


def read(name: str) -> str | None:
    """Read a switch; None where the kernel or the interface has none of that name."""
    try:
        with open(f"{_ROOT}/{name}", encoding="ascii") as file:
            return file.read().strip()
    except FileNotFoundError:
        return None


def write(name: str, value: int) -> None:
    """Set a switch. One that is not there, as all of ipv6 where the kernel has none, is left alone.

    Raises:
        BackendError: the kernel refuses.
    """
    with (
        doing(f"set net/{name} to {value}"),
        contextlib.suppress(FileNotFoundError),
        open(f"{_ROOT}/{name}", "wb", buffering=0) as file,
    ):
        file.write(str(value).encode())


def no_ipv6(interface: str) -> None:
    """Let an interface have no IPv6, not even an address of its own link."""
    write(f"ipv6/conf/{interface}/disable_ipv6", 1)


def prepare_bridge() -> None:
    """Let the bridge forward packets of its jails, which each need an answer to come back this way."""
    no_ipv6(BRIDGE)
    write(f"ipv4/conf/{BRIDGE}/send_redirects", 0)
    write(f"ipv4/conf/{BRIDGE}/forwarding", 1)


def let_loopback_through() -> None:
    """Let the host's connections to 127.0.0.1 go out by the bridge; the chain `guard` lets none of a jail's in."""
    write(f"ipv4/conf/{BRIDGE}/route_localnet", 1)


def prepare_jail() -> None:
    """Switch IPv6 off in a jail, and let nobody talk it out of its only route."""
    for interface in ("all", "default"):
        no_ipv6(interface)
    for interface in ("all", INTERFACE):
        write(f"ipv4/conf/{interface}/accept_redirects", 0)


def forwards_everywhere() -> bool:
    """Tell whether somebody made the host a router on all interfaces."""
    return read("ipv4/ip_forward") == "1"


def not_forwarding(interfaces: Iterable[str]) -> list[str]:
    """Give those interfaces that forward nothing that comes in by them."""
    return [name for name in interfaces if read(f"ipv4/conf/{name}/forwarding") == "0"]


def set_forwarding(interfaces: Iterable[str], value: int) -> None:
    """Make interfaces forward what comes in by them, or not."""
    for name in interfaces:
        write(f"ipv4/conf/{name}/forwarding", value)
