"""Mechanisms of isolation behind one protocol, each imported when a jail of its levels is used."""

from __future__ import annotations

from importlib import import_module

from jailkit.backends.base import Backend
from jailkit.errors import BackendError
from jailkit.levels import LEVELS

_CLASSES = {"chroot": ("jailkit.backends.chroot", "ChrootBackend")}


def backend_for(level_name: str) -> Backend:
    """Give the backend of a level.

    Raises:
        BackendError: there is no such level, or this version has no backend for it.
    """
    level = LEVELS.get(level_name)
    if level is None or level.backend not in _CLASSES:
        raise BackendError(
            f"cannot use level {level_name}: this version of jailkit has nothing that makes it",
            resolution="jailkit levels lists those it has",
        )
    module, name = _CLASSES[level.backend]
    backend: Backend = getattr(import_module(module), name)()
    return backend
