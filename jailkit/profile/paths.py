"""Paths as profiles write them: inside the jail, on the host, and as targets of symbolic links.

A profile is hostile input, so every path is checked before anything is opened: absolute, by components,
without `..`, without control characters. What the paths mean on a file system is the realizer's to guard.
"""

from __future__ import annotations

import os.path
import re

from jailkit.profile.refusal import Refusal, quote_hint, shown

MAX_PATH = 4096  # PATH_MAX, with its closing zero byte
MAX_NAME = 255  # NAME_MAX

# Controls, line separators, and the marks that make a terminal show text in another order than it has.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def jail_path(value: object) -> str:
    """Check the path of an entry in the jail: absolute, normalized, not `/`, not in /proc or /sys."""
    path = place_path(value)
    if path == "/":
        raise Refusal("the jail's root itself cannot be an entry")
    return path


def content_path(value: object) -> str:
    """Check the path of a file with content: as jail_path, and not in /dev either."""
    path = jail_path(value)
    if is_below(path, "/dev"):
        raise Refusal(f"{shown(path)} is in /dev, which holds only what `devices` lists")
    return path


def link_path(value: object) -> str:
    """Check the path of a symbolic link: as jail_path, and not /dev, where nodes are made."""
    path = jail_path(value)
    if path == "/dev":
        raise Refusal("/dev is a directory in every jail and cannot be a link")
    return path


def place_path(value: object) -> str:
    """Check an absolute, normalized path in the jail that may be `/`."""
    path = _absolute(value)
    if path != "/" and path.endswith("/"):
        raise Refusal(f"{shown(path)} must not end in a slash")
    _check_components(path, path.split("/")[1:] if path != "/" else [])
    _refuse_kernel_trees(path, ("/proc", "/sys"))
    return path


def folder_path(value: object) -> str:
    """Check a directory's path, which may end in one slash; gives it without."""
    return jail_path(_without_slash(value))


def home_path(value: object) -> str:
    """Check a directory in the jail where something runs or lives: `/` is one, and a closing slash is dropped."""
    return place_path(_without_slash(value))


def target_path(value: object) -> str:
    """Check where a copy goes; a closing slash is dropped, because a tree may be copied."""
    return content_path(_without_slash(value))


def link_target(value: object) -> str:
    """Check what a symbolic link says, apart from where the link is."""
    target = one_line(value)
    if len(target.encode()) >= MAX_PATH:
        raise Refusal(f"the path has more than {MAX_PATH - 1} bytes")
    if any(len(part.encode()) > MAX_NAME for part in target.split("/")):
        raise Refusal(f"a part of {shown(target)} has more than {MAX_NAME} bytes")
    if target.startswith("/"):
        _refuse_kernel_trees(os.path.normpath("/" + target.lstrip("/")), ("/proc", "/sys"))
    return target


def check_link(path: str, target: str) -> None:
    """Refuse a link at `path` whose target climbs above the jail's root, or lands in /proc or /sys."""
    depth = 0 if target.startswith("/") else path.count("/") - 1
    for part in target.split("/"):
        if part == "..":
            depth -= 1
        elif part not in ("", "."):
            depth += 1
        if depth < 0:
            raise Refusal(f"the target {shown(target)} climbs above the jail's root")
    _refuse_kernel_trees(os.path.normpath(os.path.join(os.path.dirname(path), target)), ("/proc", "/sys"))


def source_path(value: object) -> str:
    """Check a file, tree or glob on the host; gives it normalized. Relative ones were anchored before."""
    path = os.path.normpath(clean_source(value))
    if not path.startswith("/"):
        raise Refusal(f"expected an absolute path, got {shown(value)}")
    path = "/" + path.lstrip("/")  # normpath keeps two leading slashes, as POSIX allows
    if path == "/":
        raise Refusal("the host's whole root cannot be a source")
    _refuse_kernel_trees(path, ("/proc", "/sys", "/dev"))
    return path


def clean_source(value: object) -> str:
    """Check a source as written, absolute or relative, for what no source may hold."""
    path = one_line(value)
    if ".." in path.split("/"):
        raise Refusal(f"{shown(path)} must not contain `..`")
    _check_length(path)
    return path


def is_below(path: str, folder: str) -> bool:
    """True when `path` is `folder` or inside it, by components."""
    return path == folder or path.startswith(folder + "/")


def is_pattern(source: str) -> bool:
    """True for a source that may match many files on the host, or none."""
    return any(character in source for character in "*?[")


def one_line(value: object) -> str:
    """Check a text that must be one printable line and not empty."""
    if not isinstance(value, str):
        raise Refusal(f"expected text, got {shown(value)}{quote_hint(value)}")
    if not value:
        raise Refusal("must not be empty")
    if _CONTROL.search(value):
        raise Refusal(f"{shown(value)} holds a control character")
    return value


def _absolute(value: object) -> str:
    path = one_line(value)
    if not path.startswith("/"):
        raise Refusal(f"expected an absolute path in the jail, got {shown(path)}")
    return path


def _check_components(path: str, parts: list[str]) -> None:
    _check_length(path)
    for part in parts:
        if part in (".", ".."):
            raise Refusal(f"{shown(path)} must not contain `{part}`")
        if not part:
            raise Refusal(f"{shown(path)} must not contain `//`")


def _check_length(path: str) -> None:
    if len(path.encode()) >= MAX_PATH:
        raise Refusal(f"the path has more than {MAX_PATH - 1} bytes")
    if any(len(part.encode()) > MAX_NAME for part in path.split("/")):
        raise Refusal(f"a part of {shown(path)} has more than {MAX_NAME} bytes")


def _refuse_kernel_trees(path: str, trees: tuple[str, ...]) -> None:
    for tree in trees:
        if is_below(path, tree):
            raise Refusal(f"{shown(path)} is in {tree}, which belongs to the kernel")


def _without_slash(value: object) -> object:
    if isinstance(value, str) and len(value) > 1 and value.endswith("/") and not value.endswith("//"):
        return value[:-1]
    return value
