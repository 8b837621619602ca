"""What liblxc holds after it has read a configuration, compared with what was written. Pure; liblxc is a parameter.

liblxc takes some wrong values for no value and says nothing: a container without its map of ids is a privileged one.
"""

from __future__ import annotations

from collections.abc import Callable

from jailkit.backends.lxc.config import Pairs

_WORDS = ("lxc.cap.keep", "lxc.mount.auto")  # which come back one a line, or in an order of their own


def differences(pairs: Pairs, held: Callable[[str], str]) -> list[str]:
    """Name every key that did not arrive as it was written; `held` gives what liblxc has, KeyError for nothing."""
    found = []
    for key in dict.fromkeys(key for key, _ in pairs):
        wanted = [value for other, value in pairs if other == key]
        try:
            got = held(key)
        except KeyError:
            found.append(f"{key}: this liblxc does not know it")
            continue
        if _normal(key, got.rstrip("\n").split("\n")) != _normal(key, [_as_held(key, value) for value in wanted]):
            found.append(f"{key}: wrote {', '.join(wanted)!r}, LXC has {got.strip()!r}")
    return found


def _normal(key: str, values: list[str]) -> list[str]:
    return sorted(word for value in values for word in value.split()) if key in _WORDS else values


def _as_held(key: str, value: str) -> str:
    """Give the form in which liblxc gives a value back, where that is another one."""
    if key == "lxc.rootfs.path":
        return value.removeprefix("dir:")
    if key == "lxc.cap.keep" and value == "none":
        return ""
    return value
