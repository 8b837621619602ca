"""The bridge itself, and what hangs on it, as the kernel knows it; nothing is remembered on disk.

Which jails there are is told by the map `jails` of the packet filter, and by the links that are ports of the bridge.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from jailkit.errors import StateError
from jailkit.network import conntrack, nft, sysctl
from jailkit.network.links import Link, Links
from jailkit.network.model import choose_subnet, gateway, is_ours, subnet_of
from jailkit.network.names import BRIDGE, MARK, port_address, port_name
from jailkit.network.rules import Rules, base, clear, expel
from jailkit.plan.settings import Port


def exists() -> bool:
    """Tell whether there is an interface of the bridge's name, without importing anything."""
    try:
        socket.if_nametoindex(BRIDGE)
    except OSError:
        return False
    return True


def refuse_foreign(links: Links) -> None:
    """Refuse an interface of the bridge's name that is not ours.

    Raises:
        StateError: there is one.
    """
    if links.named(BRIDGE) is not None and _find(links) is None:
        raise StateError(
            f"cannot use the bridge {BRIDGE}: an interface of that name belongs to somebody else",
            resolution=f"rename it (sudo ip link set {BRIDGE} down; sudo ip link set {BRIDGE} name ANOTHER)",
        )


def clear_leftovers(links: Links) -> None:
    """Take away what was left if somebody deleted the bridge under its jails; with a bridge there is nothing to do.

    Raises:
        BackendError: the kernel refuses.
    """
    if _find(links) is None:
        for link, _ in _ports(links, linked_addresses()):
            links.remove(link)
        _clear_rules()


def make(links: Links) -> tuple[Link, IPv4Network]:
    """Give the bridge and its subnet. What is not there yet, or not finished, is made.

    Raises:
        StateError: no subnet is free.
        BackendError: the kernel refuses.
    """
    bridge = _find(links) or links.add_bridge()
    own = [address.network for index, address in links.addresses() if index == bridge.index]
    if own:
        subnet = own[0]
    else:
        subnet = choose_subnet([*(address.network for _, address in links.addresses()), *links.routed()])
        links.add_address(bridge, IPv4Interface((gateway(subnet), subnet.prefixlen)))
    sysctl.prepare_bridge()
    links.set_up(bridge, alias="jailkit")
    return bridge, subnet


def known(links: Links, rules: Rules) -> dict[str, IPv4Address]:
    """Give the address of each jail that has rules, or a link, or both."""
    strangers = linked_addresses() - set(rules.jails.values())
    linked = {link.alias: address for link, address in _ports(links, strangers) if link.alias}
    return linked | dict(rules.jails)


def linked_addresses() -> set[IPv4Address]:
    """Give the addresses for which the host's side of a link is there. Quick, however many there are."""
    found = (port_address(name) for _, name in socket.if_nameindex())
    return {address for address in found if address is not None and is_ours(address)}


def _ports(links: Links, addresses: Iterable[IPv4Address]) -> list[tuple[Link, IPv4Address]]:
    named = ((links.named(port_name(address)), address) for address in addresses)
    return [(link, address) for link, address in named if link is not None and link.kind == "veth"]


def uplinks(links: Links) -> list[str]:
    """Name the interfaces by which the world may send answers to jails: those that have an IPv4 address."""
    addressed = {index for index, _ in links.addresses()}
    return [name for index, name in socket.if_nameindex() if index in addressed and name not in (BRIDGE, "lo")]


def ports_at(rules: Rules, address: IPv4Address) -> tuple[Port, ...]:
    """Give what the jail at an address publishes."""
    return tuple(port for whose, port in rules.ports if whose == address)


def take_off(links: Links, rules: Rules, jail: str) -> bool:
    """Take away the link of a jail, then its rules, then its connections; False where there was nothing of it.

    Raises:
        BackendError: the kernel refuses.
    """
    address = known(links, rules).get(jail)
    if address is None:
        return False
    if link := links.named(port_name(address)):
        links.remove(link)
    published = ports_at(rules, address)
    if jail in rules.jails:
        nft.change(base(subnet_of(address), rules.lent) + expel(jail, address, published))
    conntrack.forget(address, published)
    return True


def drop_unfinished(links: Links) -> None:
    """Take away links whose maker died before they were up: they have no alias yet.

    Raises:
        BackendError: the kernel refuses.
    """
    for link, _ in _ports(links, linked_addresses()):
        if not link.alias:
            links.remove(link)


def remove_if_last(links: Links) -> None:
    """Take the bridge away when no jail is on it any more, nor anything else, and give back what it had borrowed.

    Raises:
        BackendError: the kernel refuses.
    """
    bridge = _find(links)
    if bridge and not nft.read_rules().jails and not any(link.master == bridge.index for link in links.all()):
        _clear_rules()
        links.remove(bridge)


def _find(links: Links) -> Link | None:
    """Find our bridge; None also for a foreign interface of its name."""
    link = links.named(BRIDGE)
    return link if link and (link.kind, link.hardware) == ("bridge", MARK) else None


def _clear_rules() -> None:
    lent = nft.read_rules().lent
    if not sysctl.forwards_everywhere():
        sysctl.set_forwarding(lent, 0)
    nft.change(clear())
