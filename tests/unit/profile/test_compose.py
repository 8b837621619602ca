"""YAML to nodes: which scalars are what, where they stand, and what no profile may hold."""

# ruff: noqa: E501 - one case a line

from __future__ import annotations

from typing import Any

import pytest
import yaml

from jailkit.errors import ProfileError
from jailkit.profile import compose as module
from jailkit.profile.compose import MAX_DEPTH, MAX_NODES, Reading, compose
from jailkit.profile.nodes import joined, locate, plain


@pytest.fixture(params=["CSafeLoader", "SafeLoader"], autouse=True)
def _loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test with libyaml and with PyYAML's own parser, which is used where libyaml is absent."""
    if not hasattr(yaml, request.param):
        pytest.skip("this PyYAML was built without libyaml")
    monkeypatch.setattr(module, "_LOADER", getattr(yaml, request.param))


def value_of(text: str) -> Any:
    reading = Reading([])
    data = plain(compose(f"key: {text}", "x.yaml", reading))["key"]
    assert not reading.faults
    return data


def faults_of(text: str) -> list[str]:
    reading = Reading([])
    try:
        compose(text, "x.yaml", reading)
    except ProfileError as error:
        reading.faults += error.faults
    return [f"{fault.line}:{fault.column} {fault.message}" for fault in reading.faults]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True), ("True", True), ("FALSE", False), ("yes", "yes"), ("on", "on"), ("n", "n"),
        ("null", None), ("~", None), ("", None), ("Null", None), ("none", "none"),
        ("5", 5), ("-5", -5), ("0", 0), ("+5", "+5"), ("0755", "0755"), ("00", "00"), ("0o17", "0o17"), ("0x1f", "0x1f"),
        ("1_000", "1_000"), ("9" * 19, int("9" * 19)), ("9" * 20, "9" * 20), ("9" * 5000, "9" * 5000),
        ("1.5", 1.5), (".5", 0.5), ("-1.5e3", -1500.0), ("1e3", 1000.0), ("1.", "1."), ("1e999", "1e999"), (".inf", ".inf"),
        (".nan", ".nan"), ("1.2.3", "1.2.3"),
        ("22:22", "22:22"), ("127.0.0.1:8080:80", "127.0.0.1:8080:80"), ("1:30", "1:30"), ("2024-01-31", "2024-01-31"),
        ("2024-01-31 10:00:00", "2024-01-31 10:00:00"), ("=", "="),
        ("'5'", "5"), ('"true"', "true"), ("!!str 5", "5"), ("! 5", "5"), ('"a\\tb"', "a\tb"), ("'~'", "~"),
        ("|\n  a\n  b", "a\nb"), (">\n  a\n  b", "a b"), ("[1, {a: b}]", [1, {"a": "b"}]), ("!!seq [a]", ["a"]),
        ("!!map {a: 1}", {"a": 1}), ("{}", {}), ("[]", []), ("[&a x, *a]", ["x", "x"]),
    ],
)  # fmt: skip
def test_scalars_are_those_of_the_core_schema(text: str, value: Any) -> None:
    found = value_of(text)
    assert found == value
    assert type(found) is type(value)


def test_keys_are_text() -> None:
    text = "1: a\ntrue: b\n1.10: c\n'q': d\n2024-01-31: e\n~: f"
    assert list(plain(compose(text, "x", Reading([])))) == ["1", "true", "1.10", "q", "2024-01-31", "~"]


@pytest.mark.parametrize(
    ("summary", "text", "faults"),
    [
        ("python tag", "a: !!python/object/apply:os.system [id]", [
            "1:4 the tag '!!python/object/apply:os.system' is not allowed; a profile holds plain values only"]),
        ("own tag", "a: !include /etc/shadow", ["1:4 the tag '!include' is not allowed; a profile holds plain values only"]),
        ("tag on a key", "!x a: 1", ["1:1 the tag '!x' is not allowed; a profile holds plain values only"]),
        ("wrong collection", "a: !!map [b]", ["1:4 the tag '!!map' is not allowed; a profile holds plain values only"]),
        ("binary", "a: !!binary aGk=", ["1:4 the tag '!!binary' is not allowed; a profile holds plain values only"]),
        ("duplicates", "a: 1\nb: 2\na: 3\nb: 4", [
            "3:1 the key 'a' is given twice; the first is on line 1", "4:1 the key 'b' is given twice; the first is on line 2"]),
        ("same key spelt twice", "a: 1\n'a': 2", ["2:1 the key 'a' is given twice; the first is on line 1"]),
        ("deep duplicates", "x: {a: 1, a: 2}", ["1:11 the key 'a' is given twice; the first is on line 1"]),
        ("merge key", "a: &a {b: 1}\nc:\n  <<: *a", [
            "3:3 merge keys are not supported; start from a profile with `extends`"]),
        ("list as key", "? [a]\n: 1", ["1:3 a key must be text, not a list or a mapping"]),
        ("mapping as key", "{{a: 1}: 2}", ["1:2 a key must be text, not a list or a mapping"]),
        ("recursive list", "a: &x [*x]", ["1:8 '*x' stands inside what it names"]),
        ("recursive mapping", "a: &x\n  b: *x", ["2:6 '*x' stands inside what it names"]),
        ("unknown alias", "a: *x", ["1:4 '*x' names no anchor above it"]),
        ("escaped zero byte", 'a: "x\\0"', [r"1:4 'x\x00' holds a control character"]),
        ("escaped escape", 'a: "\\e[31m"', [r"1:4 '\x1b[31m' holds a control character"]),
        ("escape in a key", '"\\e": 1', [r"1:1 '\x1b' holds a control character"]),
        ("two documents", "a: 1\n---\nb: 2", ["2:1 a second document begins here; a profile is one document"]),
        ("directive", "%YAML 1.1\n---\na: 1", ["1:1 YAML directives are not allowed"]),
        ("late directives", "a: 1\n...\n%TAG ! x\n---\n", ["3:1 YAML directives are not allowed"]),
        ("nothing", "", ["1:1 it is empty"]),
        ("only comments", "# nothing\n\n", ["1:1 it is empty"]),
        ("an empty document", "---\n...\n", ["1:1 it is empty"]),
        ("null", "~", ["1:1 it is empty"]),
        ("a list at the top", "# x\n- a", ["2:1 expected keys and values at the top, such as `name: shell`"]),
        ("a scalar at the top", "hello", ["1:1 expected keys and values at the top, such as `name: shell`"]),
    ],
)  # fmt: skip
def test_refused(summary: str, text: str, faults: list[str]) -> None:
    assert faults_of(text) == faults, summary


@pytest.mark.parametrize(
    ("text", "line"),
    [("a: [1, 2", 1), ("a: b: c", 1), ("a: 1\n\tb: 2", 2), ("a: 'x", 1), ("a: @x", 1), ("a: 1\n b: 2", 2), ("a: }", 1)],
)
def test_syntax_errors_have_a_position(text: str, line: int) -> None:
    [fault] = faults_of(text)
    assert fault.partition(" ")[2].startswith("not YAML: ")
    assert line <= int(fault.partition(":")[0]) <= line + 1


LAUGHS = "a0: &a0 [lol,lol,lol,lol,lol,lol,lol,lol,lol,lol]\n" + "".join(
    f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)


@pytest.mark.parametrize(
    ("summary", "text", "message"),
    [
        ("billion laughs", LAUGHS, f"more than {MAX_NODES} values"),
        (
            "one long text many times",
            f"a: &a {'x' * 100_000}\nb: [{','.join(['*a'] * 1000)}]",
            f"more than {MAX_NODES} values",
        ),
        ("many values", f"a: [{'a,' * (MAX_NODES + 1)}]", f"more than {MAX_NODES} values"),
        ("deep lists", "a: " + "[" * 100_000, f"nested deeper than {MAX_DEPTH} levels"),
        ("deep lists that end", "a: " + "[" * 2000 + "]" * 2000, f"nested deeper than {MAX_DEPTH} levels"),
        (
            "deep mappings",
            "".join(f"{' ' * n}a:\n" for n in range(200)) + " " * 200 + "a: 1",
            f"nested deeper than {MAX_DEPTH}",
        ),
        ("deep block lists", "a:\n" + "- " * 100_000 + "x", f"nested deeper than {MAX_DEPTH} levels"),
        ("deep keys", "? " * 100_000, "a key must be text"),
        (
            "deep by aliases",
            "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 100)),
            f"nested deeper than {MAX_DEPTH} levels",
        ),
    ],
)
def test_bombs(summary: str, text: str, message: str) -> None:
    [fault] = faults_of(text)
    assert message in fault, summary


def test_the_deepest_that_is_taken() -> None:
    lists = MAX_DEPTH - 1
    assert faults_of("a: " + "[" * lists + "]" * lists) == []
    assert len(faults_of("a: " + "[" * (lists + 1) + "]" * (lists + 1))) == 1


def test_values_are_counted_across_files() -> None:
    reading = Reading([])
    half = f"a: [{'a,' * (MAX_NODES // 2)}]"
    compose(half, "one.yaml", reading)
    with pytest.raises(ProfileError, match=r"two\.yaml.*more than"):
        compose(half, "two.yaml", reading)


def test_places() -> None:
    text = "name: x\nlimits:\n  memory: lots\nbinaries:\n  - sh\n  - {name: ls, optional: 5}\n"
    root = compose(text, "x.yaml", Reading([]))

    def at(*loc: str | int) -> tuple[int, int, int, int, str]:
        key, value, path = locate(root, loc)
        return key.line, key.column, value.line, value.column, path

    assert at("limits", "memory") == (3, 3, 3, 11, "limits.memory")
    assert at("binaries", 1, "optional") == (6, 16, 6, 26, "binaries[1].optional")
    assert at("binaries", 0, "name") == (5, 5, 5, 5, "binaries[0]")
    assert at("absent") == (1, 1, 1, 1, "")


@pytest.mark.parametrize(
    ("path", "key", "result"),
    [
        ("", "name", "name"),
        ("limits", "wall-time", "limits.wall-time"),
        ("text", "/etc/motd", "text[/etc/motd]"),
        ("", "a b", "[a b]"),
        ("x", "", "x['']"),
        ("x", "a\x1b", "x['a\\x1b']"),
        ("x", "é", "x[é]"),
    ],
)
def test_key_paths(path: str, key: str, result: str) -> None:
    assert joined(path, key) == result
