"""Walking a tree that its inhabitant may have made hostile."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from jailkit.linux.paths import Tree

MAX_DEPTH = 200


class Seen(NamedTuple):
    """A path with its lstat(2). `unread` says why the content of a directory was not looked at."""

    path: str
    status: os.stat_result
    unread: str | None = None


def walk_tree(tree: Tree, top: str = "/") -> Iterator[Seen]:
    """Yield every path below the root of a tree, or below the directory `top`, sorted, parents before children.

    No link is followed. A directory that cannot be opened, or that is deeper than MAX_DEPTH, so that neither paths
    nor memory grow without bound, is yielded a second time with the reason. What vanishes meanwhile is passed over.
    """
    waiting = [Seen(top, status_of(tree, top))]
    while waiting:
        folder = waiting.pop()
        try:
            found = _entries(tree, folder.path)
        except FileNotFoundError:
            continue
        except OSError as error:
            yield folder._replace(unread=error.strerror)
            continue
        yield from found
        waiting.extend(seen for seen in reversed(found) if stat.S_ISDIR(seen.status.st_mode))


def status_of(tree: Tree, path: str) -> os.stat_result:
    """Look at one path, and through no link.

    Raises:
        OSError: there is nothing, or a link on the way.
    """
    descriptor = tree.open(path, os.O_PATH | os.O_NOFOLLOW)
    try:
        return os.fstat(descriptor)
    finally:
        os.close(descriptor)


def _entries(tree: Tree, folder: str) -> list[Seen]:
    if folder.count("/") >= MAX_DEPTH:
        raise OSError(errno.ELOOP, f"more than {MAX_DEPTH} directories deep")
    descriptor = tree.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        found = []
        for name in sorted(os.listdir(descriptor)):
            with contextlib.suppress(FileNotFoundError):
                found.append(Seen(f"{folder.rstrip('/')}/{name}", os.lstat(name, dir_fd=descriptor)))
        return found
    finally:
        os.close(descriptor)
