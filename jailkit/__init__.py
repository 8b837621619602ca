"""jailkit: jails from YAML profiles, and the truth about how far they isolate.

The names below are loaded when they are first used, so that the command line pays only for what it uses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jailkit.api import OpenJail, create, jails, open, run  # noqa: A004 - jailkit.open is its public name
    from jailkit.backends.base import ExecRequest, ExecResult
    from jailkit.errors import JailkitError
    from jailkit.profile import Profile, load_profile

__version__ = "0.1.0"
__all__ = [
    "ExecRequest",
    "ExecResult",
    "JailkitError",
    "OpenJail",
    "Profile",
    "create",
    "jails",
    "load_profile",
    "open",
    "run",
]

_HOMES = {
    "ExecRequest": "jailkit.backends.base",
    "ExecResult": "jailkit.backends.base",
    "JailkitError": "jailkit.errors",
    "OpenJail": "jailkit.api",
    "Profile": "jailkit.profile",
    "create": "jailkit.api",
    "jails": "jailkit.api",
    "load_profile": "jailkit.profile",
    "open": "jailkit.api",
    "run": "jailkit.api",
}


def __getattr__(name: str) -> object:
    """Load a public name from its module (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'jailkit' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
