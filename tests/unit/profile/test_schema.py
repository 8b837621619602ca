"""The JSON Schema says what the loader takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from jsonschema import Draft202012Validator

from jailkit.errors import ProfileError
from jailkit.profile import json_schema, load_profile, shipped_profiles
from jailkit.profile.compose import Reading, compose
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
    ],
)
def test_it_refuses_what_the_loader_refuses(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(ProfileError):
        load_profile(str(path))
    assert complaints(text) != []


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
