"""From a file to a Profile, or to every fault in it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from jailkit.errors import Fault, ProfileError
from jailkit.profile.checks import check
from jailkit.profile.extend import resolve
from jailkit.profile.keys import SECTIONS, keys_of
from jailkit.profile.model import Profile
from jailkit.profile.nodes import Loc, Mapping, locate, plain

MAX_FAULTS = 100


def load_profile(path: str) -> Profile:
    """Read a profile and all that it extends.

    Raises:
        ProfileError: with every fault of every file that was read.
    """
    faults: list[Fault] = []
    profile = None
    try:
        profile = _validate(resolve(path, faults), faults)
    except ProfileError as error:
        faults += error.faults
    if faults or profile is None:
        raise ProfileError(_bounded(_in_order(faults, path), path))
    return profile


def dump_profile(profile: Profile) -> str:
    """Write a resolved profile as JSON, for restore_profile."""
    return profile.model_dump_json(by_alias=True, exclude_none=True)


def restore_profile(text: str) -> Profile:
    """Read what dump_profile wrote.

    Raises:
        ProfileError: the text is not that.
    """
    try:
        return Profile.model_validate_json(text)
    except ValidationError as error:
        faults = [Fault("stored profile", 0, 0, ".".join(map(str, e["loc"])), e["msg"]) for e in error.errors()]
        raise ProfileError(faults[:MAX_FAULTS]) from error


def _validate(root: Mapping, faults: list[Fault]) -> Profile | None:
    """Add the model's faults, and those across fields in what is left when the faulty items are taken out."""
    data = _without_empty(plain(root))
    errors, profile = _model(data)
    told = {(fault.file, fault.line, fault.column) for fault in faults}
    further = [*_explained(errors, root), *_across(data, errors, profile, root)]
    faults += [fault for fault in further if (fault.file, fault.line, fault.column) not in told]
    return profile


def _explained(errors: list[ErrorDetails], root: Mapping) -> list[Fault]:
    if not errors:
        return []
    # Imported here: only a profile with a fault pays for it.
    from jailkit.profile.explain import fault_of

    return [fault_of(error, root) for error in errors[: MAX_FAULTS + 1]]


def _across(
    data: dict[str, Any], errors: list[ErrorDetails], profile: Profile | None, root: Mapping
) -> Iterator[Fault]:
    numbers: dict[str, list[int]] = {}
    if profile is None:
        data, numbers = _pruned(data, errors)
        _, profile = _model(data)
    if profile is not None:
        faulty = frozenset(str(error["loc"][0]) for error in errors if error["loc"])
        for loc, refusal in islice(check(profile, faulty), MAX_FAULTS + 1):
            _, place, key = locate(root, _renumbered(loc, numbers))
            yield place.fault(refusal.message, key, refusal.suggestion)


def _model(data: dict[str, Any]) -> tuple[list[ErrorDetails], Profile | None]:
    try:
        return [], Profile.model_validate(data)
    except ValidationError as error:
        return error.errors(include_url=False), None


def _without_empty(data: dict[str, Any]) -> dict[str, Any]:
    """Drop keys that have no value, such as a `binaries:` whose items are all commented out."""
    sections = {key: _given(data[key], model) for key, model in SECTIONS.items() if isinstance(data.get(key), dict)}
    return _given({**data, **sections}, Profile)


def _given(data: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """Drop the model's own keys without a value; others stay, because a misspelt key is a fault however it ends."""
    known = keys_of(model)
    return {key: value for key, value in data.items() if value is not None or key not in known}


def _pruned(data: dict[str, Any], errors: list[ErrorDetails]) -> tuple[dict[str, Any], dict[str, list[int]]]:
    """Take the items with errors out, so that the rest can be checked by itself.

    Returns:
        What is left, and for each list that lost items the former numbers of those that remain.
    """
    faulty: dict[str, set[str | int | None]] = {}
    for error in errors:
        top, second = [*error["loc"], None, None][:2]
        faulty.setdefault(str(top), set()).add(second)
    left = dict(data)
    numbers: dict[str, list[int]] = {}
    for key, steps in faulty.items():
        part = left.pop(key, None)
        if isinstance(part, dict) and None not in steps:
            left[key] = {name: value for name, value in part.items() if name not in steps}
        elif isinstance(part, list) and None not in steps:
            numbers[key] = [number for number in range(len(part)) if number not in steps]
            left[key] = [part[number] for number in numbers[key]]
    left.setdefault("name", "unnamed")
    return left, numbers


def _renumbered(loc: Loc, numbers: dict[str, list[int]]) -> Loc:
    kept = numbers.get(str(loc[0]))
    if kept is None or len(loc) < 2:
        return loc
    return (loc[0], kept[int(loc[1])], *loc[2:])


def _in_order(faults: list[Fault], path: str) -> list[Fault]:
    """Sort by file, the profile itself first, then by position."""
    files = list(dict.fromkeys([path, *(fault.file for fault in faults)]))
    return sorted(dict.fromkeys(faults), key=lambda fault: (files.index(fault.file), fault.line, fault.column))


def _bounded(faults: list[Fault], path: str) -> list[Fault]:
    if len(faults) <= MAX_FAULTS:
        return faults
    return [*faults[:MAX_FAULTS], Fault(path, 0, 0, "", f"there is more; these are {MAX_FAULTS} of its faults")]
