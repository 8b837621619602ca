"""Which directories of a jail belong to root alone, because what lies in them is trusted by every program."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from jailkit.errors import PlanError
from jailkit.plan.model import Directory, Entry, Symlink
from jailkit.plan.tidy import canonical
from jailkit.profile.paths import is_below

_TOPS = ("/bin", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/sbin", "/usr")
# Where POSIX semaphores and shared memory are files (shm_overview(7)): open by its nature.
_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - a directory in the jail


class Owned(Protocol):
    """A directory or file with an owner and a mode."""

    @property
    def mode(self) -> int:
        """Permission bits."""

    @property
    def uid(self) -> int:
        """The owner."""

    @property
    def gid(self) -> int:
        """The group."""


def is_open(thing: Owned) -> bool:
    """Tell whether somebody other than root may write to it. An owner may, because an owner may change the mode."""
    group = thing.gid != 0 and thing.mode & 0o020
    return bool(thing.uid != 0 or group or thing.mode & 0o002)


def system_places(links: Mapping[str, str]) -> frozenset[str]:
    """Give where /etc, /usr and their like are in a tree with these symbolic links."""
    return frozenset(canonical(top, dict(links), follow_last=True) for top in _TOPS)


def is_system(path: str, places: frozenset[str]) -> bool:
    """Tell whether a directory is one of the system's, in one, or on the way to one."""
    if is_below(path, _SHARED_MEMORY):
        return False
    return any(is_below(path, place) or is_below(place, path.rstrip("/")) for place in places)


def refuse_open_system(entries: Iterable[Entry]) -> None:
    """Refuse a plan in which a user of the jail could put files where programs take them for the system's.

    Raises:
        PlanError: with each such directory.
    """
    entries = list(entries)
    places = system_places({entry.path: entry.target for entry in entries if isinstance(entry, Symlink)})
    wrong = [
        f"{entry.reason.key}: {entry.path} would be {entry.uid}:{entry.gid} with mode {entry.mode:04o}"
        for entry in entries
        if isinstance(entry, Directory) and is_open(entry) and is_system(entry.path, places)
    ]
    if wrong:
        raise PlanError(
            "cannot plan directories of the system that others than root may write to",
            details=wrong,
            resolution="leave them to root, and give the user a directory in /home, /srv or /var",
        )
