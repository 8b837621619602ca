"""libnftables, through the binding that Debian packages as python3-nftables."""

from __future__ import annotations

from typing import Any

from jailkit.errors import BackendError
from jailkit.network.names import TABLE
from jailkit.network.rules import Json, Rules, parse


def change(commands: list[Json]) -> None:
    """Carry out commands in one transaction: all of them or none.

    Raises:
        BackendError: the binding is missing, or the kernel refused one; nothing has changed.
    """
    code, _, message = _run(commands)
    if code:
        raise BackendError(
            "cannot change the packet filter: nftables refused the rules of the bridge",
            details=[line for line in message.splitlines() if line.strip()],
            resolution="run as root, on a kernel with nf_tables, nft_nat, nft_masq, nft_fib and nft_reject",
        )


def read_rules() -> Rules:
    """Read what the tables say; nothing where there are none.

    Raises:
        BackendError: the binding is missing, or the kernel gave no listing.
    """
    # All tables first: asking for one that is not there is an error like any other.
    if not any(table.get("table", {}).get("name") == TABLE for table in _list({"tables": {"family": "inet"}})):
        return Rules()
    return parse(_list({"table": {"family": "inet", "name": TABLE}}))


def _list(what: Json) -> list[Json]:
    code, answer, message = _run([{"list": what}])
    if code:
        raise BackendError("cannot read the packet filter", details=message.splitlines(), resolution="run as root")
    things: list[Json] = answer["nftables"]
    return things


def _run(commands: list[Json]) -> tuple[int, Any, str]:
    try:
        import nftables
    except ImportError as error:
        raise BackendError(
            "cannot use `network: bridge`: Python's binding of nftables is not installed",
            resolution="sudo apt install python3-nftables, and an environment made with --system-site-packages",
        ) from error
    code, answer, message = nftables.Nftables().json_cmd({"nftables": commands})
    return code, answer, message
