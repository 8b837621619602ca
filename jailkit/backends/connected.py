"""Instances on the bridge. What that takes is imported for the jails that ask for it only."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from jailkit.backends.instance import living
from jailkit.store.privilege import superuser

if TYPE_CHECKING:
    from jailkit.store import Jail


_BRIDGE: Final = "/sys/class/net/jailkit0"


def sweep_bridge() -> None:
    """Take off the bridge what instances have left that were killed.

    Raises:
        BackendError, PrivilegeError: the kernel refuses.
    """
    if superuser() and os.path.exists(_BRIDGE):
        from jailkit.network import sweep

        instances = living()
        if instances is not None:  # Else those that live would be cut off too.
            sweep(instances)


def connect(jail: Jail, instance: str, init: int) -> None:
    """Connect the network namespace of an instance's init, if its jail wants the bridge.

    Raises:
        StateError, BackendError, PrivilegeError: it could not be; nothing is left of the attempt.
    """
    isolation = jail.runtime.isolation
    if isolation.network == "bridge":
        from jailkit.network import NetworkSpec, attach

        attach(NetworkSpec(instance, isolation.ports, isolation.allow), init)


def disconnect(jail: Jail, instance: str) -> None:
    """Take an instance off the bridge, which goes with the last one.

    Raises:
        BackendError, PrivilegeError: the kernel refuses.
    """
    if jail.runtime.isolation.network == "bridge":
        from jailkit.network import detach

        detach(instance)
