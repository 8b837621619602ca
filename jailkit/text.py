"""Words for people: text that somebody else chose, such as a file's name, and numbers of things."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""Escape what a terminal would obey instead of show (control characters, `\x1b`) and what is no text."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def counted(count: int, thing: str) -> str:
    """Write how many there are of a thing: `1 path`, `2 paths`, `2 processes`."""
    plural = "" if count == 1 else "es" if thing.endswith("s") else "s"
    return f"{count} {thing}{plural}"


def _escape(char: str) -> str:
    if "\udc80" <= char <= "\udcff":  # a byte that is no UTF-8, as os.fsdecode keeps it
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode("ascii")
