"""Reading and writing the small files of a cgroup tree, one system call each: the kernel takes a write whole."""

from __future__ import annotations

import errno
import os


def read(path: str) -> str | None:
    """Give what the kernel shows in a file, without the last line's end; None where there is no such file.

    Raises:
        OSError: it is there and cannot be read.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        parts = []
        while part := os.read(file, 65536):
            parts.append(part)
    except OSError as error:
        if error.errno != errno.ENODEV:  # The group was removed between the two calls.
            raise
        return None
    finally:
        os.close(file)
    return b"".join(parts).decode("utf-8", "surrogateescape").rstrip("\n")


def write(path: str, value: str) -> None:
    """Write a value.

    Raises:
        OSError: with the path; what the kernel thinks of the value.
    """
    try:
        file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(file, value.encode())
        finally:
            os.close(file)
    except OSError as error:
        raise OSError(error.errno, f"write {value!r}: {error.strerror}", path) from error


def folders(path: str) -> list[str]:
    """Give the names of the groups directly below one; none where it is gone."""
    try:
        with os.scandir(path) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def number(text: str | None) -> int | None:
    """Read a file's only number; None for no file, and for `max`, which is no number."""
    return int(text) if text is not None and text.isdecimal() else None


def field(text: str | None, name: str) -> int | None:
    """Read the number after `name` in lines of `name number`."""
    for line in (text or "").splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return None
