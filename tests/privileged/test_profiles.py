"""Every shipped profile for real: made, verified with its smoke commands, destroyed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from jailkit.profile.find import shipped_profiles

pytestmark = pytest.mark.needs("root", "mknod", "chroot")

Jailkit = Callable[..., subprocess.CompletedProcess[str]]

NEEDS = {
    "busybox": ["busybox"],
    "curl": ["curl", "openssl"],
    "git": ["git"],
    "nginx": ["nginx"],
    "perl": ["perl"],
    "sftp": ["sshd", "sftp"],
}


def needing(name: str, *values: object) -> Any:
    return pytest.param(name, *values, id=name, marks=pytest.mark.needs(*NEEDS.get(name, [])))


def create(jailkit: Jailkit, profile: str, *options: str) -> Path:
    """Make a jail; gives its tree."""
    done = jailkit("create", profile, "--json", *options)
    assert done.returncode == 0, done.stderr
    return Path(json.loads(done.stdout)["rootfs"])


def verify(jailkit: Jailkit, name: str, *options: str) -> dict[str, Any]:
    done = jailkit("verify", name, "--json", *options)
    assert done.stdout, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["ok"] == (done.returncode == 0)
    return report


def destroy(jailkit: Jailkit, *names: str) -> None:
    # Without --force it refuses a jail in which a process still runs.
    done = jailkit("destroy", *names)
    assert done.returncode == 0, done.stderr
    assert json.loads(jailkit("list", "--json").stdout) == []


@pytest.mark.parametrize("level", ["chroot", "chroot-root"])
@pytest.mark.parametrize("name", [needing(Path(path).stem) for path in shipped_profiles()])
def test_it_works_and_leaves_nothing(jailkit: Jailkit, name: str, level: str) -> None:
    # What a plain chroot cannot hold of the one for untrusted code is not what is tried here.
    create(jailkit, name, "--level", level, *(["--accept-gaps"] if name == "sandbox" else []))
    report = verify(jailkit, name)
    assert report["findings"] == []
    assert report["smoke"] >= 2
    after = verify(jailkit, name, "--no-smoke")
    assert after["findings"] == []
    assert after["notes"] == [], "a smoke command left files behind"
    destroy(jailkit, name)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        needing("base", "dev/null"),
        needing("shell", "usr/bin/awk"),
        needing("busybox", "usr/bin/awk"),
        needing("python", "usr/lib/python3.*/lib-dynload/_sqlite3.*.so"),
        needing("perl", "usr/lib/*/perl/5.*.*/auto/Storable/Storable.so"),
        needing("git", "usr/bin/git-upload-pack"),
        needing("curl", "etc/ssl/openssl.cnf"),
        needing("sftp", "usr/sbin/nologin"),
        needing("nginx", "etc/nginx/mime.types"),
    ],
)
def test_its_smoke_commands_notice_what_is_missing(jailkit: Jailkit, name: str, path: str) -> None:
    (victim,) = create(jailkit, name).glob(path)
    victim.unlink()
    found = {finding["check"] for finding in verify(jailkit, name)["findings"]}
    assert {"missing", "smoke"} <= found
    destroy(jailkit, name)


@pytest.mark.parametrize("name", [needing("curl"), needing("nginx"), needing("sftp")])
def test_servers_of_two_jails_do_not_get_in_each_others_way(jailkit: Jailkit, name: str) -> None:
    jails = [f"{name}-{number}" for number in (1, 2)]
    for jail in jails:
        create(jailkit, name, "--name", jail)
    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(lambda jail: verify(jailkit, jail), jails * 2))
    # Two runs in one jail see each other's files in /tmp, which is a note and no finding.
    assert [report["findings"] for report in reports] == [[]] * 4
    destroy(jailkit, *jails)


def test_a_profile_that_extends_a_shipped_one(jailkit: Jailkit, tmp_path: Path) -> None:
    profile = tmp_path / "small.yaml"
    profile.write_text(
        "name: small\nextends: base\nbinaries: [seq]\n"
        'smoke:\n  - {command: [sh, -c, seq 3 | sort -r | head -n 1], stdout: "3\\n"}\n'
    )
    create(jailkit, str(profile))
    report = verify(jailkit, "small")
    assert (report["findings"], report["smoke"]) == ([], 3)
    destroy(jailkit, "small")
