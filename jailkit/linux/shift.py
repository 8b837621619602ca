"""Where the ids of a jail's tree are on disk, for trees whose mounts map none."""

from __future__ import annotations

import errno
from typing import Final, NamedTuple


class Shift(NamedTuple):
    """The jail's ids from 0 on are those on disk from `base` on; with a `size` of 1, all of them are `base`."""

    base: int = 0
    size: int = 1 << 32

    def outside(self, number: int) -> int:
        """Give the id on disk for one of the jail's.

        Raises:
            OSError: EINVAL: the jail has no such id.
        """
        if self.size == 1:
            return self.base
        if not 0 <= number < self.size:
            raise OSError(errno.EINVAL, f"the jail has no id {number}, only 0 to {self.size - 1}")
        return self.base + number

    def owner(self, uid: int, gid: int) -> tuple[int, int]:
        """Give user and group on disk.

        Raises:
            OSError: as `outside`.
        """
        return self.outside(uid), self.outside(gid)


UNSHIFTED: Final = Shift()
