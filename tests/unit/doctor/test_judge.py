"""From checks to verdicts, and from settings to remedies."""

from __future__ import annotations

from pathlib import Path

import pytest

from jailkit.doctor import Check, Diagnosis, judge
from jailkit.doctor.containers import judge_ranges, userns_remedy
from jailkit.doctor.home import existing
from jailkit.levels import LADDER, LEVELS
from jailkit.store.subids import parse_ranges

YES = Check("chroot", True, "came through", None, ("chroot",))
NO = Check("devices", False, "nodev", "remount", ("chroot", "chroot-root"))
ROOT = Check("root", False, "uid 1000", "sudo", ("chroot",))
NICE = Check("reflink", False, "not supported", "btrfs")


def test_a_level_works_when_all_it_needs_does() -> None:
    verdict = judge(LEVELS["chroot"], [YES, NICE])
    assert (verdict.works, verdict.lacks) == (True, ())


def test_a_level_lacks_what_does_not_work() -> None:
    verdict = judge(LEVELS["chroot"], [YES, NO, NICE])
    assert (verdict.works, verdict.lacks, verdict.reason) == (False, ("devices",), "lacks devices")


def test_without_root_the_reason_is_root() -> None:
    verdict = judge(LEVELS["chroot"], [ROOT, NO])
    assert not verdict.works
    assert verdict.lacks == ("root", "devices")
    assert verdict.reason.startswith("needs root")


def test_the_host_needs_nothing() -> None:
    assert judge(LEVELS["host"], [NO, ROOT]).works


def test_a_level_of_a_later_version_does_not_work_yet() -> None:
    later = [level for level in LADDER if not level.available and level.name != "host"]
    for level in later:
        verdict = judge(level, [YES])
        assert not verdict.works
        assert "not in this version" in verdict.reason


@pytest.mark.parametrize(("checks", "works"), [((YES,), True), ((YES, NO), False)])
def test_a_diagnosis_is_about_the_default_level(checks: tuple[Check, ...], works: bool) -> None:
    verdicts = tuple(judge(level, checks) for level in LADDER)
    assert Diagnosis("/home", checks, verdicts).works is works


@pytest.mark.parametrize(
    ("setting", "value", "remedy"),
    [
        ("kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
        ("user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=15000"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "AppArmor"),
        ("kernel/apparmor_restrict_unprivileged_userns", "0", "CONFIG_USER_NS"),
    ],
)
def test_the_remedy_names_the_setting(tmp_path: Path, setting: str, value: str, remedy: str) -> None:
    file = tmp_path / setting
    file.parent.mkdir(parents=True)
    file.write_text(f"{value}\n")
    assert remedy in userns_remedy(tmp_path)


KIM = ("kim", "1000")


@pytest.mark.parametrize(
    ("uids", "gids", "evidence"),
    [
        ("kim:100000:65536", "kim:100000:65536", "kim has subordinate ids for 1 jail"),
        ("1000:100000:131072", "kim:100000:200000", "kim has subordinate ids for 2 jails"),
        (
            "kim:100000:65536",
            "lee:100000:65536",
            "/etc/subuid and /etc/subgid give kim no 65536 ids that are the same in both",
        ),
    ],
)
def test_ranges_of_ids(uids: str, gids: str, evidence: str) -> None:
    check = judge_ranges([parse_ranges(uids), parse_ranges(gids)], KIM)
    assert (check.evidence, check.works) == (evidence, " has " in evidence)
    assert (check.remedy is None) is check.works


def test_the_remedy_takes_ids_that_nobody_has() -> None:
    check = judge_ranges([parse_ranges("lee:1000000:65536"), []], KIM)
    assert check.remedy == "usermod --add-subuids 1065536-66601535 --add-subgids 1065536-66601535 kim"


def test_the_nearest_folder_that_exists(tmp_path: Path) -> None:
    assert existing(f"{tmp_path}/a/b/c") == str(tmp_path)
    assert existing(str(tmp_path)) == str(tmp_path)
