"""What a jail's command writes: kept in a few files of bounded size, and read back in order."""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, Final

from jailkit.backends import backend_for
from jailkit.lifecycle.runs import logs_of, supervision
from jailkit.store import Jail

SIZE: Final = 10 << 20  # bytes of a file
PARTS: Final = 3  # files in all
_CHUNK: Final = 1 << 16
_PAUSE: Final = 0.1  # seconds between looks at a log that grows


class RotatingLog:
    """Appends to `path`; when that would be larger than `size`, it becomes `path.1`, `path.1` becomes `path.2`, ...

    A disk that takes no more is no reason to hold up whoever writes: what it does not take is dropped, and how much
    that was is written down as soon as there is room.
    """

    def __init__(self, path: str, size: int = SIZE, parts: int = PARTS) -> None:
        self._path = path
        self._size = size
        self._parts = parts
        self._dropped = 0
        self._file: int | None = None

    def write(self, data: bytes) -> None:
        """Append bytes."""
        notice = b"\n[jailkit: %d bytes are missing here]\n" % self._dropped if self._dropped else b""
        try:
            self._append(notice + data)
        except OSError:
            self._dropped += len(data)
        else:
            self._dropped = 0

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _append(self, data: bytes) -> None:
        if self._file is None:
            self._file = _open_to_append(self._path)
        present = os.fstat(self._file).st_size
        if present and present + len(data) > self._size:
            self._rotate()
        while data:
            data = data[os.write(self._file, data) :]

    def _rotate(self) -> None:
        paths = _paths(self._path, self._parts)
        for older, newer in zip(reversed(paths[1:]), reversed(paths[:-1]), strict=True):
            with contextlib.suppress(FileNotFoundError):
                os.rename(newer, older)
        self.close()
        self._file = _open_to_append(self._path)


def read(jail: Jail, *, tail: int | None = None, follow: bool = False) -> Iterator[bytes]:
    """Give what the jail's command wrote, the oldest first; only the last `tail` lines unless that is None.

    With `follow` what it writes from now on too, until it ends.
    """

    def lasts() -> bool:
        return follow and supervision(jail) == "supervised"

    return _read(_paths(f"{logs_of(jail)}/output.log", PARTS), tail, lasts)


def read_console(jail: Jail, *, tail: int | None = None, follow: bool = False) -> Iterator[bytes]:
    """Give what was written on the console of the jail's container, as `read` does; nothing at a level without one."""

    def lasts() -> bool:
        return follow and backend_for(jail.level).status(jail) != "stopped"

    return _read(_paths(f"{jail.directory}/lxc/main/console.log", 2), tail, lasts)


def _read(paths: Sequence[str], tail: int | None, lasts: Callable[[], bool]) -> Iterator[bytes]:
    files = _open_all(paths)
    try:
        yield from _chunks(files) if tail is None else deque((line for file in files for line in file), maxlen=tail)
        more = True
        while more:
            more = lasts()  # Asked before the last look, so that nothing is missed that was written before the end.
            if more:
                time.sleep(_PAUSE)
            files = _go_on(files, paths)
            yield from _chunks(files)
    finally:
        for file in files:
            file.close()


def _go_on(files: Sequence[BinaryIO], paths: Sequence[str]) -> list[BinaryIO]:
    """Give the newest of the files, which may have grown, and those that have come after it; close the others."""
    newest = files[-1:]
    present = _open_all(paths)
    known = [bool(newest) and _same(file, newest[0]) for file in present]
    fresh = present[known.index(True) + 1 :] if True in known else present
    for file in (*files[:-1], *present[: len(present) - len(fresh)]):
        file.close()
    return [*newest, *fresh]


def _open_all(paths: Sequence[str]) -> list[BinaryIO]:
    """Open the parts of a log that there are, the oldest first.

    From the newest on: a part that is renamed meanwhile is then met twice, and none is missed.
    """
    files: list[BinaryIO] = []
    for path in paths:
        with contextlib.suppress(OSError):
            file = open(path, "rb", opener=_open_to_read)  # noqa: SIM115 - whoever gets it closes it
            if any(_same(file, other) for other in files):
                file.close()
            else:
                files.append(file)
    return files[::-1]


def _open_to_read(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _open_to_append(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _same(file: BinaryIO, other: BinaryIO) -> bool:
    return os.path.samestat(os.fstat(file.fileno()), os.fstat(other.fileno()))


def _chunks(files: Sequence[BinaryIO]) -> Iterator[bytes]:
    for file in files:
        while chunk := file.read(_CHUNK):
            yield chunk


def _paths(path: str, parts: int) -> list[str]:
    """Give the paths of the parts of a log, the newest first."""
    return [path, *(f"{path}.{number}" for number in range(1, parts))]
