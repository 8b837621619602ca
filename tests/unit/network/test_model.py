"""Addresses, subnets and ports of jails on the bridge, chosen from what there is."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest

from jailkit.errors import StateError
from jailkit.network.model import NetworkSpec, check_ports, choose_subnet, gateway, lowest_free, on_loopback, subnet_of
from jailkit.network.names import SUBNETS, jail_hardware, port_address, port_name
from jailkit.plan.settings import Port

SMALL = IPv4Network("192.0.2.0/29")


def networks(*texts: str) -> list[IPv4Network]:
    return [IPv4Network(text) for text in texts]


@pytest.mark.parametrize(
    ("taken", "chosen"),
    [
        ((), 0),
        (("198.51.100.0/24",), 0),
        (("0.0.0.0/0",), 0),
        (("10.213.2.7/32",), 1),
        (("10.0.0.0/8",), 2),
        (("10.0.0.0/8", "172.16.0.0/12"), 4),
        (("10.213.0.0/16", "10.87.65.0/24", "172.29.0.0/16"), 3),
    ],
)
def test_the_first_subnet_that_overlaps_nothing_is_chosen(taken: tuple[str, ...], chosen: int) -> None:
    assert choose_subnet(networks(*taken)) == SUBNETS[chosen]


def test_no_subnet_is_forced_upon_a_host_that_uses_all() -> None:
    with pytest.raises(StateError, match="routes into each of its subnets"):
        choose_subnet(SUBNETS)


def test_the_subnets_are_private_and_apart() -> None:
    assert all(subnet.is_private for subnet in SUBNETS)
    assert not any(one.overlaps(other) for one in SUBNETS for other in SUBNETS if one != other)


@pytest.mark.parametrize(
    ("used", "address"),
    [((), 2), ((2,), 3), ((3,), 2), ((2, 3, 5), 4), ((2, 3, 4, 5), 6)],
)
def test_the_lowest_free_address_is_given(used: tuple[int, ...], address: int) -> None:
    assert lowest_free(SMALL, [SMALL[number] for number in used]) == SMALL[address]


def test_a_full_subnet_has_no_address() -> None:
    with pytest.raises(StateError, match=r"all 5 of 192\.0\.2\.0/29 are in use"):
        lowest_free(SMALL, [SMALL[number] for number in range(2, 7)])


def test_the_name_of_a_port_tells_the_address_and_is_no_longer_than_the_kernel_takes() -> None:
    for subnet in SUBNETS:
        for address in (subnet[2], subnet[-2]):
            assert port_address(port_name(address)) == address
            assert len(port_name(address)) < 16  # IFNAMSIZ
            assert subnet_of(address) == subnet
            assert subnet_of(gateway(subnet)) == subnet


@pytest.mark.parametrize(
    "name", ["jk", "jk0ad5000", "jk0ad500021", "jk0AD50002", "jk0ad5000g", "xx0ad50002", "0ad50002"]
)
def test_other_names_are_nobody_s_port(name: str) -> None:
    assert port_address(name) is None


def test_hardware_addresses_are_locally_administered_and_differ() -> None:
    assert jail_hardware(IPv4Address("10.213.0.2")) == "02:6a:0a:d5:00:02"


@pytest.mark.parametrize(
    ("address", "answer"),
    [("127.0.0.1", True), ("127.1.2.3", True), ("0.0.0.0", True), ("192.0.2.1", False)],
)
def test_which_ports_loopback_has(address: str, answer: bool) -> None:
    assert on_loopback(Port(address, 80, 80, "tcp")) is answer


@pytest.mark.parametrize(
    ("wanted", "there", "clash"),
    [
        (Port("127.0.0.1", 80, 80, "tcp"), Port("127.0.0.1", 80, 8080, "tcp"), True),
        (Port("0.0.0.0", 80, 80, "tcp"), Port("127.0.0.1", 80, 80, "tcp"), True),
        (Port("127.0.0.1", 80, 80, "tcp"), Port("0.0.0.0", 80, 80, "tcp"), True),
        (Port("127.0.0.1", 80, 80, "tcp"), Port("192.0.2.1", 80, 80, "tcp"), False),
        (Port("127.0.0.1", 80, 80, "tcp"), Port("127.0.0.1", 80, 80, "udp"), False),
        (Port("127.0.0.1", 80, 80, "tcp"), Port("127.0.0.1", 81, 80, "tcp"), False),
    ],
)
def test_a_port_has_one_jail(wanted: Port, there: Port, clash: bool) -> None:
    spec = NetworkSpec("box-2", (wanted,))
    check_ports(spec, [("box-2", there)])
    if not clash:
        check_ports(spec, [("box-1", there)])
        return
    with pytest.raises(StateError, match="of jail box-2: jail box-1 has published it"):
        check_ports(spec, [("box-1", there)])
