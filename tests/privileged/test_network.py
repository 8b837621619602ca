"""Jails on the bridge: what is made and taken away, what is refused, and what is left when something dies."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from support.children import NOBODY, end, in_child, start, together
from support.networks import HOST, Namespace, ask, everything, ip, make_world, on_a_host, output, serve, settled, switch

import jailkit.network
from jailkit.errors import BackendError, PrivilegeError, StateError
from jailkit.linux.libc import CLONE_NEWNET, CLONE_NEWUSER
from jailkit.network import Attachment, NetworkSpec, attach, detach, status, sweep
from jailkit.network.names import BRIDGE, LOCK, SUBNETS
from jailkit.plan.settings import Port

pytestmark = pytest.mark.needs("root", "nft", "veth")

CODE = os.path.dirname(jailkit.network.__file__)
WEB = Port("127.0.0.1", 8080, 80, "tcp")

# Each of these makes one change to the host: dying between two of them is dying anywhere.
STEPS = {
    "nft.py": {"change"},
    "sysctl.py": {"write"},
    "conntrack.py": {"forget"},
    "links.py": {"add_bridge", "add_address", "set_up", "add_port", "add_routes", "remove"},
}


def doomed(number: int, strike: Callable[[], None], work: Callable[[], Any]) -> int:
    """Do `work`, and call `strike` before its change of the host number `number`; give how many came before the end."""
    done = 0

    def watch(frame: Any, event: str, _argument: Any) -> None:
        nonlocal done
        folder, name = os.path.split(frame.f_code.co_filename)
        if event == "call" and folder == CODE and frame.f_code.co_name in STEPS.get(name, ()):
            done += 1
            if done == number:
                strike()

    threading.setprofile(watch)  # A thread of its own does what is done inside the jail's namespace.
    sys.setprofile(watch)
    try:
        work()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type] # None takes it away
    return done


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fail() -> None:
    raise OSError(12, "no memory, says the test")


@on_a_host
def test_the_bridge_is_made_for_the_first_jail_and_goes_with_the_last() -> None:
    make_world()
    before = everything()
    one, two = Namespace(), Namespace()
    attach(NetworkSpec("box-1", (WEB,)), one.pid)
    attach(NetworkSpec("box-2"), two.pid)
    assert switch("ipv4/conf/wan0/forwarding") == "1"
    detach("box-1")
    assert BRIDGE in everything()
    detach("box-2")
    assert everything() == before
    detach("box-2")
    assert everything() == before


@on_a_host
def test_the_kernel_tells_what_a_jail_has() -> None:
    box = Namespace()
    ports = (WEB, Port("0.0.0.0", 53, 5353, "udp"))
    assert status("box-1") is None
    attached = attach(NetworkSpec("box-1", ports), box.pid)
    answer = status("box-1")
    assert answer is not None
    assert (answer.address, answer.interface, set(answer.ports)) == (attached.address, attached.interface, set(ports))
    assert status("box-2") is None


@on_a_host
def test_a_jail_that_ended_by_itself_leaves_nothing_for_long() -> None:
    before = everything()
    box, other = Namespace(), Namespace()
    attach(NetworkSpec("box-1", (WEB,)), box.pid)
    attach(NetworkSpec("box-2"), other.pid)
    box.kill()
    assert settled(lambda: status("box-1") is None)
    assert sweep({"box-2"}) == ["box-1"]
    assert sweep({"box-2"}) == []
    assert status("box-2") is not None
    assert sweep(set()) == ["box-2"]
    assert everything() == before


@on_a_host
def test_a_new_namespace_takes_the_place_of_an_old_one_of_the_same_id() -> None:
    old, new = Namespace(), Namespace()
    attach(NetworkSpec("box-1", (WEB,)), old.pid)
    attach(NetworkSpec("box-1", (WEB,)), new.pid)
    new.serve(80)
    assert ask("127.0.0.1", 8080) == "10.213.0.1"
    assert "eth0" not in old.run(lambda: output("ip", "-brief", "link"))


@on_a_host
def test_ten_at_once_get_ten_addresses() -> None:
    boxes = [Namespace() for _ in range(10)]

    def connect(number: int) -> Callable[[], Attachment]:
        return lambda: attach(NetworkSpec(f"box-{number}"), boxes[number].pid)

    attachments = together(*(connect(number) for number in range(10)))
    assert len({attachment.address for attachment in attachments}) == 10
    assert all(status(attachment.jail) == attachment for attachment in attachments)
    before = everything()
    together(*((lambda number=number: detach(f"box-{number}")) for number in range(10)))
    assert BRIDGE in before
    assert BRIDGE not in everything()


@on_a_host
def test_a_killed_attach_leaves_nothing_that_sweep_does_not_find() -> None:
    make_world()
    before = everything()
    number, code = 0, -signal.SIGKILL
    while code:
        number += 1
        box = Namespace()
        code = end(start(lambda number=number, pid=box.pid: _attach_doomed(number, pid)))
        assert code in (0, -signal.SIGKILL)
        box.kill()
        sweep(set())
        assert everything() == before, f"killed before change {number}"
    assert number > 10


def _attach_doomed(number: int, pid: int) -> None:
    doomed(number, die, lambda: attach(NetworkSpec("box-1", (WEB,)), pid))


@on_a_host
def test_after_a_killed_attach_the_next_one_works() -> None:
    number, code = 0, -signal.SIGKILL
    while code:
        number += 3
        box = Namespace()
        code = end(start(lambda number=number, pid=box.pid: _attach_doomed(number, pid)))
        other = Namespace()
        other.serve(80)
        attach(NetworkSpec("box-1", (WEB,)), other.pid)
        assert ask("127.0.0.1", 8080) == "10.213.0.1", f"killed before change {number}"
        sweep(set())
        box.kill()
        other.kill()


@pytest.mark.parametrize("others", [0, 1])
@on_a_host
def test_a_killed_detach_leaves_nothing_that_sweep_does_not_find(others: int) -> None:
    make_world()
    for name in ["other"] * others:
        attach(NetworkSpec(name), Namespace().pid)
    before = everything()
    number, code = 0, -signal.SIGKILL
    while code:
        number += 1
        attach(NetworkSpec("box-1", (WEB,)), Namespace().pid)
        code = end(start(lambda number=number: doomed(number, die, lambda: detach("box-1"))))  # type: ignore[arg-type]
        assert code in (0, -signal.SIGKILL)
        sweep({"other"})
        assert _without_counts(everything()) == _without_counts(before), f"killed before change {number}"
    assert number > 2


def _without_counts(text: str) -> list[str]:
    # The bridge once gave loopback a way through, which stays until the bridge goes.
    return [line.split("counter")[0] for line in text.splitlines()]


@on_a_host
def test_a_failed_attach_undoes_what_it_did() -> None:
    make_world()
    before = everything()
    box = Namespace()
    steps = doomed(0, fail, lambda: attach(NetworkSpec("box-1", (WEB,)), box.pid))
    detach("box-1")
    assert everything() == before
    for number in range(1, steps + 1):
        with pytest.raises((OSError, BackendError)):
            doomed(number, fail, lambda: attach(NetworkSpec("box-1", (WEB,)), box.pid))
        assert everything() == before, f"failed at change {number}"


@pytest.mark.needs("user-namespace")
@on_a_host
def test_a_namespace_that_belongs_to_a_user_namespace_is_connected_as_well() -> None:
    box = Namespace(CLONE_NEWUSER | CLONE_NEWNET)
    attach(NetworkSpec("box-1", (WEB,)), box.pid)
    box.serve(80)
    assert ask("127.0.0.1", 8080) == "10.213.0.1"


@on_a_host
def test_an_interface_in_the_jail_that_is_in_the_way_is_told() -> None:
    before = everything()
    box = Namespace()
    box.run(lambda: ip("link add eth0 type bridge"))
    with pytest.raises(BackendError, match="cannot make the link jk0ad50002 of the jail's eth0: File exists"):
        attach(NetworkSpec("box-1"), box.pid)
    assert everything() == before


@pytest.mark.parametrize("kind", ["bridge", "veth"])
@on_a_host
def test_a_bridge_of_somebody_else_is_refused_and_left_alone(kind: str) -> None:
    ip(f"link add {BRIDGE} type {kind}")
    before = everything()
    with pytest.raises(StateError, match="belongs to somebody else"):
        attach(NetworkSpec("box-1"), Namespace().pid)
    detach("box-1")
    assert sweep(set()) == []
    assert everything() == before


@on_a_host
def test_a_bridge_that_somebody_deleted_is_made_anew() -> None:
    make_world()
    before = everything()
    one, two = Namespace(), Namespace()
    attach(NetworkSpec("box-1", (WEB,)), one.pid)
    ip(f"link del {BRIDGE}")
    two.serve(80)
    attach(NetworkSpec("box-2", (WEB,)), two.pid)
    assert status("box-1") is None
    assert ask("127.0.0.1", 8080) == "10.213.0.1"
    detach("box-2")
    assert everything() == before


@on_a_host
def test_a_bridge_with_a_port_of_somebody_else_stays() -> None:
    attach(NetworkSpec("box-1"), Namespace().pid)
    ip("link add guest0 type veth")
    ip(f"link set guest0 master {BRIDGE}")
    detach("box-1")
    assert f"master {BRIDGE}" in output("ip", "link", "show", "guest0")
    ip("link del guest0")
    sweep(set())
    assert BRIDGE not in everything()


@on_a_host
def test_a_subnet_that_the_host_has_a_route_into_is_left_out() -> None:
    make_world("10.213.1.1", "10.213.1.2")
    attached = attach(NetworkSpec("box-1"), Namespace().pid)
    assert attached.address in SUBNETS[1]
    second = attach(NetworkSpec("box-2"), Namespace().pid)
    assert second.address == attached.address + 1


@on_a_host
def test_what_the_administrator_switched_stays_switched() -> None:
    make_world()
    switch("ipv4/ip_forward", 1)
    attach(NetworkSpec("box-1"), Namespace().pid)
    detach("box-1")
    assert switch("ipv4/conf/wan0/forwarding") == "1"
    switch("ipv4/ip_forward", 0)
    attach(NetworkSpec("box-1"), Namespace().pid)
    switch("ipv4/ip_forward", 1)
    detach("box-1")
    assert switch("ipv4/conf/wan0/forwarding") == "1"


@pytest.mark.parametrize("listening", ["127.0.0.1", "0.0.0.0"])
@pytest.mark.parametrize("kind", ["tcp", "udp"])
@on_a_host
def test_a_port_where_the_host_listens_is_refused(kind: str, listening: str) -> None:
    serve(8080, kind, address=listening)
    before = everything()
    for address in ("127.0.0.1", "0.0.0.0"):
        with pytest.raises(StateError, match="a program of the host listens there"):
            attach(NetworkSpec("box-1", (Port(address, 8080, 80, kind),)), Namespace().pid)  # type: ignore[arg-type]
    assert everything() == before


@on_a_host
def test_an_address_that_the_host_has_not_is_refused() -> None:
    with pytest.raises(StateError, match="does not have that address"):
        attach(NetworkSpec("box-1", (Port("203.0.113.9", 8080, 80, "tcp"),)), Namespace().pid)
    assert BRIDGE not in everything()


@on_a_host
def test_a_port_that_another_jail_published_is_refused() -> None:
    make_world()
    attach(NetworkSpec("box-1", (Port(HOST, 8080, 80, "tcp"),)), Namespace().pid)
    before = everything()
    for address in (HOST, "0.0.0.0"):
        with pytest.raises(StateError, match="jail box-1 has published it"):
            attach(NetworkSpec("box-2", (Port(address, 8080, 80, "tcp"),)), Namespace().pid)
    assert everything() == before
    attach(NetworkSpec("box-2", (WEB, Port(HOST, 8080, 80, "udp"))), Namespace().pid)


@on_a_host
def test_the_network_of_the_host_is_never_taken_for_a_jail() -> None:
    before = everything()
    with pytest.raises(StateError, match="has the host's network"):
        attach(NetworkSpec("box-1"), os.getpid())
    gone = start(lambda: None)
    end(gone)
    with pytest.raises(StateError, match="is gone"):
        attach(NetworkSpec("box-1"), gone)
    assert everything() == before


@on_a_host
def test_only_root_changes_the_network() -> None:
    box = Namespace()

    def try_it() -> None:
        with pytest.raises(PrivilegeError, match="only root"):
            attach(NetworkSpec("box-1"), box.pid)

    in_child(try_it, uid=NOBODY)
    assert BRIDGE not in everything()


@on_a_host
def test_the_lock_lets_one_at_a_time() -> None:
    attach(NetworkSpec("box-1"), Namespace().pid)
    with open(LOCK) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        # Closed in the child, which would hold the lock along with us.
        waiting = start(lambda: (file.close(), detach("box-1")))
        assert not settled(lambda: BRIDGE not in everything(), patience=0.3)
    assert end(waiting) == 0
    assert BRIDGE not in everything()


@on_a_host
def test_switches_that_cannot_be_written_are_told() -> None:
    before = everything()
    output("mount", "--bind", "/proc/sys/net/ipv4", "/proc/sys/net/ipv4")
    output("mount", "-o", "remount,bind,ro", "/proc/sys/net/ipv4")
    with pytest.raises(BackendError, match=r"cannot set net/ipv4/conf/jailkit0/.*: Read-only file system"):
        attach(NetworkSpec("box-1"), Namespace().pid)
    assert everything() == before
