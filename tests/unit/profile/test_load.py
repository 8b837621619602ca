"""A whole profile: every field, what it means, and the way through JSON and back."""

from __future__ import annotations

import dataclasses
import typing

import pytest
from pydantic import BaseModel, ValidationError

from jailkit.errors import ProfileError
from jailkit.plan import model as plan
from jailkit.profile import Profile, dump_profile, model, restore_profile
from jailkit.profile.keys import gap_keys, keys_of

from .conftest import Load

EVERYTHING = """
name: everything
description: |
  Two lines,
  and an ümlaut.
level: chroot-hardened
isolation:
  namespaces: [mount, pid]
  user: alice
  capabilities: [net_bind_service, CAP_CHOWN]
  no-new-privileges: false
  seccomp: none
  network: bridge
  ports: [8080:80, "127.0.0.2:8080:80", 0.0.0.0:5353:53/udp]
  allow: [192.0.2.0/24, 192.0.2.7, 192.0.2.7:443, 198.51.100.0/25:53/udp]
binaries: [sh, /usr/bin/env, {name: perl, optional: true}]
packages: [coreutils, {name: "libc6:i386", optional: true}]
libraries: [libnss_dns.so.2, {name: /usr/lib/x.so, optional: true}]
files:
  - /etc/hosts
  - /usr/share/doc/**
  - {source: site, target: /srv/www/, mode: 0640, owner: alice:www-data, optional: true}
directories: [/data/, {path: /tmp/x, mode: 1777, owner: 1000:1000}]
symlinks: {/usr/bin/vi: vim, /etc/alternatives/x: /usr/bin/x}
devices: [null, urandom]
text:
  /etc/motd: hello
  /etc/secret: {content: 5, mode: 0600, owner: alice}
users:
  - {name: alice, uid: 1000, gid: 100, home: /home/alice/, shell: /bin/sh, groups: [audio, 5]}
  - {name: www-data}
keep-privileges: [/usr/bin/ping]
environment: {LANG: C.UTF-8, N: 5, EMPTY: ""}
workdir: /
command: sh -c 'echo "a b"'
mounts:
  - {type: bind, source: /srv/data, target: /data/in, read-only: true}
  - {type: tmpfs, target: /scratch/, size: 10MiB}
limits:
  memory: 64MiB
  swap: 0
  cpus: 50%
  cpu-weight: 250
  cpuset: 0-1,3
  pids: 100
  io:
    - {path: /var, read-bps: 1MB, write-iops: 10}
  open-files: 64
  file-size: 1GiB
  wall-time: 1m30s
stop-signal: HUP
stop-timeout: 1.5s
read-only-root: true
volumes: [/var/lib/app/, /srv/data]
accept-gaps: [limits.memory, isolation.seccomp, mounts]
smoke:
  - {command: [echo, hi], stdout: "hi\\n"}
  - {command: cat, stdin: x, stdout: {contains: x}, user: root, timeout: 500ms, exit-code: 1}
  - {command: id, stdout: {matches: "^uid="}, user: 1000}
"""


def test_every_field_is_tried() -> None:
    assert all(f"{key}:" in EVERYTHING for key in keys_of(Profile) if key != "extends")


def test_what_every_field_means(load: Load) -> None:
    profile = load(EVERYTHING)
    assert profile.description == "Two lines,\nand an ümlaut.\n"
    assert profile.isolation.capabilities == ("CAP_NET_BIND_SERVICE", "CAP_CHOWN")
    assert profile.isolation.no_new_privileges is False
    assert profile.isolation.ports == (
        ("127.0.0.1", 8080, 80, "tcp"), ("127.0.0.2", 8080, 80, "tcp"), ("0.0.0.0", 5353, 53, "udp"),
    )  # fmt: skip
    assert profile.isolation.allow == (
        ("192.0.2.0/24", None, None), ("192.0.2.7/32", None, None), ("192.0.2.7/32", 443, "tcp"),
        ("198.51.100.0/25", 53, "udp"),
    )  # fmt: skip
    assert [(binary.name, binary.optional) for binary in profile.binaries] == [
        ("sh", False), ("/usr/bin/env", False), ("perl", True),
    ]  # fmt: skip
    hosts, doc, site = profile.files
    assert (hosts.source, hosts.target, hosts.mode, hosts.owner) == ("/etc/hosts", None, None, None)
    assert doc.source == "/usr/share/doc/**"
    assert site.source.endswith("/site")
    assert (site.target, site.mode, site.owner, site.optional) == ("/srv/www", 0o640, "alice:www-data", True)
    assert [(folder.path, folder.mode, folder.owner) for folder in profile.directories] == [
        ("/data", 0o755, None), ("/tmp/x", 0o1777, "1000:1000"),
    ]  # fmt: skip
    assert profile.devices == ("null", "urandom")
    assert profile.text["/etc/secret"] == model.TextFile.model_validate(
        {"content": "5", "mode": "0600", "owner": "alice"}
    )
    alice, www = profile.users
    assert (alice.uid, alice.gid, alice.home, alice.shell) == (1000, 100, "/home/alice", "/bin/sh")
    assert alice.groups == ("audio", 5)
    assert (www.uid, www.home) == (None, None)
    assert profile.environment == {"LANG": "C.UTF-8", "N": "5", "EMPTY": ""}
    assert profile.command == ("sh", "-c", 'echo "a b"')
    bind, tmpfs = profile.mounts
    assert (bind.type, bind.source, bind.target, bind.read_only) == ("bind", "/srv/data", "/data/in", True)
    assert (tmpfs.target, tmpfs.size) == ("/scratch", 10 << 20)
    limits = profile.limits
    assert (limits.memory, limits.swap, limits.cpus, limits.cpuset, limits.pids) == (64 << 20, 0, 0.5, "0-1,3", 100)
    assert limits.cpu_weight == 250
    assert (profile.stop_signal, profile.stop_timeout) == ("SIGHUP", 1.5)
    assert (profile.read_only_root, profile.volumes) == (True, ("/var/lib/app", "/srv/data"))
    assert (limits.open_files, limits.file_size, limits.wall_time) == (64, 1 << 30, 90.0)
    assert (limits.io[0].path, limits.io[0].read_bps, limits.io[0].write_iops) == ("/var", 10**6, 10)
    equal, contain, match = profile.smoke
    assert equal.stdout is not None
    assert equal.stdout.equals == "hi\n"
    assert contain.stdout is not None
    assert (contain.stdout.contains, contain.timeout, contain.exit_code, contain.stdin) == ("x", 0.5, 1, "x")
    assert match.stdout is not None
    assert (match.stdout.matches, match.user) == ("^uid=", "1000")


def test_defaults(load: Load) -> None:
    profile = load("name: x\n")
    assert profile.level == "chroot"
    assert profile.isolation == model.Isolation()
    assert profile.limits == model.Limits()
    assert profile.devices is None
    assert profile.command is None
    assert (profile.isolation.ports, profile.isolation.allow) == ((), None)
    assert (profile.stop_signal, profile.stop_timeout) == ("SIGTERM", 10.0)
    assert (profile.read_only_root, profile.volumes) == (False, ())


FRACTIONS = "name: x\nlimits: {wall-time: 1.1h, cpus: 33.3%}\nsmoke: [{command: a, timeout: 0.000000001s}]\n"


@pytest.mark.parametrize("text", ["name: x\n", EVERYTHING, FRACTIONS], ids=["least", "most", "fractions"])
def test_json_round_trip(load: Load, text: str) -> None:
    profile = load(text)
    assert restore_profile(dump_profile(profile)) == profile


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "nonsense", '{"name": "x", "more": 1}', '{"name": "x", "limits": {"memory": "lots"}}']
)
def test_a_damaged_store_is_an_error_for_people(text: str) -> None:
    with pytest.raises(ProfileError, match="stored profile"):
        restore_profile(text)


def test_models_are_frozen(load: Load) -> None:
    with pytest.raises(ValidationError):
        load("name: x\n").name = "y"  # type: ignore[misc]


def models() -> list[type[BaseModel]]:
    return [value for value in vars(model).values() if isinstance(value, type) and issubclass(value, BaseModel)]


def test_every_field_is_described() -> None:
    undescribed = [
        f"{m.__name__}.{name}" for m in models() for name, field in m.model_fields.items() if not field.description
    ]
    assert undescribed == []


@pytest.mark.parametrize(
    ("written", "planned"),
    [
        (model.Limits, plan.Limits),
        (model.IoLimit, plan.IoLimit),
        (model.Mount, plan.Mount),
        (model.Isolation, plan.Isolation),
        (model.User, plan.Account),
    ],
)
def test_the_plan_has_the_same_names(written: type[BaseModel], planned: type[typing.Any]) -> None:
    assert {field.name for field in dataclasses.fields(planned)} <= set(written.model_fields)


def test_gaps_are_keys() -> None:
    for key in gap_keys():
        top, _, name = key.partition(".")
        field = keys_of(Profile)[top]
        assert not name or name in keys_of(field.annotation)  # type: ignore[arg-type]
