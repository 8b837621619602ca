"""From the YAML of a policy to a Policy, strictly: what is not understood is refused, never passed over."""

from __future__ import annotations

import errno
from collections.abc import Collection
from itertools import product

from jailkit.errors import Fault, ProfileError
from jailkit.profile.compose import Reading, compose
from jailkit.profile.find import policy_path, shipped_policies
from jailkit.profile.nodes import Entry, Listing, Mapping, Node, Scalar
from jailkit.profile.read import read_text
from jailkit.profile.refusal import closest, shown
from jailkit.seccomp.constants import CONSTANTS
from jailkit.seccomp.model import Above, Condition, Masked, Policy, Rule

_INT = 0xFFFFFFFF  # what the kernel takes of a register for an `int`
_COMPARISONS = ("is", "has-bit", "above")


def load_policy(name: str) -> Policy:
    """Read a shipped policy and those that it extends; their rules come first.

    Raises:
        ProfileError: there is no policy of that name, or its file is no policy.
    """
    known = shipped_policies()
    if name not in known:
        fault = Fault("isolation.seccomp", 0, 0, "", f"there is no policy named {shown(name)}", closest(name, known))
        raise ProfileError([fault], resolution=f"one of {', '.join(known)}")
    return _read(name, below=frozenset())


def _read(name: str, below: frozenset[str]) -> Policy:
    """Read one policy; `below` are those that extend it."""
    path = policy_path(name)
    faults: list[Fault] = []
    root = compose(read_text(path), path, Reading(faults))
    if faults:
        raise ProfileError(faults)
    entries = _entries(root, ("description", "rules"), ("extends", "newest-call"))
    base = _base(entries.get("extends"), below | {name})
    if "newest-call" in entries:
        newest_call = _text(entries["newest-call"].node)
    elif base:
        newest_call = base.newest_call
    else:
        raise root.place.error("a policy that extends none needs a `newest-call`")
    rules = [_rule(node) for node in _items(entries["rules"].node)]
    return Policy(name, _text(entries["description"].node), newest_call, (*(base.rules if base else ()), *rules))


def _base(entry: Entry | None, below: frozenset[str]) -> Policy | None:
    if entry is None:
        return None
    name = _word(entry.node, shipped_policies())
    if name in below:
        raise entry.place.error(f"policies extend each other in a circle: {shown(name)}", "extends")
    return _read(name, below)


def _rule(node: Node) -> Rule:
    entries = _entries(node, ("calls", "errno", "reason"), ("when",))
    conditions = [_condition(item) for item in _items(entries["when"].node)] if "when" in entries else []
    tested = [alternatives[0].argument for alternatives in conditions]
    if len(tested) != len(set(tested)):
        # Two comparisons of one argument are more than libseccomp takes in one rule.
        raise entries["when"].place.error("an argument is compared twice", "when")
    return Rule(
        calls=tuple(_text(call) for call in _items(entries["calls"].node)),
        errno=getattr(errno, _word(entries["errno"].node, errno.errorcode.values())),
        alternatives=tuple(product(*conditions)),
        reason=_text(entries["reason"].node),
    )


def _condition(node: Node) -> list[Condition]:
    """Read one item of `when`, and give what may hold instead of each other."""
    entries = _entries(node, ("argument",), _COMPARISONS)
    argument = entries["argument"].node
    if not isinstance(argument, Scalar) or type(argument.value) is not int or argument.value not in range(6):
        raise argument.place.error("expected the number of an argument, from 0 to 5", "argument")
    number = argument.value
    comparisons = [key for key in _COMPARISONS if key in entries]
    if len(comparisons) != 1:
        raise node.place.error(f"needs exactly one of {', '.join(_COMPARISONS)}")
    values = [CONSTANTS[_word(item, CONSTANTS)] for item in _items(entries[comparisons[0]].node)]
    if comparisons == ["above"]:
        return [Above(number, value) for value in values]
    return [Masked(number, _INT if comparisons == ["is"] else value, value) for value in values]


def _entries(node: Node, needed: Collection[str], optional: Collection[str]) -> dict[str, Entry]:
    """Give a mapping's entries, which must have all the keys that are needed and none that is not known."""
    if not isinstance(node, Mapping):
        raise node.place.error("expected a mapping")
    for key, entry in node.entries.items():
        if key not in (*needed, *optional):
            raise entry.place.error("there is no such key", key, closest(key, (*needed, *optional)))
    for key in needed:
        if key not in node.entries:
            raise node.place.error(f"lacks `{key}`")
    return node.entries


def _items(node: Node) -> tuple[Node, ...]:
    if not isinstance(node, Listing) or not node.items:
        raise node.place.error("expected a list of at least one item")
    return node.items


def _text(node: Node) -> str:
    if not isinstance(node, Scalar) or not isinstance(node.value, str) or not node.value.strip():
        raise node.place.error("expected text")
    return node.value.strip()


def _word(node: Node, known: Collection[str]) -> str:
    text = _text(node)
    if text not in known:
        raise node.place.error(f"{shown(text)} is not known here", suggestion=closest(text, known))
    return text
