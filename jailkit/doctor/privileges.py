"""What the kernel lets this process do: root's part of the answer."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from jailkit.doctor.model import ALL, AS_ROOT, CHROOTS, Check, from_attempt
from jailkit.levels import LADDER
from jailkit.linux.attempt import attempt
from jailkit.linux.libc import PR_SET_NO_NEW_PRIVS, RESOLVE_IN_ROOT, close_range, openat2, prctl

NOBODY = 65534
CAP_SYS_CHROOT = 18  # linux/capability.h
NEWER_KERNEL = "Linux 5.9 or newer, and a container runtime whose seccomp profile allows the call"


def privilege_checks() -> list[Check]:
    """Try what every level, and what root's levels, ask of the kernel."""
    return [_root(), _chroot(), _identity(), _close_range(), _openat2(), _proc()]


def _root() -> Check:
    needed_by = tuple(level.name for level in LADDER if level.needs_root)
    uid = os.geteuid()
    if uid == 0:
        return Check("root", True, "running as uid 0", None, needed_by)
    could = _bounded(CAP_SYS_CHROOT)
    gives = "root could chroot here" if could else "even root could not chroot in this container"
    return Check("root", False, f"running as uid {uid}; {gives}", "sudo jailkit doctor", needed_by)


def _bounded(capability: int) -> bool:
    """Tell whether the bounding set has a capability: what a set-user-ID root program would get."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    return bool(int(fields.get("CapBnd", "0").strip(), 16) >> capability & 1)


def _chroot() -> Check:
    with tempfile.TemporaryDirectory(prefix="jailkit-doctor-") as folder:
        error = attempt(lambda: os.chroot(folder))
    remedy = "give the container CAP_SYS_CHROOT" if os.geteuid() == 0 else AS_ROOT
    return from_attempt("chroot", error, "chroot(2) into a directory came through", remedy, CHROOTS)


def _identity() -> Check:
    def become_nobody() -> None:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        prctl(PR_SET_NO_NEW_PRIVS, 1)

    remedy = "give the container CAP_SETUID and CAP_SETGID" if os.geteuid() == 0 else AS_ROOT
    evidence = f"became uid {NOBODY} without groups and with no_new_privs"
    return from_attempt("change of user", attempt(become_nobody), evidence, remedy, CHROOTS)


def _close_range() -> Check:
    # Far above any descriptor in use, so that nothing but the call itself is tried.
    error = attempt(lambda: close_range(1 << 20, 1 << 20))
    return from_attempt("close_range", error, "close_range(2) came through", NEWER_KERNEL, ALL)


def _openat2() -> Check:
    def open_root() -> None:
        openat2(os.open("/", os.O_PATH), ".", os.O_PATH, 0, RESOLVE_IN_ROOT)

    return from_attempt("openat2", attempt(open_root), "openat2(2) confines paths", NEWER_KERNEL, ALL)


def _proc() -> Check:
    if os.path.isdir("/proc/self"):
        return Check("proc", True, "/proc is mounted", None, ALL)
    evidence = "/proc is not mounted, so processes in a jail cannot be seen"
    return Check("proc", False, evidence, "mount -t proc proc /proc", ALL)
