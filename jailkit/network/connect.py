"""Let a jail onto the bridge, take it off, and take away what crashed ones left.

Everything is done under one lock. The order is such that whatever dies in between leaves something that `sweep` finds,
and nothing that is open: first the bridge, then the rules, then the link; and backwards at the end.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from functools import partial
from ipaddress import IPv4Address, IPv4Interface

from jailkit.errors import BackendError, JailkitError, PrivilegeError, StateError
from jailkit.linux.netns import inside
from jailkit.network import bridge, nft, sysctl
from jailkit.network.links import Links, doing
from jailkit.network.model import Attachment, NetworkSpec, check_ports, gateway, lowest_free, on_loopback
from jailkit.network.names import INTERFACE, LOCK, RUN, port_name
from jailkit.network.ports import check_unused
from jailkit.network.rules import Rules, admit, base
from jailkit.plan.settings import Port


def attach(spec: NetworkSpec, pid: int) -> Attachment:
    """Connect the network namespace of process `pid` to the bridge, which is made for the first jail.

    The caller sees to it that `pid` stays what it is. What an earlier namespace left under the same id is replaced.

    Raises:
        StateError: the bridge's name belongs to somebody else, there is no free address or subnet, a port is taken, or
            the process is gone or has the host's network.
        PrivilegeError: the caller is not root.
        BackendError: a library is missing, or the kernel refuses a step. Whatever was done is undone.
    """
    with _locked(f"connect jail {spec.jail}"), _namespace(spec.jail, pid) as namespace, Links() as links:
        bridge.refuse_foreign(links)
        bridge.clear_leftovers(links)
        rules = nft.read_rules()
        if bridge.take_off(links, rules, spec.jail):
            rules = nft.read_rules()
        check_ports(spec, _published(rules))
        for port in spec.ports:
            check_unused(spec.jail, port)
        try:
            return _connect(links, spec, namespace, rules)
        except BaseException:
            with contextlib.suppress(JailkitError):
                bridge.take_off(links, nft.read_rules(), spec.jail)
                bridge.remove_if_last(links)
            raise


def detach(jail: str) -> None:
    """Take a jail off the bridge; the bridge goes with the last one. None of that id is no error.

    Raises:
        PrivilegeError, BackendError: as for `attach`.
    """
    if bridge.exists():
        with _locked(f"disconnect jail {jail}"), Links() as links:
            bridge.take_off(links, nft.read_rules(), jail)
            bridge.remove_if_last(links)


def sweep(living: AbstractSet[str]) -> list[str]:
    """Take off the bridge what is not among the ids of `living` jails, and give the ids that were taken off, sorted.

    Raises:
        PrivilegeError, BackendError: as for `attach`.
    """
    if not bridge.exists():
        return []
    with _locked("clean up the bridge"), Links() as links:
        dead = sorted(bridge.known(links, nft.read_rules()).keys() - living)
        for jail in dead:
            bridge.take_off(links, nft.read_rules(), jail)
        bridge.drop_unfinished(links)
        bridge.remove_if_last(links)
    return dead


def status(jail: str) -> Attachment | None:
    """Ask the kernel what a jail has; None when it is not on the bridge, or its network namespace is gone.

    Raises:
        BackendError: a library is missing, or the caller is not root.
    """
    if not bridge.exists():
        return None
    rules = nft.read_rules()
    address = rules.jails.get(jail)
    with Links() as links:
        if address is None or links.named(port_name(address)) is None:
            return None
    return Attachment(jail, address, port_name(address), bridge.ports_at(rules, address))


def _connect(links: Links, spec: NetworkSpec, namespace: int, rules: Rules) -> Attachment:
    link, subnet = bridge.make(links)
    address = lowest_free(subnet, bridge.linked_addresses().union(rules.jails.values()))
    # Only answers come in there for jails, and the chain `forward` lets nothing else through that is new.
    routing = sysctl.forwards_everywhere()
    borrowed = [] if routing else sysctl.not_forwarding(bridge.uplinks(links))
    nft.change(base(subnet, () if routing else rules.lent.union(borrowed)) + admit(spec, address))
    sysctl.set_forwarding(borrowed, 1)
    if any(on_loopback(port) for port in spec.ports):
        sysctl.let_loopback_through()
    port = links.add_port(link, address, namespace)
    sysctl.no_ipv6(port.name)
    links.set_up(port, alias=spec.jail)
    with doing(f"set up the network in jail {spec.jail}"):
        inside(namespace, partial(_furnish, IPv4Interface(address), gateway(subnet)))
    return Attachment(spec.jail, address, port.name, spec.ports)


def _furnish(address: IPv4Interface, way_out: IPv4Address) -> None:
    """Set up what a jail sees, from within its namespace.

    The address is alone in its network: a jail asks for no neighbour but the bridge, and what it sends to another jail
    meets the rules of the host.
    """
    sysctl.prepare_jail()
    with Links() as links:
        links.set_up(links.require("lo"))
        own = links.require(INTERFACE)
        links.add_address(own, address)
        links.set_up(own)
        links.add_routes(own, way_out)


def _published(rules: Rules) -> list[tuple[str, Port]]:
    jails = {address: jail for jail, address in rules.jails.items()}
    return [(jails.get(address, "?"), port) for address, port in rules.ports]


@contextlib.contextmanager
def _locked(what: str) -> Iterator[None]:
    """Hold the lock of the bridge, however long others have it."""
    if os.geteuid() != 0:
        raise PrivilegeError(
            f"cannot {what}: only root may change the host's network",
            resolution="run as root, or use `network: none` in the profile",
        )
    with doing(f"open {LOCK}"):
        os.makedirs(RUN, mode=0o755, exist_ok=True)
        descriptor = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _namespace(jail: str, pid: int) -> Iterator[int]:
    """Open the network namespace of a process; never the caller's own."""
    try:
        descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, ProcessLookupError) as error:
        raise StateError(
            f"cannot connect jail {jail}: its process {pid} is gone", resolution="start it again"
        ) from error
    except OSError as error:
        raise BackendError(f"cannot connect jail {jail}: {error.strerror}") from error
    try:
        if os.path.samestat(os.fstat(descriptor), os.stat("/proc/thread-self/ns/net")):
            raise StateError(
                f"cannot connect jail {jail}: its process {pid} has the host's network",
                resolution="start it with a network namespace of its own",
            )
        yield descriptor
    finally:
        os.close(descriptor)
