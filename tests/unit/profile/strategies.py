"""Profiles as hypothesis makes them: plausible ones, hostile ones, and text that is neither."""

# ruff: noqa: E501 - one field a line or two

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from jailkit.profile.keys import keys_of
from jailkit.profile.model import File, Isolation, Limits, Mount, Profile, Smoke, User
from jailkit.profile.names import DEVICES, NAMESPACES

WORDS = st.sampled_from(
    [
        "sh", "../x", "/etc/hosts", "/proc/self", "/", "", "a", "root", "0755", "4755", "64MiB", "50%", "30s", "none", "null",
        "lots", "chroot", "host", "*", "&a", "!!python/name:os.system", "<<", "\x00", "\x1b[2J", "\u202e", "a" * 300, "5", "é",
    ]
)  # fmt: skip
KEYS = st.sampled_from(
    [key for part in (Profile, File, Isolation, Limits, Mount, Smoke, User) for key in keys_of(part)]
)
SCALARS = WORDS | st.integers() | st.floats() | st.booleans() | st.none() | st.text(max_size=20)
ANYTHING: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | WORDS | st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
HOSTILE = st.dictionaries(KEYS, ANYTHING, max_size=8)

_NAME = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)
_PATH = st.lists(_NAME, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))
_FLAG = st.booleans()
_TEXT = st.text(st.characters(exclude_categories=("C", "Z")), max_size=30)
_SIZE = st.integers(1, 2**40) | st.builds("{}{}".format, st.integers(1, 999), st.sampled_from(["K", "MiB", "GB", "B"]))
_SECONDS = st.integers(1, 999) | st.builds(
    "{}{}".format, st.integers(1, 99), st.sampled_from(["s", "m", "ms", "h", "d"])
)
_MODE = st.sampled_from(["0755", "644", 600, "0o700", "1777"])
_OWNER = st.sampled_from(["root", 5, "5:6", "root:root"])


def _entry(required: dict[str, Any], **optional: Any) -> st.SearchStrategy[dict[str, Any]]:
    names = {key.replace("_", "-"): value for key, value in optional.items()}
    return st.fixed_dictionaries(required, optional=names)


_NAMED = _NAME | _entry({"name": _NAME}, optional=_FLAG)
_PACKAGE = st.from_regex(r"[a-z][a-z0-9+.-]{1,9}", fullmatch=True)
_LIMITS = _entry(
    {}, memory=_SIZE, swap=_SIZE, cpus=st.sampled_from([1, 1.5, "50%", "0.25"]), pids=st.integers(1, 99), open_files=st.just(64),
    cpuset=st.sampled_from(["0", "0-1,3", 2]), cpu_weight=st.integers(1, 10_000), file_size=_SIZE, wall_time=_SECONDS,
    io=st.lists(_entry({"path": _PATH, "read-bps": _SIZE}, write_iops=st.integers(1, 9)), max_size=2),
)  # fmt: skip
_ADDRESS = st.ip_addresses(v=4).map(str)
_PROTOCOL = st.sampled_from(["", "/tcp", "/udp"])
_PORT = st.builds("{}{}:{}{}".format, _ADDRESS.map("{}:".format) | st.just(""), *[st.integers(1, 65535)] * 2, _PROTOCOL)
_DESTINATION = (
    _ADDRESS | st.just("10.0.0.0/8") | st.builds("{}:{}{}".format, _ADDRESS, st.integers(1, 65535), _PROTOCOL)
)
_ISOLATION = _entry(
    {}, namespaces=st.lists(st.sampled_from(NAMESPACES)), user=st.sampled_from(["root", 5, "jail"]), no_new_privileges=_FLAG,
    capabilities=st.lists(st.sampled_from(["CAP_CHOWN", "kill"])), seccomp=st.sampled_from(["default", "none"]), network=st.sampled_from(["none", "host"]),
) | _entry({"network": st.just("bridge")}, ports=st.lists(_PORT, max_size=2), allow=st.lists(_DESTINATION, max_size=3))  # fmt: skip
_STDOUT = _TEXT | st.sampled_from(["equals", "contains", "matches"]).flatmap(
    lambda key: st.fixed_dictionaries({key: _NAME})
)
_COMMAND = st.lists(_NAME, min_size=1, max_size=3) | _NAME
_FILE = _PATH | _entry({"source": _PATH | _NAME, "target": _PATH}, mode=_MODE, owner=_OWNER, optional=_FLAG)

PLAUSIBLE = _entry(
    {"name": _NAME}, description=_TEXT, level=st.sampled_from(["chroot", "lxc"]), isolation=_ISOLATION,
    binaries=st.lists(_NAMED), packages=st.lists(_PACKAGE | _entry({"name": _PACKAGE}, optional=_FLAG)), libraries=st.lists(_NAMED),
    files=st.lists(_FILE, max_size=3), directories=st.lists(_PATH | _entry({"path": _PATH}, mode=_MODE, owner=_OWNER), max_size=3),
    symlinks=st.dictionaries(_PATH, _NAME, max_size=2), devices=st.lists(st.sampled_from(DEVICES)),
    text=st.dictionaries(_PATH, _TEXT | _entry({"content": _TEXT}, mode=_MODE, owner=_OWNER), max_size=2),
    users=st.lists(_entry({"name": _NAME, "uid": st.integers(1, 9)}, home=_PATH, groups=st.lists(_NAME | st.integers(0, 9))), max_size=2),
    keep_privileges=st.lists(_PATH, max_size=2), environment=st.dictionaries(_NAME.map(str.upper), _TEXT, max_size=3),
    workdir=_PATH, command=_COMMAND, limits=_LIMITS, accept_gaps=st.lists(st.sampled_from(["limits.memory", "mounts"])),
    stop_signal=st.sampled_from(["TERM", "SIGHUP", "USR1"]), stop_timeout=_SECONDS, read_only_root=_FLAG, volumes=st.lists(_PATH, max_size=2),
    mounts=st.lists(_entry({"type": st.just("tmpfs"), "target": _PATH}, size=_SIZE, read_only=_FLAG), max_size=2),
    smoke=st.lists(_entry({"command": _COMMAND}, stdin=_TEXT, stdout=_STDOUT, timeout=_SECONDS, exit_code=st.integers(0, 255)), max_size=2),
)  # fmt: skip


def as_yaml(data: Any) -> str:
    """Write data as flow YAML, which JSON nearly is; what JSON cannot say becomes text."""
    return json.dumps(data, ensure_ascii=True, allow_nan=False, default=str)
