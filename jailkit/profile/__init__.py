"""Profiles: what the user wrote, checked.

The names are imported when they are used, because pydantic and YAML cost more than a whole `jailkit exec`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jailkit.profile.find import find_profile, shipped_profiles
    from jailkit.profile.load import dump_profile, load_profile, restore_profile
    from jailkit.profile.model import Profile
    from jailkit.profile.schema import json_schema

__all__ = [
    "Profile",
    "dump_profile",
    "find_profile",
    "json_schema",
    "load_profile",
    "restore_profile",
    "shipped_profiles",
]

_HOMES = {
    "Profile": "model", "dump_profile": "load", "find_profile": "find", "json_schema": "schema",
    "load_profile": "load", "restore_profile": "load", "shipped_profiles": "find",
}  # fmt: skip


def __getattr__(name: str) -> object:
    """Import a name on first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
