"""Following `extends`: which files a profile is made of, and how they merge."""

from __future__ import annotations

import os.path
import re
from dataclasses import dataclass, field

from jailkit.errors import Fault, ProfileError
from jailkit.profile.compose import Reading, compose
from jailkit.profile.find import find_shipped
from jailkit.profile.nodes import Entry, Listing, Mapping, Node, Scalar, plain
from jailkit.profile.paths import clean_source, one_line
from jailkit.profile.read import read_text
from jailkit.profile.refusal import Refusal, shown

MAX_EXTENDS = 16
MAX_FILES = 64


@dataclass(slots=True)
class _Chain:
    """The files being read, from the top one down to the current one, and those already merged."""

    reading: Reading
    open: list[str] = field(default_factory=list)
    done: set[str] = field(default_factory=set)


def resolve(path: str, faults: list[Fault]) -> Mapping:
    """Read a profile and what it extends into one mapping; faults that can be got over are added to `faults`.

    Raises:
        ProfileError: the profile itself cannot be read or is no YAML mapping.
    """
    return _resolve(path, _Chain(Reading(faults)))


def merge(base: Mapping, over: Mapping) -> Mapping:
    """Lay one mapping over another: lists add up without repeating an item, mappings merge, values override.

    A key without a value (`binaries:` and nothing else) changes nothing. `command` is one value, though it is
    written as a list.
    """
    entries = dict(base.entries)
    for key, entry in over.entries.items():
        below = entries.get(key)
        node = entry.node if below is None else _laid_over(below.node, entry.node, key)
        entries[key] = Entry(entry.place, node)
    return Mapping(over.place, entries)


def _laid_over(base: Node, over: Node, key: str) -> Node:
    if isinstance(base, Mapping) and isinstance(over, Mapping):
        return merge(base, over)
    if isinstance(base, Listing) and isinstance(over, Listing) and key != "command":
        return _add_up(base, over)
    return base if isinstance(over, Scalar) and over.value is None else over


def _add_up(base: Listing, over: Listing) -> Listing:
    known = {repr(plain(item)) for item in base.items}
    numbered = zip(over.items, over.numbers, strict=True)
    fresh = [(item, number) for item, number in numbered if repr(plain(item)) not in known]
    return Listing(
        over.place,
        base.items + tuple(item for item, _ in fresh),
        base.numbers + tuple(number for _, number in fresh),
    )


def _resolve(path: str, chain: _Chain) -> Mapping:
    own = compose(read_text(path), path, chain.reading)
    own = _anchored(own, path, chain.reading.faults)
    chain.open.append(os.path.realpath(path))
    merged = Mapping(own.place, {})
    references = _references(own, chain.reading.faults)
    for reference in references:
        parent = _parent(path, reference, chain)
        if parent is not None:
            merged = merge(merged, parent)
    chain.done.add(chain.open.pop())
    kept = Entry(own.place, Listing(own.place, tuple(references), tuple(range(len(references)))))
    return merge(merged, Mapping(own.place, {**own.entries, "extends": kept}))


def _references(own: Mapping, faults: list[Fault]) -> list[Scalar]:
    """Give what `extends` names; what cannot be a name or a path is a fault."""
    if "extends" not in own.entries:
        return []
    node = own.entries["extends"].node
    if isinstance(node, Scalar) and node.value is None:
        return []
    items = node.items if isinstance(node, Listing) else (node,)
    if len(items) > MAX_FILES:
        faults.append(node.place.fault(f"extends more than {MAX_FILES} profiles", "extends"))
        return []
    references: list[Scalar] = []
    for item in items:
        try:
            references.append(Scalar(item.place, one_line(plain(item))))
        except Refusal as refusal:
            faults.append(item.place.fault(refusal.message, "extends"))
    return references


def _parent(path: str, reference: Scalar, chain: _Chain) -> Mapping | None:
    """Read one extended profile without its name and its own `extends`; None when it was merged before."""
    place = reference.place
    try:
        target = locate_parent(path, str(reference.value))
        real = os.path.realpath(target)
        if real in chain.open:
            shown_chain = " -> ".join(os.path.basename(link) for link in [*chain.open[chain.open.index(real) :], real])
            raise Refusal(f"profiles extend each other in a circle: {shown_chain}")
        if real in chain.done:
            return None
        if len(chain.open) >= MAX_EXTENDS or len(chain.done) >= MAX_FILES:
            raise Refusal(f"extends more than {MAX_EXTENDS} profiles deep or {MAX_FILES} in all")
        parent = _resolve(target, chain)
    except Refusal as refusal:
        chain.reading.faults.append(place.fault(refusal.message, "extends", refusal.suggestion))
        return None
    except ProfileError as error:
        chain.reading.faults.extend(error.faults)
        return None
    entries = {key: entry for key, entry in parent.entries.items() if key not in ("name", "extends")}
    return Mapping(parent.place, entries)


def locate_parent(path: str, reference: str) -> str:
    """Give the file that a reference means: one in the profile's own folder or below, or a shipped profile.

    Raises:
        Refusal: the reference leaves the folder, or there is no such profile.
    """
    if reference.startswith("/") or ".." in reference.split("/"):
        raise Refusal(f"{shown(reference)} is outside the profile's folder; name a shipped profile or a file in it")
    if "/" not in reference and not reference.endswith((".yaml", ".yml")):
        return find_shipped(reference)
    folder = os.path.dirname(os.path.abspath(path))
    target = os.path.join(folder, reference)
    # A link may lead anywhere, so what counts is where it ends; the folder itself may be reached by one.
    if not os.path.realpath(target).startswith(os.path.join(os.path.realpath(folder), "")):
        raise Refusal(f"{shown(reference)} is a link that leaves the profile's folder")
    if not os.path.exists(target):
        raise Refusal(f"{shown(reference)} does not exist in {folder}")
    return os.path.normpath(target)


def _anchored(own: Mapping, path: str, faults: list[Fault]) -> Mapping:
    """Make the relative sources of `files` absolute, because a merged profile has no folder of its own."""
    entry = own.entries.get("files")
    if entry is None or not isinstance(entry.node, Listing):
        return own
    folder = os.path.dirname(os.path.abspath(path))
    files = {number: _anchored_file(item, folder) for number, item in enumerate(entry.node.items)}
    for number, item in files.items():
        if item is None:
            place = entry.node.items[number].place
            faults.append(place.fault("a relative source needs a `target`", f"files[{number}]"))
    kept = {number: item for number, item in files.items() if item is not None}
    listing = Listing(entry.node.place, tuple(kept.values()), tuple(kept))
    return Mapping(own.place, {**own.entries, "files": Entry(entry.place, listing)})


def _anchored_file(item: Node, folder: str) -> Node | None:
    """Give one item of `files` with an absolute source; None when it would then have no target."""
    source = item.entries.get("source") if isinstance(item, Mapping) else Entry(item.place, item)
    if source is None or not isinstance(source.node, Scalar) or not _is_relative(source.node.value):
        return item
    if not isinstance(item, Mapping) or "target" not in item.entries:
        return None
    absolute = Scalar(source.node.place, f"{_escaped(folder)}/{source.node.value}")
    return Mapping(item.place, {**item.entries, "source": Entry(source.place, absolute)})


def _escaped(folder: str) -> str:
    """Keep `*`, `?` and `[` in the folder's own path from being read as a glob."""
    return re.sub(r"([*?[])", r"[\1]", folder)


def _is_relative(source: object) -> bool:
    """True for a source that may be joined to the profile's folder; what is refused anyway is left as written."""
    try:
        return not clean_source(source).startswith("/")
    except Refusal:
        return False
