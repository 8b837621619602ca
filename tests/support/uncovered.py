"""Programs that whoever measures what the tests cover keeps out of: that is loaded with every interpreter else."""

from __future__ import annotations

import os


def environment() -> dict[str, str]:
    """Give this process's environment without the variables by which coverage finds its way into others."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COV")}
