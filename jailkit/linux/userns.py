"""User namespaces, held by a descriptor: which ids of the host stand behind those inside (user_namespaces(7))."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple, NoReturn

from jailkit.linux.fork import close_others
from jailkit.linux.libc import CLONE_NEWUSER, unshare

ALL_IDS: Final = 65536  # what a jail's own range holds: every uid and gid of 16 bits


class IdMap(NamedTuple):
    """So many ids from `inside` on are those from `outside` on, for uids and gids alike."""

    inside: int
    outside: int
    size: int


class Owners:
    """Descriptors of two user namespaces of one range of ids, open as long as this lives: the second knows no root.

    Through a part of the host that a jail may write to no file may come to belong to the host's root: its
    set-user-ID bit would be a way out. So what is not the jail's own is mapped with the second.
    """

    def __init__(self, everyone: int, all_but_root: int) -> None:
        self.everyone = everyone
        self.all_but_root = all_but_root

    def __del__(self) -> None:
        for descriptor in {self.everyone, self.all_but_root}:
            os.close(descriptor)


class OwnerNumbers(NamedTuple):
    """The numbers of such descriptors where another process holds them."""

    everyone: int
    all_but_root: int


def make_owners(base: int, size: int) -> Owners:
    """Make both namespaces for the ids from `base` on.

    Raises:
        OSError: as `make_userns`.
    """
    everyone = make_userns([IdMap(0, base, size)])
    try:
        return Owners(everyone, make_userns([IdMap(1, base + 1, size - 1)]))
    except OSError:
        os.close(everyone)
        raise


def make_userns(uids: Sequence[IdMap], gids: Sequence[IdMap] | None = None) -> int:
    """Make a user namespace with these maps, and give a descriptor of it; it lives as long as that.

    Without `gids` those are as the uids.

    Raises:
        OSError: as `make_mapped`.
    """
    return make_mapped(partial(_write_maps, uids, uids if gids is None else gids))


def _write_maps(uids: Sequence[IdMap], gids: Sequence[IdMap], process: int) -> None:
    for file, maps in (("uid_map", uids), ("gid_map", gids)):
        write_table(process, file, "".join(f"{m.inside} {m.outside} {m.size}\n" for m in maps))


def write_table(process: int, file: str, text: str) -> None:
    """Write a file of /proc about ids; the kernel takes it in one call or not at all."""
    with open(f"/proc/{process}/{file}", "wb", buffering=0) as table:
        table.write(text.encode())


def make_mapped(write_maps: Callable[[int], None]) -> int:
    """Make a user namespace whose maps `write_maps` writes, told the pid of a process in it; give a descriptor.

    Raises:
        OSError: this process may not, or user namespaces are turned off (ENOSPC at user.max_user_namespaces, EPERM
            where a distribution keeps ordinary users from them).
    """
    ready, mapped = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        # The other ends, or it would not see its parent end; and locks, which it would hold a moment longer than that.
        close_others(ready[1], mapped[0])
        _wait_inside(ready[1], mapped[0])
    os.close(ready[1])
    try:
        _check_ready(ready[0])
        write_maps(child)
        return os.open(f"/proc/{child}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        for descriptor in (ready[0], *mapped):
            os.close(descriptor)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _wait_inside(ready: int, mapped: int) -> NoReturn:
    """Enter a new namespace, say so or with which errno that failed, and stay until killed."""
    try:
        with contextlib.suppress(BaseException):
            number = 0
            try:
                unshare(CLONE_NEWUSER)
            except OSError as error:
                number = error.errno or 1
            os.write(ready, b"%d" % number)
            os.close(ready)
            os.read(mapped, 1)
    finally:
        os._exit(0)


def _check_ready(descriptor: int) -> None:
    answer = os.read(descriptor, 16)
    number = int(answer or b"5")  # EIO: it was killed.
    if number:
        raise OSError(number, f"unshare: {os.strerror(number)}", "a user namespace")
