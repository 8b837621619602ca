"""Profiles written by tests."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def write_profile(folder: str | os.PathLike[str], name: str = "small", **keys: Any) -> Path:
    """Write a profile, keys with `_` for `-`, and give its path. JSON is YAML."""
    path = Path(folder) / f"{name}.yaml"
    path.write_text(
        json.dumps({"name": name} | {key.replace("_", "-"): value for key, value in keys.items()}, indent=1)
    )
    return path
