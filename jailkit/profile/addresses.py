"""Published ports and allowed destinations, as profiles write them. IPv4; pure functions.

A name is refused wherever an address is asked for: what it stands for is decided by a name server, anew each time, so
that nothing outside the jail could enforce it.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from jailkit.profile.refusal import Refusal, shown

Protocol = Literal["tcp", "udp"]

_OCTET = r"(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_ADDRESS = rf"{_OCTET}(\.{_OCTET}){{3}}"
_LENGTH = r"(3[0-2]|[12]?[0-9])"
_PORT = r"(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3})"
_PROTOCOL = r"(tcp|udp)"
PORT_PATTERN = rf"^({_ADDRESS}:)?{_PORT}:{_PORT}(/{_PROTOCOL})?$"
DESTINATION_PATTERN = rf"^{_ADDRESS}(/{_LENGTH})?(:{_PORT}(/{_PROTOCOL})?)?$"

LOOPBACK = "127.0.0.1"  # where a port is published without an address: nobody else's to reach until the profile says so
ANY = "0.0.0.0"  # noqa: S104 - every address of the host, if the profile says so

_BITS = 32


class Port(NamedTuple):
    """A port of the jail that is reached at an address and a port of the host."""

    address: str
    host_port: int
    port: int
    protocol: Protocol


class Destination(NamedTuple):
    """A network that the jail may reach, in CIDR form; all ports and protocols where these are None."""

    network: str
    port: int | None
    protocol: Protocol | None


def parse_port(value: object) -> Port:
    """Read `[ADDRESS:]HOST-PORT:PORT[/PROTOCOL]`. The address is 127.0.0.1 and the protocol tcp when absent."""
    if not isinstance(value, str) or not re.fullmatch(PORT_PATTERN, value):
        raise Refusal(f"expected a port such as 127.0.0.1:8080:80 or 5353:53/udp, got {shown(value)}")
    ports, _, protocol = value.partition("/")
    *address, host_port, port = ports.split(":")
    return Port(address[0] if address else LOOPBACK, int(host_port), int(port), _protocol(protocol))


def written_port(port: Port) -> str:
    """Write a port so that parse_port reads it again."""
    return f"{port.address}:{port.host_port}:{port.port}/{port.protocol}"


def parse_destination(value: object) -> Destination:
    """Read `ADDRESS[/LENGTH][:PORT[/PROTOCOL]]`; a port without a protocol is one of tcp."""
    if not isinstance(value, str) or not re.fullmatch(DESTINATION_PATTERN, value):
        raise Refusal(
            f"expected an address or a network such as 192.0.2.0/24 or 192.0.2.7:443, and no name, got {shown(value)}"
        )
    network, _, service = value.partition(":")
    port, _, protocol = service.partition("/")
    return Destination(_network(network), int(port) if port else None, _protocol(protocol) if port else None)


def written_destination(destination: Destination) -> str:
    """Write a destination so that parse_destination reads it again."""
    if destination.port is None:
        return destination.network
    return f"{destination.network}:{destination.port}/{destination.protocol}"


def _network(text: str) -> str:
    """Give an address or a network in CIDR form (RFC 4632)."""
    address, _, length = text.partition("/")
    bits = int(length) if length else _BITS
    octets = [int(octet) for octet in address.split(".")]
    mask = (1 << _BITS) - (1 << _BITS - bits)
    first = (int.from_bytes(octets) & mask).to_bytes(_BITS // 8)
    network = f"{'.'.join(map(str, first))}/{bits}"
    if bytes(octets) != first:
        raise Refusal(f"{shown(text)} is an address within a network, not the network's own", network)
    return network


def _protocol(text: str) -> Protocol:
    return "udp" if text == "udp" else "tcp"
