"""What the levels above plain chroot need: namespaces, cgroups, seccomp, LXC."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from jailkit.doctor.model import Check, explain, from_attempt
from jailkit.levels import LevelName
from jailkit.linux.attempt import attempt
from jailkit.linux.cgroup import Cgroups, read_cgroups
from jailkit.linux.libc import CLONE_NEWNS, CLONE_NEWUSER, unshare
from jailkit.linux.mounting import MS_PRIVATE, MS_REC, mount
from jailkit.loader_cache import find_ldconfig

HARDENED: tuple[LevelName, ...] = ("chroot-hardened",)
BOTH_LXC: tuple[LevelName, ...] = ("lxc-privileged", "lxc")
UNPRIVILEGED: tuple[LevelName, ...] = ("chroot-hardened", "lxc")
ENOUGH_IDS = 65536  # as many as 16 bits can name
FIRST_ID = 100_000
LIMITING = ("cpu", "cpuset", "memory", "pids")

# A setting that forbids user namespaces, the value that does, and what to do about it.
RESTRICTIONS = (
    ("kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
    ("user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=15000"),
    ("kernel/apparmor_restrict_unprivileged_userns", "1",
     "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile that allows `userns`"),
)  # fmt: skip


def container_checks() -> list[Check]:
    """Try and read what stands behind namespaces and limits."""
    cgroups = read_cgroups()
    kernel = [_user_namespace(), _seccomp(), _hierarchy(cgroups), _limits(cgroups)]
    return [*kernel, _id_ranges(), _binding(), _ldconfig()]


def _user_namespace() -> Check:
    uid = os.geteuid()

    def enter() -> None:
        unshare(CLONE_NEWUSER | CLONE_NEWNS)
        # AppArmor may grant the namespace and withhold its capabilities: only using them tells.
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1", encoding="ascii")
        mount("none", "/", "none", MS_REC | MS_PRIVATE)

    evidence = "entered a user and a mount namespace, with its capabilities"
    remedy = userns_remedy(Path("/proc/sys"))
    return from_attempt("user namespaces", attempt(enter), evidence, remedy, UNPRIVILEGED)


def userns_remedy(settings: Path) -> str:
    """Find the setting below /proc/sys that forbids user namespaces, and give its remedy."""
    for name, forbids, remedy in RESTRICTIONS:
        try:
            value = (settings / name).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if value == forbids:
            return remedy
    return "inside a container or a chroot, allow nesting from outside; else a kernel with CONFIG_USER_NS"


def _seccomp() -> Check:
    try:
        actions = Path("/proc/sys/kernel/seccomp/actions_avail").read_text(encoding="ascii").split()
    except OSError as error:
        remedy = "a kernel with CONFIG_SECCOMP_FILTER"
        return Check("seccomp", False, explain(error), remedy, HARDENED)
    return Check("seccomp", True, f"filters can {', '.join(actions)}", None, HARDENED)


def _hierarchy(cgroups: Cgroups) -> Check:
    missing = [name for name in LIMITING if name not in cgroups.controllers]
    if "io" not in cgroups.controllers and "blkio" not in cgroups.controllers:
        missing.append("io")
    evidence = f"{cgroups.mode}: {' '.join(cgroups.controllers) or 'no controllers'}"
    if not missing:
        return Check("cgroups", True, evidence, None, BOTH_LXC)
    lacking = " ".join(missing)
    remedy = f"enable {lacking}: cgroup_enable= on the kernel's command line, or delegation by the parent"
    return Check("cgroups", False, f"{evidence}; without {lacking}", remedy, BOTH_LXC)


def _limits(cgroups: Cgroups) -> Check:
    if cgroups.writable:
        return Check("limits", True, "may make cgroups of its own")
    remedy = "run as root, or under `systemd-run --user --scope -p Delegate=yes`"
    return Check("limits", False, "may not make cgroups here", remedy)


def _id_ranges() -> Check:
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        user = str(os.geteuid())
    missing = [file for file in ("/etc/subuid", "/etc/subgid") if not _has_range(Path(file), user)]
    if not missing:
        return Check("id ranges", True, f"{user} has ranges of subordinate ids", None, ("lxc",))
    first = first_free(Path(file) for file in ("/etc/subuid", "/etc/subgid"))
    ids = f"{first}-{first + ENOUGH_IDS - 1}"
    remedy = f"usermod --add-subuids {ids} --add-subgids {ids} {user}"
    return Check("id ranges", False, f"no range for {user} in {' and '.join(missing)}", remedy, ("lxc",))


def _has_range(file: Path, user: str) -> bool:
    """Tell whether subuid(5) gives the user enough ids in one range."""
    return any(name == user and count >= ENOUGH_IDS for name, _, count in _ranges(file))


def first_free(files: Iterable[Path]) -> int:
    """Give the first id that lies behind all ranges of these files; 100000, where useradd(8) begins, if none does."""
    return max([FIRST_ID, *(start + count for file in files for _, start, count in _ranges(file))])


def _ranges(file: Path) -> list[tuple[str, int, int]]:
    """Read subuid(5): user, first id, number of ids; lines that are none are passed over."""
    try:
        rows = [line.strip().split(":") for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError):
        return []
    return [
        (row[0], int(row[1]), int(row[2]))
        for row in rows
        if len(row) == 3 and row[1].isdecimal() and row[2].isdecimal()
    ]


def _binding() -> Check:
    code = "import lxc; print(lxc.version)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return Check("python3-lxc", True, f"liblxc {done.stdout.strip()}", None, BOTH_LXC)
    reason = (done.stderr.strip().splitlines() or ["it cannot be imported"])[-1]
    return Check("python3-lxc", False, reason, "apt install python3-lxc, with Debian's own python3", BOTH_LXC)


def _ldconfig() -> Check:
    found = find_ldconfig()
    if found:
        return Check("ldconfig", True, found)
    remedy = "apt install libc-bin"
    return Check("ldconfig", False, "not found: jails get no cache of the loader, and start slower", remedy)
