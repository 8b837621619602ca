"""A host with a network of its own for a test, namespaces that stand for jails and for the world, and traffic."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jailkit.linux.libc import (
    CLONE_NEWNET,
    CLONE_NEWNS,
    PR_SET_PDEATHSIG,
    prctl,
    setns,
    unshare,
)
from jailkit.linux.mounting import MS_PRIVATE, MS_REC, mount
from support.children import end, in_child

KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
HOST, WORLD = "198.51.100.1", "198.51.100.2"  # TEST-NET-2 of RFC 5737
OTHER = "198.51.100.3"
SILENCE = "no answer"


def on_a_host(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test in a child with its own network and its own /run; all of it ends with the child."""

    @functools.wraps(test)
    def wrapped(*arguments: Any, **keywords: Any) -> None:
        def body() -> None:
            unshare(CLONE_NEWNET | CLONE_NEWNS)
            mount("none", "/", "none", MS_REC | MS_PRIVATE)
            mount("tmpfs", "/run", "tmpfs", 0)
            ip("link set lo up")
            test(*arguments, **keywords)

        in_child(body)

    return wrapped


def ip(command: str) -> None:
    """Run ip(8)."""
    subprocess.run(["ip", *command.split()], check=True)


def output(*command: str) -> str:
    """Run a command and give its output."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def switch(name: str, value: int | None = None) -> str:
    """Read a switch below /proc/sys/net, or set it."""
    path = Path("/proc/sys/net", name)
    if value is not None:
        path.write_text(str(value))
    return path.read_text().strip()


def _child(work: Callable[[], None]) -> int:
    """Fork a child that calls `work` and dies with this process; give its pid."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            work()
            code = 0
        finally:
            os._exit(code)
    return pid


class Namespace:
    """A process that does nothing but have a network namespace of its own."""

    def __init__(self, flags: int = CLONE_NEWNET) -> None:
        ready, done = os.pipe()

        def live() -> None:
            unshare(flags)
            os.write(done, b"x")
            signal.pause()

        self.pid = _child(live)
        os.read(ready, 1)
        os.close(ready)
        os.close(done)
        self._servers: list[int] = []

    def run(self, function: Callable[[], Any]) -> Any:
        """Run a function in the namespace and give what it returns."""

        def work() -> Any:
            self.enter()
            return function()

        return in_child(work)

    def enter(self) -> None:
        """Take the calling process there."""
        with open(f"/proc/{self.pid}/ns/net") as file:
            setns(file.fileno(), CLONE_NEWNET)

    def ask(self, address: str, port: int, kind: str = "tcp", **options: Any) -> str:
        """Do what `ask` does, from there."""
        return str(self.run(lambda: ask(address, port, kind, **options)))

    def serve(self, port: int, kind: str = "tcp", address: str = "0.0.0.0") -> None:
        """Do what `serve` does, there."""
        self._servers.append(serve(port, kind, address=address, before=self.enter))

    def kill(self) -> None:
        """End the process and its servers, and with them the namespace."""
        for pid in [*self._servers, self.pid]:
            os.kill(pid, signal.SIGKILL)
            end(pid)


def serve(port: int, kind: str = "tcp", *, address: str = "0.0.0.0", before: Callable[[], None] = lambda: None) -> int:
    """Start a server that tells each caller its address, in a child; `before` is called in it. Gives its pid."""
    ready, done = os.pipe()

    def work() -> None:
        before()
        server = socket.socket(socket.AF_INET, KINDS[kind])
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address, port))
        if kind == "tcp":
            server.listen()
        os.write(done, b"x")
        while True:
            if kind == "tcp":
                connection, caller = server.accept()
                with contextlib.suppress(OSError), connection:
                    connection.sendall(caller[0].encode())
            else:
                _, caller = server.recvfrom(100)
                with contextlib.suppress(OSError):
                    server.sendto(caller[0].encode(), caller)

    pid = _child(work)
    os.close(done)
    assert os.read(ready, 1) == b"x", f"no server on port {port}"
    os.close(ready)
    return pid


def ask(address: str, port: int, kind: str = "tcp", *, source: str = "", source_port: int = 0) -> str:
    """Give the address that a server sees us by, the name of the error, or SILENCE."""
    with socket.socket(socket.AF_INET, KINDS[kind]) as client:
        client.settimeout(1.5)
        if source or source_port:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            client.bind((source, source_port))
        try:
            client.connect((address, port))
            if kind == "udp":
                client.send(b"?")
            return client.recv(100).decode()
        except TimeoutError:
            return SILENCE
        except OSError as error:
            return errno.errorcode[error.errno or 0]


def make_world(host: str = HOST, world: str = WORLD, name: str = "wan0") -> Namespace:
    """Connect the host with a namespace that stands for the world, which knows no route to any jail."""
    there = Namespace()
    ip(f"link add {name} type veth peer name eth0 netns {there.pid}")
    ip(f"addr add {host}/24 dev {name}")
    ip(f"link set {name} up")

    def furnish() -> None:
        ip("link set lo up")
        ip(f"addr add {world}/24 dev eth0")
        ip("link set eth0 up")

    there.run(furnish)
    return there


def everything() -> str:
    """Show all that jailkit may change of a network: links, rules and forwarding."""
    switches = sorted(Path("/proc/sys/net/ipv4/conf").glob("*/forwarding"))
    forwarding = [f"{path.parent.name} {path.read_text().strip()}" for path in switches]
    names = [line.split()[0].partition("@")[0] for line in output("ip", "-brief", "link").splitlines()]
    return "\n".join([*names, output("nft", "list", "ruleset"), *forwarding])


def settled(question: Callable[[], bool], *, patience: float = 5.0) -> bool:
    """Wait until something is so; False when it does not become so."""
    deadline = time.monotonic() + patience
    while not question():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
