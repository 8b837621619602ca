"""YAML as nodes that know where they stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jailkit.errors import Fault, ProfileError

Loc = Sequence[str | int]


@dataclass(frozen=True, slots=True)
class Place:
    """A position in a file; line and column count from 1, 0 is the file as a whole."""

    file: str
    line: int = 0
    column: int = 0

    def fault(self, message: str, key: str = "", suggestion: str | None = None) -> Fault:
        """Make a fault that points here."""
        return Fault(self.file, self.line, self.column, key, message, suggestion)

    def error(self, message: str, key: str = "", suggestion: str | None = None) -> ProfileError:
        """Make the error of one fault, for what leaves nothing to go on with."""
        return ProfileError([self.fault(message, key, suggestion)])


@dataclass(frozen=True, slots=True)
class Scalar:
    """A single value."""

    place: Place
    value: str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Listing:
    """A list. `numbers` are the items' positions in the files that they come from."""

    place: Place
    items: tuple[Node, ...]
    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """A key's place, and what stands under it."""

    place: Place
    node: Node


@dataclass(frozen=True, slots=True)
class Mapping:
    """Keys and what stands under them, in the file's order."""

    place: Place
    entries: dict[str, Entry]


Node = Scalar | Listing | Mapping


def plain(node: Node) -> Any:  # noqa: ANN401 - plain data is what a model validates
    """Give a node as plain data. Depth and size were bounded when it was composed."""
    if isinstance(node, Mapping):
        return {key: plain(entry.node) for key, entry in node.entries.items()}
    if isinstance(node, Listing):
        return [plain(item) for item in node.items]
    return node.value


def locate(node: Node, loc: Loc) -> tuple[Place, Place, str]:
    """Follow a validator's location as far as the file goes.

    Returns:
        The place of the last key or item, the place of what stands there, and the key path as its file has it.
    """
    at, path = node.place, ""
    for step in loc:
        if isinstance(node, Mapping) and isinstance(step, str) and step in node.entries:
            at, node = node.entries[step].place, node.entries[step].node
            path = joined(path, step)
        elif isinstance(node, Listing) and isinstance(step, int) and step < len(node.items):
            path += f"[{node.numbers[step]}]"
            node = node.items[step]
            at = node.place
        else:
            break
    return at, node.place, path


def joined(path: str, key: str) -> str:
    """Add a key to a key path; one that is more than a word is put in brackets."""
    if not key.replace("-", "").replace("_", "").isalnum() or not key.isascii():
        shown = key if key.isprintable() and key else repr(key)
        return f"{path}[{shown[:80]}]"
    return f"{path}.{key[:80]}" if path else key[:80]
