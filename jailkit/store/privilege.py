"""What an ordinary user does in place of root, and with which ids.

The superuser has all ids. Anybody else has their own and those of subuid(5), over which they are as root in a user
namespace of their own (jailkit.linux.outer): there a jail's tree is made, read and deleted, whose files belong to them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

from jailkit.errors import PrivilegeError
from jailkit.store.subids import FILES, IdRange, own_ranges

if TYPE_CHECKING:
    from jailkit.linux.outer import Tell

_Result = TypeVar("_Result")


def superuser() -> bool:
    """Tell whether this process is root, be it only that of a container."""
    return os.geteuid() == 0


def outer_namespace() -> int | None:
    """Give a descriptor of the user namespace in which the caller is as root; None for the superuser, who is.

    It is made once in a process, and stays open.

    Raises:
        PrivilegeError: there is none to be had.
    """
    return None if superuser() else _outer(os.geteuid(), os.getegid())


def as_root(act: Callable[[Tell], _Result], heard: Tell = lambda _: None) -> _Result:
    """Call `act` where the caller is as root; an ordinary user in a child.

    Args:
        act: what to do. What it passes to the function that it is given, `heard` is told, in the calling process.
        heard: see there.

    Raises:
        PrivilegeError: there is no such place. Else what `act` raises.
    """
    outer = outer_namespace()
    if outer is None:
        return act(heard)
    from jailkit.linux.outer import within

    return within(outer, act, heard)


@lru_cache
def _outer(uid: int, gid: int) -> int:
    from jailkit.linux.outer import find_mapper, make_outer

    ranges = [
        _distinct(own_ranges(file), own) if find_mapper() else [] for file, own in zip(FILES, (uid, gid), strict=True)
    ]
    try:
        return make_outer(*ranges)
    except OSError as error:
        raise PrivilegeError(
            f"cannot make a user namespace: {error.strerror}",
            details=[str(error.filename)] if error.filename else (),
            resolution="run as root, or see what jailkit doctor says of user namespaces",
        ) from error


def _distinct(ranges: Iterable[IdRange], own: int) -> list[tuple[int, int]]:
    """Give the ranges that can be in one map: none twice, and neither the host's root nor the caller in one."""
    found: list[IdRange] = []
    for ids in ranges:
        if not any(ids.overlaps(other) for other in (*found, IdRange(0, 1), IdRange(own, 1))):
            found.append(ids)
    return [(ids.base, ids.count) for ids in found]
