"""The rules of nftables as data: the commands of libnftables-json(5), and what its listing says. Pure.

Two tables, both called jailkit. What holds for every jail is written anew with each change, in the same transaction as
what belongs to one jail, so that no rule of an older jailkit or of a curious administrator stays in force. What belongs
to a jail is a chain of the name of its port in each table, and elements of maps that lead there; each element of the
map `jails` has the jail's id as its comment.

How a packet fares (hooks in the order in which the kernel comes to them):

    bridge  prerouting   by port: a frame that has not the jail's own two addresses, or is not for the host, is dropped,
                         as is all that is neither IPv4 nor ARP. Whatever capabilities a jail has, it speaks for itself.
    inet    guard        from the bridge to 127/8: dropped. `route_localnet` would let it in.
    inet    prerouting   to a published port at an address of the host: sent to the jail
    inet    output       the same for the host's own connections, those to 127.0.0.1 among them
    inet    input        from the bridge to the host: answers only
    inet    forward      from a jail: its own chain decides, and between jails only published ports are considered;
                         to a jail: answers and published ports only
    inet    postrouting  out of the host: by the host's address
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Final

from jailkit.network.model import NetworkSpec
from jailkit.network.names import ANY_ADDRESS, BRIDGE, LOOPBACK, MARK, TABLE, jail_hardware, port_name
from jailkit.plan.settings import Destination, Port

Json = dict[str, Any]

_INET: Final[Json] = {"family": "inet", "table": TABLE}
_BRIDGE: Final[Json] = {"family": "bridge", "table": TABLE}

# Name, type, hook, priority: linux/netfilter_ipv4.h and netfilter_bridge.h have the priorities of the kernel's own.
_HOOKS: Final = (
    (_BRIDGE, "prerouting", "filter", "prerouting", -300),  # before br_netfilter (0)
    (_INET, "guard", "filter", "prerouting", -300),  # NF_IP_PRI_RAW: addresses are still as on the wire
    (_INET, "prerouting", "nat", "prerouting", -100),  # NF_IP_PRI_NAT_DST
    (_INET, "output", "nat", "output", -100),
    (_INET, "input", "filter", "input", 0),  # NF_IP_PRI_FILTER
    (_INET, "forward", "filter", "forward", 0),
    (_INET, "postrouting", "nat", "postrouting", 100),  # NF_IP_PRI_NAT_SRC
)

_SOCKET: Final = ["ipv4_addr", "inet_proto", "inet_service"]
# libnftables 1.0.6 crashes when its JSON has a map to address *and* port: one map for each, two more for all addresses.
_MAPS: Final = (
    (_BRIDGE, "ports", "ifname", "verdict"),
    (_INET, "jails", "ipv4_addr", "verdict"),
    (_INET, "address_at", _SOCKET, "ipv4_addr"),
    (_INET, "port_at", _SOCKET, "inet_service"),
    (_INET, "address_anywhere", _SOCKET[1:], "ipv4_addr"),
    (_INET, "port_anywhere", _SOCKET[1:], "inet_service"),
)

_DROP: Final[list[Json]] = [{"counter": None}, {"drop": None}]
_REFUSE: Final[list[Json]] = [{"counter": None}, {"reject": {"type": "icmpx", "expr": "admin-prohibited"}}]
_ACCEPT: Final[list[Json]] = [{"accept": None}]
_PROTOCOL: Final = {"meta": {"key": "l4proto"}}
_PORT: Final = {"payload": {"protocol": "th", "field": "dport"}}


@dataclass(frozen=True, slots=True)
class Rules:
    """What the tables say.

    Attributes:
        jails: the address of each jail, by its id.
        ports: what is published: the address of its jail, and the port.
        lent: interfaces that jailkit made forward packets.
    """

    jails: Mapping[str, IPv4Address] = field(default_factory=dict)
    ports: tuple[tuple[IPv4Address, Port], ...] = ()
    lent: frozenset[str] = frozenset()


def base(subnet: IPv4Network, lent: Iterable[str]) -> list[Json]:
    """Give the commands that make the tables as they are to be for every jail, whatever is there before."""
    chains = [(table, name) for table, name, *_ in _HOOKS] + [(_INET, "publish"), (_INET, "leaving")]
    return [
        *({"add": {"table": {"family": table["family"], "name": TABLE}}} for table in (_INET, _BRIDGE)),
        *({"add": {"map": table | {"name": name, "type": key, "map": to}}} for table, name, key, to in _MAPS),
        {"add": {"set": _INET | {"name": "lent", "type": "ifname"}}},
        {"flush": {"set": _INET | {"name": "lent"}}},
        *_add_elements(_INET, "lent", sorted(lent)),
        *(
            {"add": {"chain": table | {"name": name, "type": kind, "hook": hook, "prio": priority, "policy": "accept"}}}
            for table, name, kind, hook, priority in _HOOKS
        ),
        *({"add": {"chain": table | {"name": name}}} for table, name in chains[len(_HOOKS) :]),
        *({"flush": {"chain": table | {"name": name}}} for table, name in chains),
        *_common_rules(subnet),
    ]


def _common_rules(subnet: IPv4Network) -> list[Json]:
    from_bridge, to_bridge = _match(_meta("iifname"), BRIDGE), _match(_meta("oifname"), BRIDGE)
    # What the host sends from the bridge's own address to itself is not for the world.
    to_world = _match(_meta("oifname"), {"set": [BRIDGE, "lo"]}, "!=")
    loopback, local = _prefix(LOOPBACK), _match({"fib": {"result": "type", "flags": ["daddr"]}}, "local")
    answer, related = _match(_ct("direction"), "reply"), _match(_ct("state"), "related", "in")
    published = _match(_ct("status"), "dnat", "in")
    of_a_jail = _match(_ip("saddr"), _prefix(subnet))
    to_own_chain = {"vmap": {"key": _ip("saddr"), "data": "@jails"}}
    rules: list[tuple[Json, str, list[Json]]] = [
        (_BRIDGE, "prerouting", [{"vmap": {"key": _meta("iifname"), "data": "@ports"}}]),
        (_INET, "guard", [from_bridge, _match(_ip("daddr"), loopback), *_DROP]),
        # A neighbour of the host could send to 127.0.0.1 by the host's hardware address: no port is found for that.
        (_INET, "prerouting", [_match(_ip("daddr"), loopback, "!="), local, {"jump": {"target": "publish"}}]),
        (_INET, "output", [local, {"jump": {"target": "publish"}}]),
        (_INET, "publish", [_dnat([_ip("daddr"), _PROTOCOL, _PORT], "at")]),
        (_INET, "publish", [_dnat([_PROTOCOL, _PORT], "anywhere")]),
        (_INET, "input", [from_bridge, answer, *_ACCEPT]),
        (_INET, "input", [from_bridge, related, *_ACCEPT]),
        (_INET, "input", [from_bridge, *_REFUSE]),
        # Not by `established`: an address that had another jail before must not pass by that one's connections.
        (_INET, "forward", [answer, *_ACCEPT]),
        (_INET, "forward", [related, *_ACCEPT]),
        (_INET, "forward", [from_bridge, {"goto": {"target": "leaving"}}]),
        (_INET, "forward", [published, *_ACCEPT]),
        (_INET, "forward", [to_bridge, *_DROP]),
        # The host becomes no router between its other interfaces because of us; what others translate passed above.
        (_INET, "forward", [_match(_meta("iifname"), "@lent"), _match(_ct("state"), "new", "in"), *_DROP]),
        # What belongs to no connection would leave with the jail's own address: masquerading needs one.
        (_INET, "leaving", [_match(_ct("state"), "invalid", "in"), *_DROP]),
        (_INET, "leaving", [to_bridge, published, to_own_chain]),
        # In silence: the redirect that the kernel sends with such a packet uses up its leave to send a refusal.
        (_INET, "leaving", [to_bridge, *_DROP]),
        (_INET, "leaving", [to_own_chain]),
        (_INET, "leaving", _DROP),
        (_INET, "postrouting", [_match(_ip("saddr"), loopback), to_bridge, {"masquerade": None}]),
        # From a jail to a published port of its own or of another: the answer has to come back this way.
        (_INET, "postrouting", [of_a_jail, to_bridge, published, {"masquerade": None}]),
        (_INET, "postrouting", [of_a_jail, to_world, {"masquerade": None}]),
    ]
    return [_rule(table, chain, expressions) for table, chain, expressions in rules]


def admit(spec: NetworkSpec, address: IPv4Address) -> list[Json]:
    """Give the commands that let a jail in, after `base`."""
    name = port_name(address)
    chains = [_BRIDGE | {"name": name}, _INET | {"name": name}]
    own = [
        (_BRIDGE, [_match(_field("ether", "saddr"), jail_hardware(address), "!="), *_DROP]),
        # To the host alone, which routes. Isolated ports (bridge(8)) would hold as well, but not let through what one
        # jail sends to another's published port: with br_netfilter the bridge itself delivers that.
        (_BRIDGE, [_match(_field("ether", "daddr"), MARK), _match(_ip("saddr"), str(address)), *_ACCEPT]),
        (_BRIDGE, [_match(_field("arp", "saddr ip"), str(address)), *_ACCEPT]),
        (_BRIDGE, _DROP),
        *((_INET, [*_towards(destination), *_ACCEPT]) for destination in spec.allow or ()),
        (_INET, _ACCEPT if spec.allow is None else _REFUSE),
    ]
    return [
        *({"add": {"chain": chain}} for chain in chains),
        *({"flush": {"chain": chain}} for chain in chains),
        *(_rule(table, name, expressions) for table, expressions in own),
        *(
            command
            for table, map_name, elements in _elements(spec.jail, address, spec.ports)
            for command in _add_elements(table, map_name, elements)
        ),
    ]


def expel(jail: str, address: IPv4Address, ports: Sequence[Port]) -> list[Json]:
    """Give the commands that take away what `admit` made, as far as it is there, after `base`.

    Each thing is added before it is deleted: that one of them is missing must not keep the others.
    """
    chains = [table | {"name": port_name(address)} for table in (_BRIDGE, _INET)]
    elements = _elements(jail, address, ports)
    return [
        *({"add": {"chain": chain}} for chain in chains),
        *(command for table, name, values in elements for command in _add_elements(table, name, values)),
        *(
            {"delete": {"element": table | {"name": name, "elem": [key for key, _ in values]}}}
            for table, name, values in elements
        ),
        *({"flush": {"chain": chain}} for chain in chains),
        *({"delete": {"chain": chain}} for chain in chains),
    ]


def clear() -> list[Json]:
    """Give the commands that take both tables away, there or not."""
    tables = [{"family": table["family"], "name": TABLE} for table in (_INET, _BRIDGE)]
    return [{verb: {"table": table}} for table in tables for verb in ("add", "delete")]


def parse(listing: Iterable[Json]) -> Rules:
    """Read what `list table inet jailkit` gave."""
    maps: dict[str, list[Any]] = {}
    for thing in listing:
        for kind in ("map", "set"):
            if kind in thing:
                maps[thing[kind]["name"]] = thing[kind].get("elem", [])
    addresses = _published(maps, "address")
    ports = _published(maps, "port")
    return Rules(
        jails=dict(_jails(maps.get("jails", []))),
        ports=tuple(
            (IPv4Address(addresses[where]), Port(where[0], where[2], port, where[1]))
            for where, port in ports.items()
            if where in addresses
        ),
        lent=frozenset(maps.get("lent", [])),
    )


def _jails(elements: Iterable[Any]) -> Iterable[tuple[str, IPv4Address]]:
    for key, _verdict in elements:
        yield key["elem"]["comment"], IPv4Address(key["elem"]["val"])


def _published(maps: Mapping[str, list[Any]], what: str) -> dict[tuple[str, Any, int], Any]:
    at = {tuple(key["concat"]): value for key, value in maps.get(f"{what}_at", [])}
    anywhere = {(ANY_ADDRESS, *key["concat"]): value for key, value in maps.get(f"{what}_anywhere", [])}
    return at | anywhere


def _elements(jail: str, address: IPv4Address, ports: Iterable[Port]) -> list[tuple[Json, str, list[list[Any]]]]:
    """Give the elements of a jail: table, map, and pairs of key and value."""
    verdict = {"goto": {"target": port_name(address)}}
    found: list[tuple[Json, str, list[list[Any]]]] = [
        (_BRIDGE, "ports", [[port_name(address), verdict]]),
        (_INET, "jails", [[{"elem": {"val": str(address), "comment": jail}}, verdict]]),
    ]
    for port in ports:
        where = "anywhere" if port.address == ANY_ADDRESS else "at"
        key = {"concat": [*([port.address] if where == "at" else []), port.protocol, port.host_port]}
        found += [(_INET, f"address_{where}", [[key, str(address)]]), (_INET, f"port_{where}", [[key, port.port]])]
    return found


def _towards(destination: Destination) -> list[Json]:
    """Match what a jail sends to a destination as it was before any translation, so by the host's published port."""
    network = _match({"ct": {"key": "ip daddr", "dir": "original"}}, _prefix(IPv4Network(destination.network)))
    if destination.port is None:
        return [network]
    port = {"ct": {"key": "proto-dst", "dir": "original"}}
    return [network, _match(_PROTOCOL, destination.protocol), _match(port, destination.port)]


def _add_elements(table: Json, name: str, elements: Sequence[Any]) -> list[Json]:
    return [{"add": {"element": {**table, "name": name, "elem": elements}}}] if elements else []


def _rule(table: Json, chain: str, expressions: list[Json]) -> Json:
    return {"add": {"rule": {**table, "chain": chain, "expr": expressions}}}


def _match(left: Json, right: object, operator: str = "==") -> Json:
    return {"match": {"op": operator, "left": left, "right": right}}


def _meta(key: str) -> Json:
    return {"meta": {"key": key}}


def _ct(key: str) -> Json:
    return {"ct": {"key": key}}


def _ip(name: str) -> Json:
    return _field("ip", name)


def _field(protocol: str, name: str) -> Json:
    return {"payload": {"protocol": protocol, "field": name}}


def _prefix(network: IPv4Network) -> Json:
    return {"prefix": {"addr": str(network.network_address), "len": network.prefixlen}}


def _dnat(key: list[Json], where: str) -> Json:
    lookup = {name: {"map": {"key": {"concat": key}, "data": f"@{name}_{where}"}} for name in ("address", "port")}
    return {"dnat": {"family": "ip", "addr": lookup["address"], "port": lookup["port"]}}
