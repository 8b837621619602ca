"""From LXC's log to a cause and a remedy. Pure.

A line is `PROGRAM NAME TIME LEVEL CATEGORY - FILE:FUNCTION:LINE - [TEXT OF ERRNO - ]MESSAGE`.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple


class Entry(NamedTuple):
    """A line: its level, the function that wrote it, and the message with the text of errno before it, if any."""

    level: str
    function: str
    message: str


class Cause(NamedTuple):
    """Why a container did not start: in words, LXC's own lines behind that, and what to do about it."""

    reason: str
    lines: tuple[str, ...]
    remedy: str | None


class _Known(NamedTuple):
    pattern: str
    reason: str
    remedy: str


_LINE: Final = re.compile(
    r"^\S+ +\S+ +[\d.]+ +(?P<level>[A-Z]+) +\S+ +- +\S+?:(?P<function>\w+):\d+ +- +(?P<message>.*)$"
)

# What LXC says because something else failed before.
_ECHOES: Final = ("sync_wait", "__lxc_start", "lxc_abort", "lxc_end", "do_start", "lxc_setup", "main")
_SHOWN: Final = 4  # lines

# First match wins: special before general. Spellings of liblxc 4.0 to 6.0.
_TABLE: Final = (
    _Known(
        r"newuidmap|newgidmap|[Ff]ailed to (set up|write) id mapping|[Uu]id range .* not allowed",
        "its ids could not be mapped",
        "give the caller a range in /etc/subuid and /etc/subgid: jailkit doctor says how",
    ),
    _Known(
        r"idmapped mount|idmapped rootfs|mount_setattr|Failed to create idmapped|Failed to mount rootfs .*idmap",
        "the file system of its tree cannot be mapped to other ids",
        "put the jails on ext4, xfs, btrfs or tmpfs with --home, or use a kernel from 5.12 on",
    ),
    _Known(
        r"[Aa]pparmor|AppArmor",
        "its AppArmor profile could not be used",
        "load the profile with apparmor_parser -r, or name another one",
    ),
    _Known(
        r"seccomp",
        "its filter of system calls could not be loaded",
        "jailkit update makes the filter again; a syscall that libseccomp does not know must leave the policy",
    ),
    _Known(
        r"File exists - .*cgroup|Creating the final cgroup",
        "a cgroup of its name is there already",
        "it is left over or in use: stop the jail, then start it again",
    ),
    _Known(
        r"cgroup.* (is not|not) (mounted|available|found)|No cgroup controllers|Failed to initialize cgroup",
        "this host has no cgroups that LXC can use",
        "mount /sys/fs/cgroup: jailkit doctor says what is missing",
    ),
    _Known(
        r"[Cc]reat\w+ .*cgroup|cgroup_tree_create|[Ff]ailed to enter cgroup|cgroup2? limit",
        "its cgroup could not be made or entered",
        "run as root, or have the parent group delegated: jailkit doctor says what is missing",
    ),
    _Known(
        r"(is already running|[Cc]ontainer .*already exists|Address already in use)",
        "a container of this name runs already",
        "stop the jail first",
    ),
    _Known(r"No space left on device", "a file system is full", "free some space where the jails are"),
    _Known(r"Disk quota exceeded", "a quota is used up", "free some space where the jails are"),
    _Known(
        r"Too many open files|Cannot allocate memory|Resource temporarily unavailable",
        "the host has no more descriptors, memory or processes for it",
        "end something, or raise the limits of the caller",
    ),
    _Known(
        r"Failed to mount \"(sysfs|proc)\"|Operation not permitted - Failed to mount",
        "the kernel refused a mount inside its namespaces",
        "inside another container, allow nesting from outside",
    ),
    _Known(
        r"Read-only file system - .*(mount|create|mkdir)|No such file or directory - Failed to mount",
        "something is to be mounted where its tree has no file or folder",
        "jailkit update makes the tree anew",
    ),
    _Known(
        r"[Ff]ailed to (access|open|mount|setup|prepare) .*rootfs|rootfs.*(No such file|not a directory)",
        "its tree is gone or cannot be mounted",
        "jailkit update makes the tree anew",
    ),
    _Known(
        r"Failed to exec\b|Failed to exec ",
        "its first process could not be executed",
        "a kernel for another architecture, or noexec where jailkit's files are",
    ),
    _Known(r"Permission denied|Operation not permitted", "the kernel does not permit it", "run it as root"),
)  # fmt: skip


def read_log(text: str) -> list[Entry]:
    """Read a log; lines of another form are passed over."""
    found = (_LINE.match(line) for line in text.splitlines())
    return [Entry(match["level"], match["function"], match["message"]) for match in found if match]


def find_cause(text: str) -> Cause | None:
    """Find out why a container did not start; None when the log holds no error."""
    entries = read_log(text)
    errors = [entry for entry in entries if entry.level in ("ERROR", "CRIT", "ALERT", "FATAL")]
    if not errors:
        return None
    real = [entry for entry in errors if entry.function not in _ECHOES] or errors
    # A warning may hold the reason of the error that comes right after it.
    warned = [entry for entry in entries[: entries.index(real[0])] if entry.level == "WARN"][-2:]
    shown = tuple(dict.fromkeys(entry.message for entry in real))[:_SHOWN]
    for candidates in (real, warned):
        for entry in candidates:
            for known in _TABLE:
                if re.search(known.pattern, entry.message):
                    return Cause(known.reason, shown, known.remedy)
    return Cause(f"LXC says: {real[0].message}", shown, None)
