"""The JSON Schema says what the loader takes."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from jsonschema import Draft202012Validator

from jailkit.errors import ProfileError
from jailkit.profile import Profile, json_schema, load_profile, shipped_profiles
from jailkit.profile.compose import Reading, compose
from jailkit.profile.keys import SECTIONS, keys_of
from jailkit.profile.nodes import plain

from .strategies import PLAUSIBLE, as_yaml
from .test_load import EVERYTHING

VALIDATOR = Draft202012Validator(json_schema())


def complaints(text: str) -> list[str]:
    data = plain(compose(text, "x.yaml", Reading([])))
    return [f"{error.json_path}: {error.message}" for error in VALIDATOR.iter_errors(data)]


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(json_schema())
    assert json_schema()["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize("path", shipped_profiles(), ids=lambda path: Path(path).stem)
def test_it_takes_the_shipped_profiles(path: str) -> None:
    assert complaints(Path(path).read_text()) == []


def test_it_takes_every_field() -> None:
    assert complaints(EVERYTHING) == []


def objects(schema: Any) -> list[dict[str, Any]]:
    if isinstance(schema, list):
        return [found for part in schema for found in objects(part)]
    if not isinstance(schema, dict):
        return []
    own = [schema] if "properties" in schema else []
    return own + [found for part in schema.values() for found in objects(part)]


def test_every_object_is_closed_and_every_key_described_and_kebab() -> None:
    found = objects(json_schema())
    assert len(found) > 10
    for schema in found:
        assert schema["additionalProperties"] is False
        for key, field in schema["properties"].items():
            assert "description" in field, key
            assert key == key.lower()
            assert "_" not in key


@pytest.mark.parametrize(
    "text",
    [
        "name: X",
        "name: ../x",
        "binaries: [sh]",
        "name: x\nbinarys: []",
        "name: x\nbinaries: [{nam: x}]",
        "name: x\nbinaries: [{name: x, optional: 'yes'}]",
        "name: x\nlimits: {memory: lots}",
        "name: x\nlimits: {memory: -1}",
        "name: x\nlimits: {cpus: all}",
        "name: x\nlimits: {wall-time: soon}",
        "name: x\nlimits: {wall-time: ''}",
        "name: x\nlimits: {pids: 0}",
        "name: x\nlevel: host",
        "name: x\nisolation: {network: any}",
        "name: x\ndevices: [sda]",
        "name: x\ndirectories: [/proc/x]",
        "name: x\ndirectories: [/a/../b]",
        "name: x\ndirectories: [a]",
        "name: x\ntext: {/sys/x: y}",
        "name: x\nsymlinks: {a: b}",
        "name: x\nfiles: [/dev/sda]",
        "name: x\nfiles: [{source: ../x, target: /x}]",
        "name: x\nenvironment: {A-B: c}",
        "name: x\nusers: [{name: A}]",
        "name: x\nmounts: [{type: nfs, target: /x}]",
        "name: x\naccept-gaps: [name]",
        "name: x\nsmoke: [{command: []}]",
        "name: x\nsmoke: [{command: a, stdout: {contain: x}}]",
        "name: x\nsmoke: [{command: a, exit-code: 256}]",
        "name:",
        "name: a..b",
        "name: x\nlimits: {memroy: }",
        "name: x\nlimits: {cpuset: 0-1,3}",
        "name: x\nlimits: {memory: 0}",
        "name: x\nlimits: {memory: 0K}",
        "name: x\nlimits: {memory: 64iB}",
        "name: x\nlimits: {memory: 9223372036854775808}",
        "name: x\nlimits: {cpus: 0}",
        "name: x\nlimits: {cpus: 0%}",
        "name: x\nlimits: {cpus: 8193}",
        "name: x\nlimits: {cpuset: 1.5}",
        "name: x\nlimits: {cpuset: 8192}",
        "name: x\nlimits: {wall-time: 0}",
        "name: x\nlimits: {wall-time: 0s}",
        "name: x\nlimits: {wall-time: 1000000001}",
        "name: x\nisolation: {capabilities: [CHWON]}",
        "name: x\nisolation: {user: -1}",
        "name: x\nisolation: {user: 5a}",
        "name: x\nusers: [{name: a, groups: ['5']}]",
        "name: x\ndirectories: [{path: /a, owner: 5a}]",
        "name: x\ndirectories: [{path: /a, mode: 0777}]",
        "name: x\ndirectories: [{path: /a, mode: 4755}]",
        "name: x\ndirectories: [{path: /a, mode: '4755'}]",
        "name: x\ndirectories: [{path: /a, mode: 0o2755}]",
        "name: x\ndirectories: [{path: /a, mode: 0666}]",
        "name: x\ndirectories: [{path: /a, mode: 007}]",
        "name: x\ndirectories: [/]",
        "name: x\nworkdir: /proc",
        "name: x\nworkdir: /a/../b",
        "name: x\nworkdir: a",
        "name: x\ntext: {/dev/x: y}",
        "name: x\ntext: {/x/: y}",
        "name: x\nsymlinks: {/dev: x}",
        "name: x\nfiles: [{source: /x, target: /dev/x}]",
        "name: x\nfiles: [/]",
        "name: x\nfiles: [/./]",
        "name: x\nfiles: [//proc/x]",
        "name: x\nfiles: [/./dev/x]",
        "name: x\nbinaries: ['/bin/../sh']",
        "name: x\nbinaries: [bin/sh]",
        "name: x\nbinaries: [..]",
        "name: x\nbinaries: [/proc/self/exe]",
        'name: x\nenvironment: {A: "b\\u202e"}',
        'name: x\nenvironment: {A: "b\\nc"}',
        'name: x\ndescription: "b\\r"',
        "name: x\ncommand: ''",
        "name: x\ncommand: ' '",
        "name: x\ncommand: ['', a]",
        "name: x\nextends: [~]",
        "name: x\nextends: /a.yaml",
        "name: x\nextends: a/../b.yaml",
        f"name: x\nsmoke: [{{command: a, stdout: {{matches: {'a' * 301}}}}}]",
        "name: x\nlimits: {cpu-weight: 0}",
        "name: x\nlimits: {cpu-weight: 10001}",
        "name: x\nisolation: {network: bridge, ports: [80]}",
        "name: x\nisolation: {network: bridge, ports: ['80:65536']}",
        "name: x\nisolation: {network: bridge, ports: ['::1:80:80']}",
        "name: x\nisolation: {network: bridge, ports: ['256.0.0.1:80:80']}",
        "name: x\nisolation: {network: bridge, ports: ['80:80/sctp']}",
        "name: x\nisolation: {network: bridge, allow: [example.org]}",
        "name: x\nisolation: {network: bridge, allow: [192.0.2.0/33]}",
        "name: x\nisolation: {network: bridge, allow: ['192.0.2.7:0']}",
        "name: x\nstop-signal: SIGSTOP",
        "name: x\nstop-signal: 15",
        "name: x\nstop-signal: term",
        "name: x\nstop-timeout: 0",
        "name: x\nread-only-root: 'yes'",
        "name: x\nvolumes: [/]",
        "name: x\nvolumes: [/dev/shm]",
        "name: x\nvolumes: [/proc]",
        "name: x\nvolumes: [data]",
    ],
)
def test_it_refuses_what_the_loader_refuses(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(ProfileError):
        load_profile(str(path))
    assert complaints(text) != []


@pytest.mark.parametrize(
    "text",
    [
        *(f"name: x\n{key}:" for key in keys_of(Profile) if key != "name"),
        *(f"name: x\n{top}: {{{key}: }}" for top, part in SECTIONS.items() for key in keys_of(part)),
        "name: x\nlimits: {memory: 1, swap: 0, cpus: 8192, cpuset: 8191, wall-time: '30'}",
        "name: x\nlimits: {memory: 10B, swap: 0K, cpus: 0.1%, cpuset: '0', wall-time: 0.5s}",
        "name: x\nlimits: {memory: 0.5GiB, file-size: 9223372036854775807, wall-time: 1d2h3m4s5ms}",
        "name: x\nisolation: {capabilities: [Cap_Chown, sys_admin, CAP_BPF], user: '1000'}",
        "name: x\nusers: [{name: a, groups: [5, audio]}]",
        "name: x\ndirectories: [{path: /a/, mode: 01777}, {path: /b, mode: 5}, {path: /c, mode: 0o1777}]",
        "name: x\ndirectories: [{path: /a, mode: 00755}, {path: /b, mode: '5'}, {path: /dev, mode: 755, owner: '5:6'}]",
        "name: x\nworkdir: /\nusers: [{name: a, home: /home/a/}]",
        "name: x\nsymlinks: {/dev/fd: x, /...: ..a}",
        "name: x\nfiles: [/etc//hosts, /.../x, {source: ., target: /a/}, {source: dev, target: /procs/x}]",
        "name: x\nbinaries: ['[', /bin//sh, ..., ..a]",
        "name: x\ndescription: |\n  a\tb\n\n  c\nenvironment: {A: 5, B: ''}",
        "name: x\ncommand: [a, '']",
        "name: x\nextends: []",
        "name: x\nisolation: {network: bridge, ports: [1:65535, 0.0.0.0:1:1/udp, 255.255.255.255:2:2/tcp], allow: []}",
        "name: x\nisolation: {network: bridge, allow: [0.0.0.0/0, 10.0.0.0/8:443, 192.0.2.1/32, 9.9.9.9:53/udp]}",
        "name: x\nlimits: {cpu-weight: 10000}\nstop-signal: SIGRTMIN\nstop-timeout: 5\nvolumes: [/a/, /b]",
    ],
)
def test_it_takes_these_as_the_loader_does(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    load_profile(str(path))
    assert complaints(path.read_text()) == []


def test_every_default_is_one_that_may_be_written() -> None:
    for schema in objects(json_schema()):
        for key, field in schema["properties"].items():
            if "default" in field:
                whole = {**field, "$defs": json_schema()["$defs"]}
                assert list(Draft202012Validator(whole).iter_errors(field["default"])) == [], key


def test_its_patterns_take_little_time_whatever_the_text() -> None:
    start = time.process_time()
    for text in ("/" * 20_000, "/." * 10_000, "/a" * 10_000, "../" * 7_000, "1" * 20_000, "0h" * 10_000, "a:" * 10_000):
        for pattern in set(re.findall(r'"pattern": ("[^"]*")', json.dumps(json_schema()))):
            re.search(json.loads(pattern), text + "\n")
    assert time.process_time() - start < 5


@given(data=PLAUSIBLE)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_it_takes_what_the_loader_takes(tmp_path: Path, data: dict[str, Any]) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(as_yaml(data))
    try:
        load_profile(str(path))
    except ProfileError:
        assume(False)
    assert complaints(path.read_text()) == []
