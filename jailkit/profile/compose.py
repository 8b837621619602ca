"""YAML text to nodes, from the parser's events.

Events and not yaml.compose: the composer recurses in C, where deep nesting ends the process, and expands nothing
under a budget. Plain scalars follow YAML 1.2's core schema, except that a number with a leading zero stays text,
so that `0755` is a mode and `127.0.0.1:8080` never a sexagesimal.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from jailkit.errors import Fault
from jailkit.profile.nodes import Entry, Listing, Mapping, Node, Place, Scalar
from jailkit.profile.read import has_control
from jailkit.profile.refusal import shown

MAX_DEPTH = 32
MAX_NODES = 20_000
_WEIGHT = 100  # characters of text that count as one value more, so that aliases of a long text add up too

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_WORDS: dict[str, bool | None] = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
# What the parsers say about the mistakes of those who write YAML by hand, and what to do about it.
_PLAINER = {
    "cannot start any token": "a text cannot begin with this character; put it in quotes",
    "alphabetic or numeric character": "a text cannot begin with `*` or `&`; put it in quotes",
    "mapping values are not allowed": "a key is not expected here; quote a text with `: `, and indent all keys alike",
}
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,18})")
_FLOAT = re.compile(r"-?(?=[0-9.])(0|[1-9][0-9]{0,18})?(\.[0-9]{1,20}([eE][-+]?[0-9]{1,3})?|[eE][-+]?[0-9]{1,3})")


@dataclass(slots=True)
class Reading:
    """What the files of one profile have in common: the faults found, and the number of values so far."""

    faults: list[Fault]
    values: int = 0


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not come yet."""

    place: Place
    anchor: str | None
    items: list[Node] | None = None
    entries: dict[str, Entry] | None = None
    key: tuple[str, Place] | None = None
    depth: int = 0
    size: int = 1


@dataclass(frozen=True, slots=True)
class _Built:
    """A finished node, how deep it goes, and how much it is when its aliases are written out."""

    node: Node
    depth: int = 1
    size: int = 1


@dataclass(slots=True)
class _Composer:
    """The stack of what is open. Faults that leave the structure whole are collected; others are raised."""

    file: str
    reading: Reading
    stack: list[_Open] = field(default_factory=list)
    anchors: dict[str, _Built | None] = field(default_factory=dict)
    root: Node | None = None
    documents: int = 0

    def take(self, event: yaml.Event) -> None:
        mark = event.start_mark
        place = Place(self.file, mark.line + 1, mark.column + 1) if mark else Place(self.file)
        if isinstance(event, yaml.ScalarEvent):
            self.scalar(event, place)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            self.open(event, place)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            self.close()
        elif isinstance(event, yaml.AliasEvent):
            self.alias(event.anchor or "", place)
        elif isinstance(event, yaml.DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                raise place.error("a second document begins here; a profile is one document")

    def scalar(self, event: yaml.ScalarEvent, place: Place) -> None:
        if has_control(event.value):
            self.reading.faults.append(place.fault(f"{shown(event.value)} holds a control character"))
        if self.at_key():
            value: str | int | float | bool | None = event.value
        else:
            value = _core(event.value) if event.style in (None, "") and event.tag is None else event.value
        if event.tag not in (None, "!", _TAG + "str"):
            self.reading.faults.append(_tag_fault(event.tag, place))
        weight = 1 + len(event.value) // _WEIGHT
        self.count(weight, place)
        self.add(_Built(Scalar(place, value), size=weight), event.anchor)

    def open(self, event: yaml.CollectionStartEvent, place: Place) -> None:
        is_mapping = isinstance(event, yaml.MappingStartEvent)
        if event.tag not in (None, "!", _TAG + ("map" if is_mapping else "seq")):
            self.reading.faults.append(_tag_fault(event.tag, place))
        if self.at_key():
            raise place.error("a key must be text, not a list or a mapping")
        self.check_depth(1, place)
        self.count(1, place)
        if event.anchor:
            self.anchors[event.anchor] = None
        opened = _Open(place, event.anchor)
        if is_mapping:
            opened.entries = {}
        else:
            opened.items = []
        self.stack.append(opened)

    def close(self) -> None:
        done = self.stack.pop()
        node: Node
        if done.entries is not None:
            node = Mapping(done.place, done.entries)
        else:
            items = tuple(done.items or ())
            node = Listing(done.place, items, tuple(range(len(items))))
        self.add(_Built(node, done.depth + 1, done.size), done.anchor)

    def alias(self, anchor: str, place: Place) -> None:
        if anchor not in self.anchors:
            raise place.error(f"{shown('*' + anchor)} names no anchor above it")
        built = self.anchors[anchor]
        if built is None:
            raise place.error(f"{shown('*' + anchor)} stands inside what it names")
        self.check_depth(built.depth, place)
        self.count(built.size, place)
        self.add(built, None)

    def add(self, built: _Built, anchor: str | None) -> None:
        if anchor:
            self.anchors[anchor] = built
        if not self.stack:
            self.root = built.node
            return
        parent = self.stack[-1]
        parent.size += built.size
        parent.depth = max(parent.depth, built.depth)
        if parent.items is not None:
            parent.items.append(built.node)
        elif parent.key is None:
            parent.key = (self.key(built.node), built.node.place)
        else:
            self.enter(parent, *parent.key, built.node)

    def key(self, node: Node) -> str:
        if not isinstance(node, Scalar) or node.value is None:
            raise node.place.error("a key must be text")
        return str(node.value)

    def enter(self, parent: _Open, key: str, place: Place, node: Node) -> None:
        parent.key = None
        entries = parent.entries if parent.entries is not None else {}
        if key == "<<":
            self.reading.faults.append(place.fault("merge keys are not supported; start from a profile with `extends`"))
        elif key in entries:
            first = entries[key].place.line
            message = f"the key {shown(key)} is given twice; the first is on line {first}"
            self.reading.faults.append(place.fault(message))
        else:
            entries[key] = Entry(place, node)

    def at_key(self) -> bool:
        return bool(self.stack) and self.stack[-1].entries is not None and self.stack[-1].key is None

    def count(self, size: int, place: Place) -> None:
        self.reading.values += size
        if self.reading.values > MAX_NODES:
            raise place.error(f"more than {MAX_NODES} values, aliases counted where they are used")

    def check_depth(self, depth: int, place: Place) -> None:
        if len(self.stack) + depth > MAX_DEPTH:
            raise place.error(f"nested deeper than {MAX_DEPTH} levels")


def compose(text: str, file: str, reading: Reading) -> Mapping:
    """Turn YAML text into a mapping of nodes. Faults that leave the structure whole are added to `reading`.

    Raises:
        ProfileError: the text is no YAML, or its structure is not one of a profile: several documents, recursion,
            more nesting or more values than any honest profile has.
    """
    composer = _Composer(file, reading)
    for event in _events(text, file):
        composer.take(event)
    root = composer.root
    if root is None or (isinstance(root, Scalar) and root.value is None):
        raise Place(file, 1, 1).error("it is empty")
    if not isinstance(root, Mapping):
        raise root.place.error("expected keys and values at the top, such as `name: shell`")
    return root


def _events(text: str, file: str) -> Iterator[yaml.Event]:
    directive = re.search(r"^%", text, re.MULTILINE)
    if directive:
        # libyaml compares each %TAG with all before it: a file of them would take minutes.
        line = text.count("\n", 0, directive.start()) + 1
        raise Place(file, line, 1).error("YAML directives are not allowed")
    try:
        yield from yaml.parse(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(file, mark.line + 1, mark.column + 1) if mark else Place(file)
        raise place.error(f"not YAML: {_why(error, text)}") from error
    except yaml.YAMLError as error:
        raise Place(file).error(f"not YAML: {' '.join(str(error).split())}") from error


def _why(error: yaml.MarkedYAMLError, text: str) -> str:
    if error.problem == "exceeded maximum nesting depth":
        return f"nested deeper than {MAX_DEPTH} levels"  # libyaml 0.2.6 has a bound of its own.
    mark = error.problem_mark
    line = text.split("\n")[mark.line :][:1] if mark else []
    if mark and line and line[0][mark.column : mark.column + 1] == "\t":
        return "there is a tab; indent with spaces"
    problem = error.problem or error.context or "it cannot be read"
    return next((plain for words, plain in _PLAINER.items() if words in problem), problem)


def _core(text: str) -> str | int | float | bool | None:
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    return text


def _tag_fault(tag: str | None, place: Place) -> Fault:
    spelt = (tag or "").replace(_TAG, "!!", 1)
    return place.fault(f"the tag {shown(spelt)} is not allowed; a profile holds plain values only")
