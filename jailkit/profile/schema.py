"""The JSON Schema of profiles, for editors and other programs."""

from __future__ import annotations

from typing import Any

from jailkit.profile.keys import gap_keys
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
    return {"$schema": DIALECT, **schema}
