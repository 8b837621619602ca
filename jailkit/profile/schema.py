"""The JSON Schema of profiles, for editors and other programs."""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel

from jailkit.linux.capabilities import CAPABILITIES
from jailkit.profile import model
from jailkit.profile.fields import Parsed
from jailkit.profile.keys import SECTIONS, gap_keys, keys_of
from jailkit.profile.model import Profile

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """Give the schema of a profile as it is written: short forms and units included, unknown keys refused."""
    schema = Profile.model_json_schema(by_alias=True, mode="validation")
    for part in schema["properties"].values():
        # A free mapping such as `text`: what does not match the pattern of its keys is no key.
        if "patternProperties" in part:
            part["additionalProperties"] = False
    schema["properties"]["accept-gaps"]["items"] = {"type": "string", "enum": list(gap_keys())}
    parts = schema["$defs"]
    parts["Isolation"]["properties"]["capabilities"]["items"] = _capability()
    for name, part in parts.items():
        _write_defaults(part["properties"], getattr(model, name))
    for properties in (schema["properties"], *(parts[section.__name__]["properties"] for section in SECTIONS.values())):
        for key in properties.keys() - {"name"}:
            properties[key] = _or_nothing(properties[key])
    return {"$schema": DIALECT, **schema}


def _capability() -> dict[str, Any]:
    """Give the names for editors to complete, and what the loader takes: any case, with or without `CAP_`."""
    short = "|".join(name.removeprefix("CAP_") for name in CAPABILITIES)
    # By both letters, because a JSON Schema's expressions have no flag that ignores case.
    either = re.sub("[A-Z]", lambda letter: f"[{letter[0]}{letter[0].lower()}]", f"^(CAP_)?({short})$")
    return {"anyOf": [{"enum": list(CAPABILITIES)}, {"type": "string", "pattern": either}]}


def _write_defaults(properties: dict[str, Any], part: type[BaseModel]) -> None:
    """Give defaults as a profile spells them: mode 0755 and not 493."""
    for key, field in keys_of(part).items():
        write = next((parsed.write for parsed in field.metadata if isinstance(parsed, Parsed)), None)
        if write and properties[key].get("default") is not None:
            properties[key]["default"] = write(properties[key]["default"])


def _or_nothing(field: dict[str, Any]) -> dict[str, Any]:
    """Let a key have no value, such as a `binaries:` whose items are all commented out."""
    if {"type": "null"} in field.get("anyOf", ()):
        return field
    about: dict[str, Any] = {word: field[word] for word in ("default", "description", "title") if word in field}
    kind = {word: value for word, value in field.items() if word not in about}
    return {"anyOf": [kind, {"type": "null"}], **about}
