"""Whose a jail's files are: which ids of the host stand behind the jail's, and where they are mapped."""

from __future__ import annotations

import os
from typing import NamedTuple

from jailkit.errors import PrivilegeError, StateError
from jailkit.levels import LEVELS, LevelName
from jailkit.linux.outer import find_mapper
from jailkit.linux.view import maps_ids
from jailkit.store import Jail
from jailkit.store.ids import IdRegistry, gets_one_id
from jailkit.store.privilege import superuser


class Ownership(NamedTuple):
    """The fields of that name of a jail. It keeps them for its life."""

    ids: tuple[int, int] | None = None
    shifted: bool = False


def ownership(level: LevelName, draft: str, former: Jail | None) -> Ownership:
    """Decide it for a jail that is built in a draft, and was `former` before if that is an update.

    Raises:
        StateError: the user has no range of ids left, or somebody else has that of the jail now.
        PrivilegeError: nothing is there that maps a user's range.
    """
    if not LEVELS[level].user_namespace:
        return Ownership()
    if former and former.has_one_id:
        return Ownership(former.ids, shifted=True)
    if former is None and gets_one_id(level):
        return Ownership((os.geteuid(), 1), shifted=True)
    if not superuser() and find_mapper() is None:
        raise PrivilegeError(
            "cannot give a jail a range of ids: there is no newuidmap", resolution="apt install uidmap"
        )
    home, name = os.path.dirname(os.path.dirname(draft)), os.path.basename(draft)
    allotted = IdRegistry().allocate(f"{home}/jails/{name}")
    ids = (allotted.base, allotted.count)
    if former is None:
        return Ownership(ids, shifted=not (superuser() and maps_ids(draft, ids)))
    if former.shifted and former.ids != ids:
        raise StateError(
            f"cannot update jail {name}: its files belong to ids that another jail has now",
            resolution=f"jailkit destroy {name}, and create it again",
        )
    return Ownership(ids, former.shifted)
