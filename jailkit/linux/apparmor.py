"""AppArmor's word on processes (apparmor(7)): under which profile one is, and under which it is to be."""

from __future__ import annotations

import os
from typing import Final

_ENABLED: Final = "/sys/module/apparmor/parameters/enabled"
# Its own folder since Linux 5.8; before, a file that all security modules share.
_CURRENT: Final = ("attr/apparmor/current", "attr/current")
ON_EXEC: Final = "/proc/self/attr/apparmor/exec"


def enabled() -> bool:
    """Tell whether this kernel has AppArmor, and it is on."""
    try:
        with open(_ENABLED, encoding="ascii") as file:
            return file.read().startswith("Y")
    except OSError:
        return False


def profile_of(pid: int) -> str:
    """Give the profile that a process is under; empty without AppArmor."""
    for name in _CURRENT:
        try:
            with open(f"/proc/{pid}/{name}", encoding="utf-8") as file:
                return file.read().strip("\0\n").split(" (")[0]  # PROFILE (MODE)
        except OSError:
            continue  # No such file, or EINVAL where no security module answers.
    return ""


def change_on_exec(profile: str) -> None:
    """Put this process under a profile as soon as it executes a program (aa_change_onexec(2)).

    A profile is a process's own, and stays behind when the process enters namespaces.

    Raises:
        OSError: ENOENT: no such profile is loaded.
    """
    file = os.open(ON_EXEC, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(file, change(profile))
    finally:
        os.close(file)


def change(profile: str) -> bytes:
    """Give what has to be written for that."""
    return b"exec " + os.fsencode(profile)
