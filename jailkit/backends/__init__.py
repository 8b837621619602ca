"""Mechanisms of isolation behind one protocol, each imported when a jail of its levels is used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from jailkit.errors import BackendError

if TYPE_CHECKING:
    from jailkit.backends.base import Backend

_CLASSES = {
    "chroot-root": ("jailkit.backends.chroot", "ChrootBackend"),
    "chroot": ("jailkit.backends.chroot", "ChrootBackend"),
    "chroot-hardened": ("jailkit.backends.hardened", "HardenedBackend"),
    "lxc-privileged": ("jailkit.backends.lxc.backend", "LxcBackend"),
    "lxc": ("jailkit.backends.lxc.backend", "LxcBackend"),
}


def backend_for(level_name: str) -> Backend:
    """Give the backend of a level.

    Raises:
        BackendError: there is no such level, or this version has no backend for it.
    """
    if level_name not in _CLASSES:
        raise BackendError(
            f"cannot use level {level_name}: this version of jailkit has nothing that makes it",
            resolution="jailkit levels lists those it has",
        )
    module, name = _CLASSES[level_name]
    backend: Backend = getattr(import_module(module), name)()
    return backend


def prepare(level_name: str) -> None:
    """Begin what makes an instance at a level, for whoever is about to: another process gets ready for it meanwhile.

    Raises:
        BackendError: no process is to be had.
    """
    if _CLASSES.get(level_name, ("", ""))[1] == "LxcBackend":
        from jailkit.backends.lxc.launch import prepare as start_worker

        start_worker()
