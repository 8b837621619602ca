"""The kernel's memory of connections (nf_conntrack)."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address
from typing import Any, Final

from jailkit.network.links import doing
from jailkit.plan.settings import Port

_NUMBERS: Final = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP}


def forget(address: IPv4Address, ports: Iterable[Port]) -> None:
    """Forget the connections of a jail, so that the next one that has its address inherits none.

    Else who sends datagrams to a published port would go on sending them there, whoever has the address.
    The kernel chooses by the original direction: from the jail, or to its published ports.

    Raises:
        BackendError: the kernel refuses.
    """
    from pyroute2.conntrack import Conntrack
    from pyroute2.netlink.nfnetlink.nfctsocket import NFCTAttrTuple

    text = str(address)
    choices: list[dict[str, Any]] = [{"saddr": text}]
    choices += [{"proto": _NUMBERS[port.protocol], "dport": port.host_port} for port in ports]
    with doing(f"forget the connections of {address}"), Conntrack() as kernel:
        for choice in choices:
            for entry in list(kernel.dump_entries(tuple_orig=NFCTAttrTuple(**choice))):
                if text in (entry.tuple_orig.saddr, entry.tuple_reply.saddr):
                    with doing(f"forget {entry}", already=errno.ENOENT):
                        kernel.entry("del", tuple_orig=entry.tuple_orig)
