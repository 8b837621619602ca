"""Whether the host's own programs leave a port to a jail."""

from __future__ import annotations

import errno
import socket
from typing import Final

from jailkit.errors import StateError
from jailkit.network.links import doing
from jailkit.network.model import show_port
from jailkit.plan.settings import Port

_KINDS: Final = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


def check_unused(jail: str, port: Port) -> None:
    """Refuse a port where a program of the host listens: the packet filter would take its callers away.

    Raises:
        StateError: one does, or the host does not have the address.
    """
    what = f"publish {show_port(port)} of jail {jail}"
    with doing(what), socket.socket(socket.AF_INET, _KINDS[port.protocol]) as trial:
        # Connections that have just ended are nobody's (TIME_WAIT); who listens is still found (socket(7)).
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, port.protocol == "tcp")
        try:
            trial.bind((port.address, port.host_port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise StateError(
                    f"cannot {what}: a program of the host listens there",
                    resolution=f"end it (`ss -lnp sport = {port.host_port}` names it), or change the profile",
                ) from error
            if error.errno == errno.EADDRNOTAVAIL:
                raise StateError(
                    f"cannot {what}: the host does not have that address",
                    resolution="take an address that `ip -4 address` shows, or 0.0.0.0 for all of them",
                ) from error
            raise
