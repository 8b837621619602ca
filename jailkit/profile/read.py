"""Reading the text of a profile without trusting it: a regular file, small, UTF-8, no control characters."""

from __future__ import annotations

import os
import re
import stat

from jailkit.profile.nodes import Place

MAX_BYTES = 1 << 20

# What YAML 1.2 calls non-printable (5.1), and the C1 controls with NEL, which terminals obey.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def read_text(path: str) -> str:
    """Read a profile's file.

    Raises:
        ProfileError: it cannot be opened, is no regular file, is larger than 1 MiB, or is not plain UTF-8 text.
    """
    place = Place(path)
    try:
        content = _read_bounded(path)
    except OSError as error:
        raise place.error(f"cannot read it: {error.strerror or error}") from error
    except ValueError as error:  # a path with a zero byte
        raise place.error(f"cannot read it: {error}") from error
    if content is None:
        raise place.error("it is not a regular file")
    if len(content) > MAX_BYTES:
        raise place.error(f"it is larger than {MAX_BYTES >> 20} MiB")
    return decode(content, path)


def decode(content: bytes, path: str) -> str:
    """Give the text of bytes that must be UTF-8 without control characters; a byte order mark is dropped."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, column = _position(content[: error.start].decode("utf-8", "replace"))
        raise Place(path, line, column).error(f"byte 0x{content[error.start]:02x} is not UTF-8") from error
    match = _CONTROL.search(text)
    if match:
        line, column = _position(text[: match.start()])
        raise Place(path, line, column).error(f"control character U+{ord(match[0]):04X} is not allowed")
    return text


def has_control(text: str) -> bool:
    """True for text that holds a character which no value may hold, however it is escaped."""
    return _CONTROL.search(text) is not None


def _read_bounded(path: str) -> bytes | None:
    # O_NONBLOCK: opening a FIFO must not wait for its writer. It changes nothing for a regular file.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        parts, left = [], MAX_BYTES + 1
        while left > 0 and (part := os.read(descriptor, left)):
            parts.append(part)
            left -= len(part)
        return b"".join(parts)
    finally:
        os.close(descriptor)


def _position(before: str) -> tuple[int, int]:
    return before.count("\n") + 1, len(before) - before.rfind("\n")
