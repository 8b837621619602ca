"""The manifest: JSON and back, the chain of reasons, and what is not taken for one."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest

from jailkit.manifest import Manifest, Record, record_to_data
from jailkit.plan.model import Reason

BASE = Reason("base", "base")
ROOT = Record("/", "directory", 0o755, 0, 0, BASE)
RECORDS = [
    Record("/usr/bin/sh", "symlink", 0o777, 0, 0, Reason("binaries: sh", "named"), target="dash"),
    Record(
        "/usr/bin/dash", "file", 0o755, 0, 0, Reason("binaries: sh", "link", "/usr/bin/sh"),
        size=5, sha256="ab" * 32, source="/usr/bin/dash", source_size=5, source_ctime_ns=1_700_000_000_123_456_789,
        package="dash", privileged=True,
    ),
    Record("/usr/lib/libc.so.6", "file", 0o644, 0, 0, Reason("binaries: sh", "library", "/usr/bin/dash"), size=1),
    Record("/dev/null", "device", 0o666, 0, 0, Reason("devices: null", "named"), device=(1, 3)),
    ROOT,
    Record("/home/jail/\udcff\n\"", "directory", 0o1777, 60999, 60999, Reason("users: jail", "account")),
]  # fmt: skip
MANIFEST = Manifest.of(RECORDS, [("dash", "0.5.12-2")])


def test_json_and_back_is_the_same() -> None:
    assert Manifest.loads(MANIFEST.dumps()) == MANIFEST


def test_defaults_are_not_written() -> None:
    written = json.loads(Manifest.of([ROOT]).dumps())["records"]
    assert written == [
        {"path": "/", "kind": "directory", "mode": 0o755, "uid": 0, "gid": 0, "reason": ["base", "base", None]}
    ]


@pytest.mark.parametrize("name", [field.name for field in fields(Record)])
def test_no_field_is_forgotten(name: str) -> None:
    others = {
        "path": "/x", "kind": "file", "mode": 0o600, "uid": 7, "gid": 8, "reason": Reason("k", "tree", "/v"),
        "size": 3, "sha256": "00", "target": "t", "device": (9, 10), "source": "/s", "source_size": 4,
        "source_ctime_ns": 5, "package": "p", "privileged": True,
    }  # fmt: skip
    manifest = Manifest.of([replace(ROOT, **{name: others[name]}), replace(ROOT, path="/")])
    assert Manifest.loads(manifest.dumps()) == manifest


def test_records_are_sorted_by_path() -> None:
    assert list(MANIFEST.records) == sorted(record.path for record in RECORDS)


def test_the_chain_goes_back_to_what_the_profile_named() -> None:
    chain = [record.path for record in MANIFEST.chain("/usr/lib/libc.so.6")]
    assert chain == ["/usr/lib/libc.so.6", "/usr/bin/dash", "/usr/bin/sh"]


def test_a_chain_that_bites_its_tail_ends() -> None:
    loop = [replace(ROOT, path=path, reason=Reason("k", "library", via)) for path, via in ["ab", "ba"]]
    assert [record.path for record in Manifest.of(loop).chain("a")] == ["a", "b"]


def test_a_chain_ends_where_the_manifest_knows_no_further() -> None:
    assert len(Manifest.of([replace(ROOT, reason=Reason("k", "tree", "/gone"))]).chain("/")) == 1


def test_a_record_in_full() -> None:
    assert record_to_data(ROOT)["reason"] == {"key": "base", "because": "base", "via": None}


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "null", "[]", '"x"', "3", "{}", '{"format": 1}', '{"format": 2, "packages": {}, "records": []}',
        '{"format": 1, "packages": {}, "records": []}',
        '{"format": 1, "packages": [], "records": []}',
        '{"format": 1, "packages": {}, "records": 5}',
        '{"format": 1, "packages": {}, "records": ["x"]}',
        '{"format": 1, "packages": {}, "records": [{"path": "/"}]}',
        '{"format": 1, "packages": {}, "records": [{"path": "/", "reason": 5}]}',
        MANIFEST.dumps().replace('"mode":493', '"mode":"493"'),
        MANIFEST.dumps().replace('"uid":0', '"uid":null'),
        MANIFEST.dumps().replace('"target":"dash"', '"target":5'),
        MANIFEST.dumps().replace('"device":[1,3]', '"device":5'),
        MANIFEST.dumps().replace('"path"', '"other"'),
        *(MANIFEST.dumps().replace('"path":"/usr/bin/dash"', f'"path":"{odd}"')
          for odd in ("../..", "usr", "", "/usr/", "//usr", "/usr/../etc", "/./usr")),
        "[" * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_manifest(text: str) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        Manifest.loads(text)
