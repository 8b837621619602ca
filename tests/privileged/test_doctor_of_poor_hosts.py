"""`jailkit doctor` where the host withholds something, really withheld."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.needs("root", "mknod", "chroot", "mount-namespace")

CONSOLE = Path(sys.executable).with_name("jailkit")


def doctor(home: Path, *wrapper: str) -> tuple[int, dict[str, Any], dict[str, Any]]:
    """Run the doctor below other commands: its exit code, its checks by name, its levels by name."""
    done = subprocess.run(
        [*wrapper, CONSOLE, "--home", home, "doctor", "--json"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    data = json.loads(done.stdout)
    checks = {check["name"]: check for check in data["checks"]}
    return done.returncode, checks, {level["name"]: level for level in data["levels"]}


def test_root_can(tmp_path: Path) -> None:
    code, checks, levels = doctor(tmp_path)
    assert code == 0
    assert levels["chroot"]["works"]
    assert levels["chroot-root"]["works"]
    assert checks["home"]["evidence"].startswith(str(tmp_path))


def test_a_home_without_devices_and_programs(tmp_path: Path) -> None:
    script = 'mount -t tmpfs -o nodev,noexec,nosuid,size=1m tmpfs "$1" && shift && exec "$@"'
    code, checks, levels = doctor(
        tmp_path, "unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", str(tmp_path)
    )
    assert code == 1
    assert levels["chroot"]["lacks"] == ["devices", "programs"]
    assert checks["devices"]["remedy"].startswith(f"mount -o remount,dev {tmp_path},")
    assert checks["programs"]["remedy"].startswith(f"mount -o remount,exec {tmp_path},")
    assert checks["set-user-ID programs"]["remedy"].startswith(f"mount -o remount,suid {tmp_path},")


def test_a_home_that_is_read_only(tmp_path: Path) -> None:
    script = 'mount -t tmpfs -o ro tmpfs "$1" && shift && exec "$@"'
    code, checks, _ = doctor(
        tmp_path, "unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", str(tmp_path)
    )
    assert code == 1
    assert checks["home"]["evidence"] == f"cannot write in {tmp_path}: Read-only file system"


@pytest.mark.parametrize(
    ("capability", "check", "remedy"),
    [
        ("sys_chroot", "chroot", "CAP_SYS_CHROOT"),
        ("mknod", "devices", "CAP_MKNOD"),
        ("setuid", "change of user", "CAP_SETUID"),
    ],
)
def test_root_without_a_capability(tmp_path: Path, capability: str, check: str, remedy: str) -> None:
    code, checks, levels = doctor(tmp_path, "setpriv", "--bounding-set", f"-{capability}")
    assert code == 1
    assert not checks[check]["works"]
    assert remedy in checks[check]["remedy"]
    assert levels["chroot"]["lacks"] == [check]


def test_another_user_learns_what_root_would_give(tmp_path: Path) -> None:
    # The checkout may lie where only root can read; that one capability changes no answer.
    reader = ("--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search")
    nobody = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", *reader)
    code, checks, levels = doctor(tmp_path, *nobody)
    assert code == 1
    assert checks["root"]["evidence"] == "running as uid 65534; root could chroot here"
    assert not checks["chroot"]["works"]
    assert levels["chroot"]["reason"].startswith("needs root")
    assert f"cannot write in {tmp_path}" in checks["home"]["evidence"]
    _, checks, _ = doctor(tmp_path, "setpriv", "--bounding-set", "-sys_chroot", *nobody)
    assert "even root could not chroot" in checks["root"]["evidence"]


@pytest.mark.needs("user-namespace")
def test_no_user_namespaces(tmp_path: Path) -> None:
    # The limit belongs to the user namespace that sets it: the host's own stays.
    script = 'echo 0 >/proc/sys/user/max_user_namespaces && exec "$@"'
    _, checks, levels = doctor(tmp_path, "unshare", "--user", "--map-root-user", "sh", "-c", script, "sh")
    assert not checks["user namespaces"]["works"]
    assert checks["user namespaces"]["remedy"] == "sysctl -w user.max_user_namespaces=15000"
    assert "user namespaces" in levels["chroot-hardened"]["lacks"]
