"""The first line of a script, as execve(2) reads it (fs/binfmt_script.c)."""

from __future__ import annotations

import os
from typing import Final

# linux/binfmts.h: as much of a program as the kernel looks at to tell what it is.
BINPRM_BUF_SIZE: Final = 256


def shebang_words(head: bytes) -> tuple[str, ...] | None:
    """Split a `#!` line into the interpreter and one argument; None when a file's beginning is no such line."""
    if not head.startswith(b"#!"):
        return None
    line = head[2:].replace(b"\0", b"\n").split(b"\n", 1)[0].strip(b" \t")
    return tuple(os.fsdecode(word) for word in line.split(maxsplit=1))
