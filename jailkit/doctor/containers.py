"""What the levels above plain chroot need: namespaces, cgroups, seccomp, LXC."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from jailkit.backends.lxc.config import APPARMOR_PROFILE
from jailkit.backends.lxc.monitor import find_monitor
from jailkit.doctor.model import Check, explain, from_attempt
from jailkit.levels import LevelName
from jailkit.linux import apparmor
from jailkit.linux.attempt import attempt
from jailkit.linux.cgroup import Cgroups, read_cgroups
from jailkit.linux.libc import CLONE_NEWNS, CLONE_NEWUSER, unshare
from jailkit.linux.mounting import MS_PRIVATE, MS_REC, mount
from jailkit.loader_cache import find_ldconfig
from jailkit.store.subids import COUNT, FILES, IdRange, blocks, ranges_of, read_ranges, user, usermod_command

HARDENED: tuple[LevelName, ...] = ("chroot-hardened",)
BOTH_LXC: tuple[LevelName, ...] = ("lxc-privileged", "lxc")
UNPRIVILEGED: tuple[LevelName, ...] = ("chroot-hardened", "lxc")
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
    return [*kernel, _id_ranges(), _binding(), _apparmor(), _ldconfig()]


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
    return judge_ranges([read_ranges(file) for file in FILES], (user(), str(os.geteuid())))


def judge_ranges(files: Sequence[Sequence[tuple[str, IdRange]]], names: tuple[str, str]) -> Check:
    """Tell for how many jails a user, by name and uid, has ids in /etc/subuid and /etc/subgid."""
    uids, gids = (ranges_of(names, rows) for rows in files)
    found = len(blocks(uids, gids))
    if found:
        evidence = f"{names[0]} has subordinate ids for {found} jail{'s' if found > 1 else ''}"
        return Check("id ranges", True, evidence, None, ("lxc",))
    evidence = f"{' and '.join(FILES)} give {names[0]} no {COUNT} ids that are the same in both"
    command = usermod_command(names[0], [row for rows in files for row in rows])
    return Check("id ranges", False, evidence, command, ("lxc",))


def _binding() -> Check:
    """Look for what the worker for LXC needs: the binding, of whatever package, and the program of the monitor."""
    code = "import _lxc; print(_lxc.get_version(), _lxc.__file__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    remedy = "apt install lxc python3-lxc, with Debian's own python3"
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["it cannot be imported"])[-1]
        return Check("python3-lxc", False, reason, remedy, BOTH_LXC)
    version, file = done.stdout.strip().split(" ", 1)
    if find_monitor() is None:
        return Check("python3-lxc", False, f"liblxc {version} by {file}, but there is no lxc-start", remedy, BOTH_LXC)
    return Check("python3-lxc", True, f"liblxc {version} by {file}", None, BOTH_LXC)


def _apparmor() -> Check:
    """Try to go under the profile of LXC's containers, which everybody may: where it is not loaded, none starts."""
    if not apparmor.enabled():
        remedy = "apparmor=1 security=apparmor on the command line of a kernel that has it: containers get a wall more"
        return Check("apparmor", False, "not on in this kernel", remedy)
    error = attempt(lambda: apparmor.change_on_exec(APPARMOR_PROFILE))
    remedy = "apt install apparmor lxc, and apparmor_parser --replace /etc/apparmor.d/lxc-containers"
    return from_attempt("apparmor", error, f"the profile {APPARMOR_PROFILE} is loaded", remedy, BOTH_LXC)


def _ldconfig() -> Check:
    found = find_ldconfig()
    if found:
        return Check("ldconfig", True, found)
    remedy = "apt install libc-bin"
    return Check("ldconfig", False, "not found: jails get no cache of the loader, and start slower", remedy)
