"""The half of a plan that is used each time a jail is entered, as plain data.

A module of its own, with the standard library only: making the classes of the other half would cost every
`jailkit exec` some milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from signal import SIGTERM
from typing import Literal

from jailkit.linux.devices import DEVICES


@dataclass(frozen=True, slots=True)
class Account:
    """A user as the jail's own passwd and group show it."""

    name: str
    uid: int
    gid: int
    home: str
    shell: str
    groups: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class IoLimit:
    """Bytes and operations a second on the device that holds `path`; None is unlimited."""

    path: str
    read_bps: int | None = None
    write_bps: int | None = None
    read_iops: int | None = None
    write_iops: int | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits that the profile sets; None leaves a resource as the caller has it. Bytes, CPUs, seconds, counts.

    `cpu_weight` is what the kernel calls cpu.weight (Documentation/admin-guide/cgroup-v2.rst): 1 to 10000, 100 usual.
    """

    memory: int | None = None
    swap: int | None = None
    cpus: float | None = None
    cpu_weight: int | None = None
    cpuset: str | None = None
    pids: int | None = None
    io: tuple[IoLimit, ...] = ()
    open_files: int | None = None
    file_size: int | None = None
    wall_time: float | None = None


@dataclass(frozen=True, slots=True)
class Mount:
    """A mount of the profile, made at start by the levels that own a mount namespace. `size` is in bytes."""

    type: Literal["bind", "tmpfs"]
    target: str
    source: str | None = None
    read_only: bool = False
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Port:
    """A port of the jail that is reached at an IPv4 address of the host, 0.0.0.0 for all of them, and a port there."""

    address: str
    host_port: int
    port: int
    protocol: Literal["tcp", "udp"]


@dataclass(frozen=True, slots=True)
class Destination:
    """An IPv4 network that the jail may reach, in CIDR form, a single address with /32.

    All its ports where `port` is None, and then every protocol; else both are given.
    """

    network: str
    port: int | None
    protocol: Literal["tcp", "udp"] | None


@dataclass(frozen=True, slots=True)
class Isolation:
    """What the profile asks for beyond its level; None takes what the level gives.

    `ports` and `allow` come with the network `bridge` only. Where `allow` is None the jail reaches everything.
    """

    namespaces: tuple[str, ...] | None = None
    capabilities: tuple[str, ...] = ()
    no_new_privileges: bool | None = None
    seccomp: str | None = None
    network: Literal["none", "host", "bridge"] | None = None
    ports: tuple[Port, ...] = ()
    allow: tuple[Destination, ...] | None = None


@dataclass(frozen=True, slots=True)
class Smoke:
    """A command that proves the jail works, and what it must answer.

    `stdout_equals` is compared whole, `stdout_contains` as a substring, `stdout_matches` by re.search;
    each None asks nothing.
    """

    command: tuple[str, ...]
    exit_code: int = 0
    stdin: str = ""
    stdout_equals: str | None = None
    stdout_contains: str | None = None
    stdout_matches: str | None = None
    user: str | None = None
    timeout: float = 30.0


@dataclass(frozen=True, slots=True)
class Runtime:
    """All that entering a jail needs.

    Attributes:
        workdir: None where commands start in their user's home.
        serves: the profile names `command` itself; else that is a shell, which nobody would start as a service.
        devices: names of the nodes in /dev (jailkit.linux.devices).
        read_only_root: everything but `volumes`, tmpfs and /dev is mounted read-only, at levels that mount.
        volumes: directories of the jail that stay writable and are kept, none below another, without links.
        stop_signal: the number of the signal that asks the command to stop; `stop_timeout` are the seconds it then has.
        root_accepted: commands may run as uid 0 where a level takes care, because the gap `isolation.user` is accepted.
    """

    user: str
    accounts: tuple[Account, ...]
    environment: tuple[tuple[str, str], ...]
    workdir: str | None
    command: tuple[str, ...]
    limits: Limits = field(default_factory=Limits)
    isolation: Isolation = field(default_factory=Isolation)
    mounts: tuple[Mount, ...] = ()
    smoke: tuple[Smoke, ...] = ()
    serves: bool = False
    devices: tuple[str, ...] = tuple(DEVICES)
    read_only_root: bool = False
    volumes: tuple[str, ...] = ()
    stop_signal: int = SIGTERM.value
    stop_timeout: float = 10.0
    root_accepted: bool = False
