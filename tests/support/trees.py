"""Whole trees as tables, so that what became of one is a single comparison."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path


def dump(root: str | os.PathLike[str], *, owners: bool = False, times: bool = False) -> dict[str, str]:
    """Write a tree as `{"/foo/bar": "file 0444 5b41362b"}`, the root itself as `/`.

    With `owners`, ` uid:gid` follows; with `times`, a file's mtime in nanoseconds.
    """
    top = str(root)
    paths = [top]
    for folder, directories, files in os.walk(top):
        paths += [f"{folder}/{name}" for name in (*directories, *files)]
    return {path[len(top) :] or "/": line(path, owners=owners, times=times) for path in sorted(paths)}


def line(path: str, *, owners: bool = False, times: bool = False) -> str:
    """Write one path."""
    status = os.lstat(path)
    words = [_what(path, status)]
    if owners:
        words.append(f"{status.st_uid}:{status.st_gid}")
    if times and stat.S_ISREG(status.st_mode):
        words.append(str(status.st_mtime_ns))
    return " ".join(words)


def _what(path: str, status: os.stat_result) -> str:
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISLNK(status.st_mode):
        return f"link {os.readlink(path)}"
    if stat.S_ISDIR(status.st_mode):
        return f"dir {mode:04o}"
    if stat.S_ISREG(status.st_mode):
        return f"file {mode:04o} {short_hash(Path(path).read_bytes())}"
    if stat.S_ISCHR(status.st_mode):
        return f"char {mode:04o} {os.major(status.st_rdev)},{os.minor(status.st_rdev)}"
    return f"{'fifo' if stat.S_ISFIFO(status.st_mode) else 'other'} {mode:04o}"


def short_hash(content: bytes | str) -> str:
    """Give the first eight digits of a content's sha256, as in a dump."""
    data = content.encode() if isinstance(content, str) else content
    return hashlib.sha256(data).hexdigest()[:8]


def plant(root: Path, tree: dict[str, str | None]) -> Path:
    """Make files from `{"/path": content}`: `None` is a directory, `-> target` a link, `#!` makes it executable."""
    for name, content in tree.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.mkdir(exist_ok=True)
        elif content.startswith("-> "):
            path.symlink_to(content[3:])
        else:
            path.write_text(content)
            path.chmod(0o755 if content.startswith("#!") else 0o644)
    return root
