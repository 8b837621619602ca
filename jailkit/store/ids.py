"""Which jail has which range of ids: one file a range, for all the homes of a user, named by the range's first id.

    REGISTRY/lock        held while ranges are given out and taken back
    REGISTRY/1000000     {"owner": "/var/lib/jailkit/jails/NAME"}

The entry of a jail that is gone is free: whoever destroys a jail, or dies while making one, need not come back here.
"""

from __future__ import annotations

import contextlib
import fcntl
import grp
import json
import os
import pwd
from collections.abc import Iterator
from typing import Final

from jailkit.errors import StateError
from jailkit.levels import LEVELS, LevelName
from jailkit.linux.outer import find_mapper
from jailkit.linux.paths import rename_noreplace
from jailkit.store.folders import check_home, make_folder, unusable
from jailkit.store.home import default_home
from jailkit.store.jail import write_text
from jailkit.store.privilege import superuser
from jailkit.store.subids import FILES, IdRange, blocks, own_ranges, read_ranges, user, usermod_command

_PLACES: Final = ("jails", "drafts", "previous")  # of a home, in which the tree of a jail may be


class IdRegistry:
    """Gives ranges of the calling user's subordinate ids to jails.

    Args:
        folder: where it is kept; `ids` in the user's default home when absent, wherever the jails are.
        files: what to read instead of /etc/subuid and /etc/subgid.
    """

    def __init__(self, folder: str | None = None, files: tuple[str, str] = FILES) -> None:
        self.folder = folder or f"{default_home()}/ids"
        self.files = files

    def allocate(self, owner: str) -> IdRange:
        """Give a range that no other jail has, and no account or process of the host.

        A jail that has one already is given the same.

        Args:
            owner: the folder of the jail, HOME/jails/NAME. It, or a draft of that name, must be there by now.

        Raises:
            StateError: the user has no ranges, or all of them are in use.
            PrivilegeError, RealizeError: the registry cannot be written.
        """
        with self._locked():
            self._sweep()
            entries = self._entries()
            free = self._some_blocks()
            for block in free:
                if entries.get(block.base) == owner:
                    return block
            taken = [IdRange(base) for base in entries]
            ids = _accounts() | _processes()
            for block in free:
                if not any(block.overlaps(other) for other in taken) and ids.isdisjoint(range(block.base, block.end)):
                    self._write(block, owner)
                    return block
        raise StateError(
            f"cannot give {owner} a range of ids: all {len(free)} of {user()} are in use",
            details=[f"{len(taken)} by jails, the others by accounts or processes of the host"],
            resolution=f"jailkit destroy a jail, or {self.remedy()}",
        )

    def release(self, ids: IdRange, owner: str) -> None:
        """Take back the range of a jail whose folder is gone. While that is there, this does nothing.

        Raises:
            StateError, PrivilegeError, RealizeError: the registry cannot be written.
        """
        with self._locked():
            if self._entries().get(ids.base) == owner and not _lives(owner):
                os.unlink(f"{self.folder}/{ids.base}")

    def sweep(self) -> None:
        """Take back the ranges of all jails that are gone.

        Raises:
            StateError, PrivilegeError, RealizeError: the registry cannot be written.
        """
        if os.path.isdir(self.folder):
            with self._locked():
                self._sweep()

    def _sweep(self) -> None:
        for base, owner in self._entries().items():
            if owner is not None and not _lives(owner):
                os.unlink(f"{self.folder}/{base}")

    def _entries(self) -> dict[int, str | None]:
        """Give the owner of each range that is taken; None for an entry that somebody damaged, which stays taken."""
        numbers = [int(name) for name in os.listdir(self.folder) if name.isascii() and name.isdecimal()]
        return {number: _owner(f"{self.folder}/{number}") for number in numbers}

    def _write(self, block: IdRange, owner: str) -> None:
        """Add an entry that is whole from its first moment."""
        draft = f"{self.folder}/new"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft)  # of a command that died
        write_text(draft, [json.dumps({"owner": owner}), "\n"])
        rename_noreplace(draft, f"{self.folder}/{block.base}")

    def blocks(self) -> list[IdRange]:
        """Give the ranges that the user may give out, taken or not."""
        uids, gids = map(own_ranges, self.files)
        return blocks(uids, gids)

    def _some_blocks(self) -> list[IdRange]:
        """Give the same.

        Raises:
            StateError: there are none.
        """
        common = self.blocks()
        if not common:
            found = [own_ranges(file) for file in self.files]
            lacking = [file for file, ranges in zip(self.files, found, strict=True) if not ranges]
            why = f"{' and '.join(lacking)} give{'s' if len(lacking) == 1 else ''} {user()} none"
            raise StateError(
                "cannot give a jail a range of ids: "
                + (why if lacking else f"{user()} has no 65536 that are the same in {' and '.join(self.files)}"),
                resolution=self.remedy(),
            )
        return common

    def remedy(self) -> str:
        """Give the command with which root gives the user enough ids."""
        return usermod_command(user(), [row for file in self.files for row in read_ranges(file)])

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            make_folder(self.folder)
            check_home(self.folder)
            descriptor = os.open(f"{self.folder}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise unusable(self.folder, error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        except OSError as error:
            raise unusable(self.folder, error) from error
        finally:
            os.close(descriptor)


def gets_one_id(level: LevelName) -> bool:
    """Tell whether a jail that the calling user makes at a level gets but one id, the user's own.

    With LXC none can: it makes a root in each container.
    """
    if superuser() or LEVELS[level].backend == "lxc":
        return False
    return find_mapper() is None or not IdRegistry().blocks()


def _owner(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8") as file:
            owner = json.load(file)["owner"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return owner if isinstance(owner, str) and owner.startswith("/") else None


def _lives(owner: str) -> bool:
    """Tell whether a jail, or a draft of it, is still there, or it cannot be told."""
    home, name = os.path.dirname(os.path.dirname(owner)), os.path.basename(owner)
    for place in _PLACES:
        try:
            os.lstat(f"{home}/{place}/{name}")
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            return True
        return True
    return False


def _accounts() -> set[int]:
    """Give the ids of the accounts and groups that the host knows (getpwent(3), getgrent(3))."""
    return {account.pw_uid for account in pwd.getpwall()} | {group.gr_gid for group in grp.getgrall()}


def _processes() -> set[int]:
    """Give the ids that processes have: other programs give out the same ranges, and jails may outlive their folder."""
    found: set[int] = set()
    for name in os.listdir("/proc"):
        if name.isdecimal():
            with contextlib.suppress(OSError):  # It has ended.
                status = os.stat(f"/proc/{name}")
                found |= {status.st_uid, status.st_gid}
    return found
