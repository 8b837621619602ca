"""Links, addresses and routes of the network namespace that this thread is in, by rtnetlink(7)."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import TYPE_CHECKING, Any, Self

from jailkit.errors import BackendError, JailkitError
from jailkit.network.names import BRIDGE, INTERFACE, MARK, jail_hardware, port_name

if TYPE_CHECKING:
    from pyroute2.netlink import nlmsg


@dataclass(frozen=True, slots=True)
class Link:
    """An interface. `master` is the index of the bridge whose port it is, 0 for none."""

    index: int
    name: str
    hardware: str
    kind: str
    master: int
    alias: str


class Links:
    """A netlink socket; what fails is a BackendError that says what was tried."""

    def __init__(self) -> None:
        self._kernel: Any = None

    def __enter__(self) -> Self:
        try:
            from pyroute2 import IPRoute
        except ImportError as error:
            raise BackendError(
                "cannot use `network: bridge`: the Python library pyroute2 is not installed",
                resolution="sudo apt install python3-pyroute2, or pip install pyroute2",
            ) from error
        with doing("open a netlink socket"):
            self._kernel = IPRoute()
        return self

    def __exit__(self, *_: object) -> None:
        self._kernel.close()

    def all(self) -> list[Link]:
        """List the interfaces."""
        with doing("list network interfaces"):
            return [_link(message) for message in self._kernel.get_links()]

    def named(self, name: str) -> Link | None:
        """Find an interface."""
        found: list[Link] = []
        with doing(f"find {name}", already=errno.ENODEV):
            found = [_link(message) for message in self._kernel.link("get", ifname=name)]
        return found[0] if found else None

    def require(self, name: str) -> Link:
        """Find an interface that must be there.

        Raises:
            BackendError: it is not.
        """
        with doing(f"find {name}"):
            link = self.named(name)
            if link is None:
                raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
            return link

    def addresses(self) -> list[tuple[int, IPv4Interface]]:
        """List the IPv4 addresses, each with the index of its interface."""
        with doing("list addresses"):
            return [
                (message["index"], IPv4Interface((message.get_attr("IFA_LOCAL"), message["prefixlen"])))
                for message in self._kernel.get_addr(family=2)
            ]

    def routed(self) -> list[IPv4Network]:
        """List the IPv4 networks that routes of any table lead to, the default ones aside."""
        with doing("list routes"):
            routes = [
                (message.get_attr("RTA_DST"), message["dst_len"]) for message in self._kernel.get_routes(family=2)
            ]
        return [IPv4Network((address, length)) for address, length in routes if address is not None]

    def add_bridge(self) -> Link:
        """Make the bridge, marked as ours."""
        with doing(f"make the bridge {BRIDGE}"):
            self._kernel.link("add", ifname=BRIDGE, kind="bridge", address=MARK)
        return self.require(BRIDGE)

    def add_address(self, link: Link, address: IPv4Interface) -> None:
        """Give an interface an address."""
        with doing(f"give {link.name} the address {address}"):
            self._kernel.addr("add", index=link.index, address=str(address.ip), prefixlen=address.network.prefixlen)

    def set_up(self, link: Link, alias: str | None = None) -> None:
        """Set an interface up; the alias is what `ip link` shows with it."""
        with doing(f"set {link.name} up"):
            self._kernel.link("set", index=link.index, state="up", **({} if alias is None else {"ifalias": alias}))

    def add_port(self, bridge: Link, address: IPv4Address, namespace: int) -> Link:
        """Make a pair of links in one step: a port of the bridge here, and INTERFACE in another network namespace.

        Both are down. The port may get back what it sent: a jail may use a port of its own that the host publishes.
        """
        name = port_name(address)
        peer = {"ifname": INTERFACE, "net_ns_fd": namespace, "address": jail_hardware(address)}
        with doing(f"make the link {name} of the jail's {INTERFACE}"):
            self._kernel.link("add", ifname=name, kind="veth", master=bridge.index, peer=peer)
            link = self.require(name)
            self._kernel.link("set", index=link.index, kind="bridge_slave", mode=1)  # hairpin of bridge(8)
        return link

    def add_routes(self, link: Link, gateway: IPv4Address) -> None:
        """Send everything to `gateway`, which is a neighbour although no network of the interface says so."""
        with doing(f"make the default route by {gateway}"):
            self._kernel.route("add", dst=f"{gateway}/32", oif=link.index, scope=253)  # RT_SCOPE_LINK
            self._kernel.route("add", dst="0.0.0.0/0", gateway=str(gateway), oif=link.index)

    def remove(self, link: Link) -> None:
        """Delete an interface; one that is gone is no error."""
        with doing(f"delete {link.name}", already=errno.ENODEV):
            self._kernel.link("del", index=link.index)


def _link(message: nlmsg) -> Link:
    return Link(
        index=message["index"],
        name=message.get_attr("IFLA_IFNAME"),
        hardware=message.get_attr("IFLA_ADDRESS") or "",
        kind=message.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND") or "",
        master=message.get_attr("IFLA_MASTER") or 0,
        alias=message.get_attr("IFLA_IFALIAS") or "",
    )


@contextlib.contextmanager
def doing(what: str, *, already: int | None = None) -> Iterator[None]:
    """Turn a refusal of the kernel into "cannot WHAT: why"; the errno `already` says that nothing was left to do.

    Raises:
        BackendError: an OSError, or the error of pyroute2, which is none.
    """
    try:
        yield
    except JailkitError:
        raise
    except Exception as error:
        number = error.errno if isinstance(error, OSError) else getattr(error, "code", None)
        if not isinstance(number, int):
            raise
        if number != already:
            why = (error.strerror if isinstance(error, OSError) else None) or os.strerror(number)
            raise BackendError(f"cannot {what}: {why}", resolution=_REMEDIES.get(number)) from error


_REMEDIES = {
    errno.EPERM: "run as root",
    errno.EACCES: "run as root",
    errno.EOPNOTSUPP: "a kernel with bridge and veth: sudo modprobe bridge veth",
    errno.EROFS: "run where /proc/sys is writable",
    errno.EXFULL: "stop a jail that has `network: bridge`: a bridge has room for 1023",
}
