"""The ranges of subordinate ids that an administrator gave to users: subuid(5) and subgid(5), as pure data."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

FILES = ("/etc/subuid", "/etc/subgid")
COUNT = 65536  # ids of one jail: as many as 16 bits can name, and every file of a distribution fits in
_PLENTY = 1000 * COUNT
_FIRST = 1_000_000  # behind what useradd(8) gives to a host's first users
_LAST = (1 << 32) - 2  # (uid_t) -1 is nobody's (credentials(7))


@dataclass(frozen=True, slots=True)
class IdRange:
    """User and group ids of the host from `base` on, `count` of each."""

    base: int
    count: int = COUNT

    @property
    def end(self) -> int:
        """The first id behind the range."""
        return self.base + self.count

    def overlaps(self, other: IdRange) -> bool:
        """Tell whether an id is in both."""
        return self.base < other.end and other.base < self.end


def read_ranges(path: str) -> list[tuple[str, IdRange]]:
    """Read one of the files: who has which range. One that is not there, or cannot be read, gives nobody any."""
    try:
        with open(path, encoding="utf-8") as file:
            return parse_ranges(file.read())
    except (OSError, UnicodeDecodeError):
        return []


def parse_ranges(text: str) -> list[tuple[str, IdRange]]:
    """Read lines of a user's name or uid, a first id and a number of ids; lines that are none are passed over."""
    rows = [line.strip().split(":") for line in text.splitlines()]
    ranges = [
        (row[0], IdRange(int(row[1]), int(row[2])))
        for row in rows
        if len(row) == 3 and all(field.isascii() and field.isdecimal() and len(field) < 12 for field in row[1:])
    ]
    return [(who, ids) for who, ids in ranges if ids.count and ids.end - 1 <= _LAST]


def user() -> str:
    """Give the name of the calling user, or the uid of one without a name."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def ranges_of(names: Iterable[str], ranges: Iterable[tuple[str, IdRange]]) -> list[IdRange]:
    """Give the ranges of a user, who may be written in several ways."""
    known = set(names)
    return [ids for who, ids in ranges if who in known]


def own_ranges(path: str) -> list[IdRange]:
    """Give the ranges that one of the files gives to the calling user, by name or by number."""
    return ranges_of((user(), str(os.geteuid())), read_ranges(path))


def blocks(uids: Sequence[IdRange], gids: Sequence[IdRange]) -> list[IdRange]:
    """Cut what is in both into ranges for a jail each, the lowest first.

    A jail's user and group ids are the same numbers, so that one number says which range it has.
    """
    found: dict[int, IdRange] = {}
    for one in uids:
        for other in gids:
            start, end = max(one.base, other.base), min(one.end, other.end)
            # 0 is the host's root, whoever is said to have it.
            for base in range(max(start, 1), end - COUNT + 1, COUNT):
                found[base] = IdRange(base)
    return [found[base] for base in sorted(found)]


def usermod_command(name: str, ranges: Iterable[tuple[str, IdRange]]) -> str:
    """Give the command that gives a user enough ids for a thousand jails, behind all that somebody has."""
    first = max([_FIRST, *(ids.end for _, ids in ranges)])
    ids = f"{first}-{first + _PLENTY - 1}"
    return f"usermod --add-subuids {ids} --add-subgids {ids} {name}"
