"""The bridge, by what gets through: real sockets in network namespaces that stand for the host, the world and jails."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

import pytest
from support.networks import (
    HOST,
    OTHER,
    SILENCE,
    WORLD,
    Namespace,
    ask,
    ip,
    make_world,
    on_a_host,
    output,
    serve,
    switch,
)

from jailkit.network import NetworkSpec, attach, detach
from jailkit.plan.settings import Destination, Port

pytestmark = pytest.mark.needs("root", "nft", "veth")

GATEWAY = "10.213.0.1"
REFUSED = "EHOSTUNREACH"  # What an application sees of ICMP's "administratively prohibited".
CLOSED = "ECONNREFUSED"  # Nobody listens there.


def jail(name: str = "box-1", *ports: Port, allow: tuple[Destination, ...] | None = None) -> tuple[Namespace, str]:
    """Start what stands for a jail, with a server on port 80 of both kinds, and connect it."""
    namespace = Namespace()
    attached = attach(NetworkSpec(name, ports, allow), namespace.pid)
    for kind in ("tcp", "udp"):
        namespace.serve(80, kind)
    return namespace, str(attached.address)


@pytest.mark.parametrize("through_iptables", [0, 1])
@pytest.mark.parametrize("kind", ["tcp", "udp"])
@on_a_host
def test_a_jail_reaches_the_world_by_the_address_of_the_host(kind: str, through_iptables: int) -> None:
    # Where br_netfilter is loaded, the hooks of inet see frames of bridges as well.
    switch("bridge/bridge-nf-call-iptables", through_iptables)
    world = make_world()
    world.serve(443, kind)
    box, _ = jail()
    assert box.ask(WORLD, 443, kind) == HOST


@pytest.mark.parametrize("through_iptables", [0, 1])
@pytest.mark.parametrize("address", ["0.0.0.0", HOST])
@pytest.mark.parametrize("kind", ["tcp", "udp"])
@on_a_host
def test_the_world_reaches_a_published_port(kind: str, address: str, through_iptables: int) -> None:
    switch("bridge/bridge-nf-call-iptables", through_iptables)
    world = make_world()
    jail("box-1", Port(address, 8080, 80, kind))  # type: ignore[arg-type]
    assert world.ask(HOST, 8080, kind) == WORLD
    assert ask(HOST, 8080, kind) == HOST
    if kind == "tcp":
        assert world.ask(HOST, 8081) == CLOSED


@pytest.mark.parametrize("through_iptables", [0, 1])
@pytest.mark.parametrize("address", ["0.0.0.0", "127.0.0.1"])
@pytest.mark.parametrize("kind", ["tcp", "udp"])
@on_a_host
def test_the_host_reaches_a_port_published_on_loopback(kind: str, address: str, through_iptables: int) -> None:
    switch("bridge/bridge-nf-call-iptables", through_iptables)
    jail("box-1", Port(address, 8080, 80, kind))  # type: ignore[arg-type]
    assert ask("127.0.0.1", 8080, kind) == GATEWAY


@on_a_host
def test_a_port_published_on_loopback_is_not_there_for_the_world() -> None:
    world = make_world()
    box, _ = jail("box-1", Port("127.0.0.1", 8080, 80, "tcp"))
    assert world.ask(HOST, 8080) == CLOSED
    world.run(lambda: _send_loopback_to(HOST))
    assert world.ask("127.0.0.1", 8080, source=WORLD) == SILENCE
    assert box.ask(HOST, 8080) == REFUSED
    assert ask("127.0.0.1", 8080) == GATEWAY


def _send_loopback_to(gateway: str) -> None:
    """Be a malicious neighbour: send what is for 127.0.0.1 to somebody else."""
    switch("ipv4/conf/all/route_localnet", 1)
    ip("address flush dev lo")
    ip(f"route add 127.0.0.1 via {gateway} dev eth0")


@on_a_host
def test_the_allow_list_holds() -> None:
    world = make_world()
    world.run(lambda: ip(f"address add {OTHER}/24 dev eth0"))
    everywhere = [(address, port, kind) for kind in ("tcp", "udp") for address in (WORLD, OTHER) for port in (443, 444)]
    for address, port, kind in everywhere:
        world.serve(port, kind, address)
    everything, _ = jail("box-0")
    nothing, _ = jail("box-1", allow=())
    network, _ = jail("box-2", allow=(Destination(f"{OTHER}/32", None, None),))
    ports, _ = jail("box-3", allow=(Destination("198.51.100.0/25", 443, "tcp"), Destination(f"{WORLD}/32", 444, "udp")))

    def reached(box: Namespace) -> list[tuple[str, int, str]]:
        return [place for place in everywhere if box.ask(*place) == HOST]

    assert reached(everything) == everywhere
    assert reached(nothing) == []
    assert reached(network) == [place for place in everywhere if place[0] == OTHER]
    assert reached(ports) == [(WORLD, 443, "tcp"), (OTHER, 443, "tcp"), (WORLD, 444, "udp")]
    assert nothing.ask(WORLD, 443) == REFUSED


@on_a_host
def test_a_jail_that_may_reach_nothing_still_answers_on_its_published_port() -> None:
    world = make_world()
    jail("box-1", Port(HOST, 8080, 80, "tcp"), allow=())
    assert world.ask(HOST, 8080) == WORLD


@on_a_host
def test_a_jail_reaches_no_service_of_the_host() -> None:
    make_world()
    box, _ = jail("box-1", Port("127.0.0.1", 8080, 80, "tcp"))
    for kind in ("tcp", "udp"):
        serve(9000, kind)
        for address in (GATEWAY, HOST):
            assert ask(address, 9000, kind) == address
            assert box.ask(address, 9000, kind) == REFUSED


@on_a_host
def test_a_jail_does_not_reach_loopback_of_the_host_by_the_bridge() -> None:
    serve(9000, address="127.0.0.1")
    box, address = jail("box-1", Port("127.0.0.1", 8080, 80, "tcp"))
    assert switch("ipv4/conf/jailkit0/route_localnet") == "1"
    box.run(lambda: _send_loopback_to(GATEWAY))
    assert box.ask("127.0.0.1", 9000, source=address) == SILENCE
    # The rule for that, not the one that keeps jails from all services of the host.
    assert "packets 0" not in _rule("guard")
    assert ask("127.0.0.1", 9000) == "127.0.0.1"


def _rule(chain: str) -> str:
    listing = output("nft", "list", "chain", "inet", "jailkit", chain)
    return next(line for line in listing.splitlines() if "counter" in line)


@pytest.mark.parametrize("through_iptables", [0, 1])
@on_a_host
def test_jails_reach_only_published_ports_of_each_other(through_iptables: int) -> None:
    switch("bridge/bridge-nf-call-iptables", through_iptables)
    make_world()
    one, _ = jail("box-1")
    two, address = jail("box-2", Port(HOST, 8080, 80, "tcp"))
    picky, _ = jail("box-3", allow=(Destination(f"{HOST}/32", 8080, "tcp"),))
    nothing, _ = jail("box-4", allow=())
    assert ask(address, 80) == GATEWAY
    assert one.ask(address, 80) == SILENCE
    for box in (one, two):  # As neighbours, past the host.
        box.run(lambda: ip("route add 10.213.0.0/22 dev eth0"))
    assert one.ask(address, 80) == SILENCE  # Nobody answers when it asks for the neighbour's hardware address.
    for box in (one, two):
        box.run(lambda: ip("route del 10.213.0.0/22 dev eth0"))
    assert [box.ask(HOST, 8080) for box in (one, two, picky)] == [GATEWAY] * 3
    assert nothing.ask(HOST, 8080) in (SILENCE, REFUSED)


@on_a_host
def test_a_jail_speaks_for_itself_alone() -> None:
    world = make_world()
    world.serve(443, "udp")
    destination = Destination(f"{WORLD}/32", None, None)
    box, address = jail("box-1", allow=(destination,))
    _, other = jail("box-2")
    box.run(lambda: ip(f"address add {other}/32 dev eth0"))
    assert box.ask(WORLD, 443, "udp", source=address) == HOST
    arrived = world.run(_datagrams)
    assert box.ask(WORLD, 443, "udp", source=other) == SILENCE
    assert world.run(_datagrams) == arrived
    assert ask(other, 80) == GATEWAY
    box.run(lambda: ip("link set eth0 address 02:00:00:00:00:09"))
    box.run(lambda: ip("neigh replace 10.213.0.1 lladdr 02:6a:61:69:6c:6b dev eth0"))
    assert box.ask(WORLD, 443, "udp", source=address) == SILENCE
    assert world.run(_datagrams) == arrived


def _datagrams() -> int:
    """Count those that came in, to a socket or none."""
    _, line = (line.split() for line in Path("/proc/self/net/snmp").read_text().splitlines() if line.startswith("Udp:"))
    return int(line[1]) + int(line[2])  # InDatagrams, NoPorts


@on_a_host
def test_a_jail_does_not_draw_to_itself_what_is_for_another() -> None:
    box, _ = jail()
    other, address = jail("box-2")
    claim = [socket.inet_aton(address), bytes(6), socket.inet_aton(GATEWAY)]
    assert ask(address, 80) == GATEWAY
    box.run(lambda: _send_arp(*claim))
    assert "02:6a:0a:d5:00:03" in output("ip", "neigh", "show", address)
    other.kill()
    ip("neigh flush dev jailkit0")
    box.run(lambda: _send_arp(*claim))
    assert "lladdr" not in output("ip", "neigh", "show", address)


def _send_arp(*addresses: bytes) -> None:
    """Say to the host, from the jail's own hardware address, that somebody else's IPv4 address is here (RFC 826)."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind(("eth0", 0x0806))
        own = wire.getsockname()[4]
        request = b"".join([struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1), own, *addresses])
        wire.send(bytes([255] * 6) + own + struct.pack("!H", 0x0806) + request)


@on_a_host
def test_a_jail_has_no_ipv6_and_the_bridge_takes_none() -> None:
    box, _ = jail()
    assert box.run(lambda: [switch(f"ipv6/conf/{name}/disable_ipv6") for name in ("all", "eth0", "lo")]) == ["1"] * 3
    assert switch("ipv6/conf/jailkit0/disable_ipv6") == "1"
    assert switch("ipv6/conf/jk0ad50002/disable_ipv6") == "1"


@pytest.mark.parametrize("routing", [0, 1])
@on_a_host
def test_the_world_reaches_no_jail_but_by_published_ports(routing: int) -> None:
    switch("ipv4/ip_forward", routing)
    world = make_world()
    _, address = jail()
    world.run(lambda: ip(f"route add 10.213.0.0/22 via {HOST}"))
    assert world.ask(address, 80) == SILENCE
    assert ask(address, 80) == GATEWAY


@on_a_host
def test_the_host_becomes_no_router_between_its_other_networks() -> None:
    world = make_world()
    other = make_world("203.0.113.1", "203.0.113.2", "lan0")
    other.serve(80)
    world.run(lambda: ip(f"route add 203.0.113.0/24 via {HOST}"))
    other.run(lambda: ip("route add 198.51.100.0/24 via 203.0.113.1"))
    assert world.ask("203.0.113.2", 80) == SILENCE
    box, _ = jail()
    assert switch("ipv4/conf/wan0/forwarding") == "1"
    assert box.ask("203.0.113.2", 80) == "203.0.113.1"
    assert world.ask("203.0.113.2", 80) == SILENCE
    # It does what its administrator says.
    switch("ipv4/ip_forward", 1)
    jail("box-2")
    assert world.ask("203.0.113.2", 80) == WORLD


@on_a_host
def test_the_next_jail_of_an_address_inherits_no_connection() -> None:
    world = make_world()
    box, address = jail("box-1", Port(HOST, 8080, 80, "udp"))
    assert world.ask(HOST, 8080, "udp", source_port=5555) == WORLD
    detach("box-1")
    box.kill()
    _, again = jail("box-2")
    assert again == address
    assert world.ask(HOST, 8080, "udp", source_port=5555) == CLOSED


@on_a_host
def test_no_connection_gets_past_the_allow_list_of_the_next_jail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jailkit.network.conntrack.forget", lambda *_: None)  # As if somebody's table kept it.
    world = make_world()
    world.serve(443, "udp")
    box, address = jail("box-1")
    assert box.ask(WORLD, 443, "udp", source_port=5555) == HOST
    detach("box-1")
    box.kill()
    box, again = jail("box-2", allow=())
    assert again == address
    assert box.ask(WORLD, 443, "udp", source_port=5555) == REFUSED
