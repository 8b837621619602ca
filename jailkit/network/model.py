"""What a jail asks of the bridge, and what it has got, as plain data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from jailkit.errors import StateError
from jailkit.network.names import ANY_ADDRESS, LOOPBACK, SUBNETS
from jailkit.plan.settings import Destination, Port


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """What a living jail asks of the bridge.

    Attributes:
        jail: the id under which it is attached; no two living network namespaces share one. At most 128 bytes.
        ports: the jail's ports that the host publishes.
        allow: where the jail may connect to; None is everywhere but to other jails and the host.
    """

    jail: str
    ports: tuple[Port, ...] = ()
    allow: tuple[Destination, ...] | None = None


@dataclass(frozen=True, slots=True)
class Attachment:
    """What the kernel says of an attached jail. `interface` is the host's side of its link."""

    jail: str
    address: IPv4Address
    interface: str
    ports: tuple[Port, ...]


def choose_subnet(taken: Iterable[IPv4Network]) -> IPv4Network:
    """Choose the first subnet that overlaps no network of the host's addresses and routes.

    Raises:
        StateError: all of them do.
    """
    networks = [network for network in taken if network.prefixlen]  # The default route covers everything.
    for subnet in SUBNETS:
        if not any(subnet.overlaps(network) for network in networks):
            return subnet
    raise StateError(
        "cannot make the bridge for jails: the host has routes into each of its subnets",
        details=[str(subnet) for subnet in SUBNETS],
        resolution="remove one of those routes, or use `network: none` or `host` in the profile",
    )


def lowest_free(subnet: IPv4Network, used: Iterable[IPv4Address]) -> IPv4Address:
    """Give the lowest address for a jail; the first one of the subnet is the bridge's own.

    Raises:
        StateError: all are in use.
    """
    busy = {*used, gateway(subnet)}
    for address in subnet.hosts():
        if address not in busy:
            return address
    raise StateError(
        f"cannot give the jail an address: all {subnet.num_addresses - 3} of {subnet} are in use",
        resolution="stop a jail that has `network: bridge`",
    )


def gateway(subnet: IPv4Network) -> IPv4Address:
    """Give the bridge's own address."""
    return subnet[1]


def is_ours(address: IPv4Address) -> bool:
    """Tell whether an address is in one of our subnets."""
    return any(address in subnet for subnet in SUBNETS)


def subnet_of(address: IPv4Address) -> IPv4Network:
    """Give the subnet of ours in which an address is."""
    return next(subnet for subnet in SUBNETS if address in subnet)


def on_loopback(port: Port) -> bool:
    """Tell whether a port is published at 127/8, alone or with all other addresses."""
    return port.address == ANY_ADDRESS or IPv4Address(port.address) in LOOPBACK


def check_ports(spec: NetworkSpec, published: Iterable[tuple[str, Port]]) -> None:
    """Refuse a port that another jail has published already; `published` has the jail's id beside each.

    Raises:
        StateError: the same port and protocol at the same address, or at all addresses.
    """
    for jail, other in published:
        for port in spec.ports:
            if jail != spec.jail and _clash(port, other):
                raise StateError(
                    f"cannot publish {show_port(port)} of jail {spec.jail}: jail {jail} has published it",
                    resolution=f"stop jail {jail}, or change one of the two profiles",
                )


def _clash(one: Port, other: Port) -> bool:
    if (one.host_port, one.protocol) != (other.host_port, other.protocol):
        return False
    return one.address == other.address or ANY_ADDRESS in (one.address, other.address)


def show_port(port: Port) -> str:
    """Show where a port is published: `127.0.0.1:8080/tcp`."""
    return f"{port.address}:{port.host_port}/{port.protocol}"
