"""The shipped profiles as files: valid, described, checked by editors, and honest about what a host lacks."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from jailkit.errors import PlanError
from jailkit.host import Host
from jailkit.plan.planner import make_plan
from jailkit.profile import load_profile
from jailkit.profile.find import shipped_folder, shipped_profiles

Jailkit = Callable[..., subprocess.CompletedProcess[str]]
SHIPPED = [Path(path) for path in shipped_profiles()]
SCHEMA_LINE = "# yaml-language-server: $schema="


def by_name(path: Path) -> str:
    return path.stem


def test_there_is_a_profile_for_each_promised_use() -> None:
    promised = {"base", "busybox", "curl", "git", "nginx", "perl", "python", "sftp", "shell"}
    assert promised <= {path.stem for path in SHIPPED}


def test_all_are_valid(jailkit: Jailkit) -> None:
    done = jailkit("profile", "validate", *SHIPPED)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{path}: ok" for path in SHIPPED]


@pytest.mark.parametrize("path", SHIPPED, ids=by_name)
def test_an_editor_finds_the_schema(path: Path) -> None:
    first = path.read_text().splitlines()[0]
    assert first.startswith(SCHEMA_LINE)
    assert (path.parent / first.removeprefix(SCHEMA_LINE)).is_file()


def test_the_committed_schema_is_the_commands_output(jailkit: Jailkit) -> None:
    committed = Path(shipped_folder(), "schema.json").read_text()
    printed = jailkit("profile", "schema").stdout
    assert printed == committed, "run: jailkit profile schema > profiles/schema.json"


@pytest.mark.parametrize("path", SHIPPED, ids=by_name)
def test_it_is_named_described_and_proves_itself(path: Path) -> None:
    profile = load_profile(str(path))
    assert profile.name == path.stem
    assert profile.description
    assert profile.description.count("\n") == 0
    own = [smoke for smoke in profile.smoke if smoke not in _inherited(path)]
    assert any(smoke.stdout for smoke in own), "no command of its own whose output is compared"


def _inherited(path: Path) -> tuple[object, ...]:
    return () if path.stem == "base" else load_profile(str(path.with_name("base.yaml"))).smoke


def test_most_start_from_the_base() -> None:
    assert {path.stem for path in SHIPPED if "base" in load_profile(str(path)).extends} >= {
        "curl", "git", "nginx", "perl", "python", "sftp", "shell",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "lacking"),
    [
        ("busybox", ["busybox"]),
        ("curl", ["curl", "openssl", "/etc/ssl/certs/ca-certificates.crt"]),
        ("git", ["git", "/usr/share/git-core/templates"]),
        ("nginx", ["nginx", "/etc/nginx/mime.types"]),
        ("perl", ["perl-base"]),
        ("python", ["/usr/bin/python3", "/usr/share/zoneinfo/[A-Z]*"]),
        ("sftp", ["/usr/sbin/sshd", "ssh-keygen"]),
    ],
)
def test_a_host_without_the_programs_is_told_what_is_missing(tmp_path: Path, name: str, lacking: list[str]) -> None:
    profile = load_profile(os.path.join(shipped_folder(), f"{name}.yaml"))
    with pytest.raises(PlanError) as raised:
        make_plan(profile, "chroot", Host(str(tmp_path)))
    said = [detail.split(": ", 2)[1] for detail in raised.value.details]
    assert set(lacking) <= set(said)
    assert raised.value.resolution
