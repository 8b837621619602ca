"""The rules as data: what one jail adds is what its end takes away, and the listing is read as it is written."""

from __future__ import annotations

import json
import sys
from ipaddress import IPv4Address
from typing import Any

import pytest

from jailkit.errors import BackendError
from jailkit.network import nft
from jailkit.network.links import Links
from jailkit.network.model import NetworkSpec
from jailkit.network.names import SUBNETS
from jailkit.network.rules import Rules, admit, base, clear, expel, parse
from jailkit.plan.settings import Destination, Port

ADDRESS = IPv4Address("10.213.0.2")
PORTS = (Port("127.0.0.1", 8080, 80, "tcp"), Port("0.0.0.0", 53, 5353, "udp"))


def things(commands: list[dict[str, Any]], verb: str, kind: str) -> list[dict[str, Any]]:
    return [command[verb][kind] for command in commands if kind in command.get(verb, {})]


def names(chains: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(chain["family"], chain["name"]) for chain in chains]


def test_what_admit_adds_expel_deletes() -> None:
    added, taken = admit(NetworkSpec("box-1", PORTS), ADDRESS), expel("box-1", ADDRESS, PORTS)
    maps = names(things(added, "add", "element"))
    assert maps == names(things(taken, "delete", "element"))
    assert sorted(maps) == [
        ("bridge", "ports"),
        ("inet", "address_anywhere"),
        ("inet", "address_at"),
        ("inet", "jails"),
        ("inet", "port_anywhere"),
        ("inet", "port_at"),
    ]
    assert names(things(added, "add", "chain")) == names(things(taken, "delete", "chain"))


def test_nothing_is_deleted_that_was_not_added_in_the_same_transaction() -> None:
    for commands in (expel("box-1", ADDRESS, PORTS), clear()):
        seen: set[tuple[str, str]] = set()
        for command in commands:
            ((verb, thing),) = command.items()
            ((kind, what),) = thing.items()
            if verb == "add":
                seen.add((kind, what["name"]))
            else:
                assert (kind, what["name"]) in seen


def test_every_chain_of_the_base_is_emptied_before_its_rules_are_added() -> None:
    commands = base(SUBNETS[0], ["eth0"])
    flushed = names(things(commands, "flush", "chain"))
    assert sorted(flushed) == sorted(names(things(commands, "add", "chain")))
    with_rules = {(rule["family"], rule["chain"]) for rule in things(commands, "add", "rule")}
    assert with_rules == set(flushed)
    last_flush = max(number for number, command in enumerate(commands) if "flush" in command)
    first_rule = min(number for number, command in enumerate(commands) if "rule" in command.get("add", {}))
    assert last_flush < first_rule


def verdicts(allow: tuple[Destination, ...] | None) -> list[str]:
    rules = things(admit(NetworkSpec("box-1", allow=allow), ADDRESS), "add", "rule")
    return [next(iter(rule["expr"][-1])) for rule in rules if rule["family"] == "inet"]


def test_only_a_jail_without_a_list_goes_everywhere() -> None:
    assert verdicts(None) == ["accept"]
    assert verdicts(()) == ["reject"]
    assert verdicts((Destination("192.0.2.0/24", None, None),)) == ["accept", "reject"]


def test_a_destination_is_matched_as_the_jail_wrote_it_and_whole() -> None:
    (rule, _) = [
        rule["expr"]
        for rule in things(
            admit(NetworkSpec("box-1", allow=(Destination("192.0.2.7/32", 53, "udp"),)), ADDRESS), "add", "rule"
        )
        if rule["family"] == "inet"
    ]
    conditions = [part["match"] for part in rule if "match" in part]
    assert [(condition["op"], condition["right"]) for condition in conditions] == [
        ("==", {"prefix": {"addr": "192.0.2.7", "len": 32}}),
        ("==", "udp"),
        ("==", 53),
    ]
    assert [condition["left"].get("ct", {}).get("dir") for condition in conditions] == ["original", None, "original"]


def test_the_commands_are_json() -> None:
    commands = base(SUBNETS[0], ["eth0"]) + admit(NetworkSpec("box-1", PORTS, ()), ADDRESS) + clear()
    assert json.loads(json.dumps(commands)) == commands


# What libnftables 1.0.6 answers to `list table inet jailkit`, without the chains.
LISTING: list[dict[str, Any]] = [
    {"metainfo": {"version": "1.0.6", "json_schema_version": 1}},
    {"table": {"family": "inet", "name": "jailkit", "handle": 1}},
    {
        "map": {
            "name": "jails",
            "elem": [[{"elem": {"val": "10.213.0.2", "comment": "box-1"}}, {"goto": {"target": "jk0ad50002"}}]],
        }
    },
    {"map": {"name": "address_at", "elem": [[{"concat": ["127.0.0.1", "tcp", 8080]}, "10.213.0.2"]]}},
    {"map": {"name": "port_at", "elem": [[{"concat": ["127.0.0.1", "tcp", 8080]}, 80]]}},
    {"map": {"name": "address_anywhere", "elem": [[{"concat": ["udp", 53]}, "10.213.0.2"]]}},
    {"map": {"name": "port_anywhere", "elem": [[{"concat": ["udp", 53]}, 5353]]}},
    {"set": {"name": "lent", "elem": ["eth0"]}},
]


def test_a_listing_is_read() -> None:
    rules = parse(LISTING)
    assert rules.jails == {"box-1": ADDRESS}
    assert rules.ports == tuple((ADDRESS, port) for port in PORTS)
    assert rules.lent == {"eth0"}


def test_empty_tables_say_nothing() -> None:
    assert parse([{"map": {"name": "jails"}}, {"set": {"name": "lent"}}]) == Rules()


def test_a_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nftables", None)
    monkeypatch.setitem(sys.modules, "pyroute2", None)
    with pytest.raises(BackendError) as caught:
        nft.read_rules()
    assert "apt install python3-nftables" in str(caught.value)
    with pytest.raises(BackendError, match="pyroute2 is not installed"), Links():
        pass


def test_what_nftables_says_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing:
        def json_cmd(self, _commands: Any) -> tuple[int, str, str]:
            return -1, "", "internal:0:0-0: Error: Could not process rule: Operation not supported\n\n"

    monkeypatch.setitem(sys.modules, "nftables", type("Module", (), {"Nftables": Refusing}))  # type: ignore[arg-type]
    with pytest.raises(BackendError) as caught:
        nft.change([])
    assert caught.value.details == ("internal:0:0-0: Error: Could not process rule: Operation not supported",)
    with pytest.raises(BackendError, match="cannot read the packet filter"):
        nft.read_rules()
