"""What pydantic found wrong, in plain words and at its place in the file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic_core import ErrorDetails

from jailkit.errors import Fault
from jailkit.profile.keys import suggest_key
from jailkit.profile.nodes import Node, joined, locate
from jailkit.profile.refusal import Refusal, shown

_PLAIN: Mapping[str, Callable[[Any], str]] = {
    "model_type": lambda value: f"expected keys and values, got {shown(value)}",
    "dict_type": lambda value: f"expected keys and values, got {shown(value)}",
    "tuple_type": lambda value: f"expected a list, got {shown(value)}",
}


def fault_of(error: ErrorDetails, root: Node) -> Fault:
    """Turn one of pydantic's errors into a fault at the line and key that caused it."""
    # "[key]" is how pydantic says that the key of a free mapping is wrong, and not its value.
    loc = [step for step in error["loc"] if step != "[key]"]
    if error["type"] == "missing":
        place, _, path = locate(root, loc[:-1])
        return place.fault("is required", joined(path, str(loc[-1])))
    key_place, value_place, path = locate(root, loc)
    if error["type"] == "extra_forbidden":
        return key_place.fault("unknown key", path, suggest_key(loc))
    message, suggestion = _explained(error)
    return (key_place if "[key]" in error["loc"] else value_place).fault(message, path, suggestion)


def _explained(error: ErrorDetails) -> tuple[str, str | None]:
    refusal = error.get("ctx", {}).get("error")
    if isinstance(refusal, Refusal):
        return refusal.message, refusal.suggestion
    plain = _PLAIN.get(error["type"])
    return (plain(error["input"]) if plain else error["msg"]), None
