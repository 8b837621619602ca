"""Profiles by path, and by the name of a shipped one."""

from __future__ import annotations

from pathlib import Path

import pytest

from jailkit.errors import ProfileError
from jailkit.profile import find, find_profile, shipped_profiles


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "shipped"
    folder.mkdir()
    for name in ("shell.yaml", "busybox.yaml", "README", "shell.yml"):
        (folder / name).touch()
    monkeypatch.setattr(find, "shipped_folder", lambda: str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


def test_the_shipped_profiles_are_the_yaml_files_in_order(shipped: Path) -> None:
    assert shipped_profiles() == [f"{shipped}/busybox.yaml", f"{shipped}/shell.yaml"]


def test_the_shipped_policies_are_named_in_order(shipped: Path) -> None:
    (shipped / "seccomp").mkdir()
    for name in ("strict.yaml", "default.yaml", "README", "x.yml"):
        (shipped / "seccomp" / name).touch()
    assert find.shipped_policies() == ["default", "strict"]
    assert find.policy_path("strict") == f"{shipped}/seccomp/strict.yaml"


def test_no_folder_of_shipped_profiles(shipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find, "shipped_folder", lambda: f"{shipped}/none")
    assert shipped_profiles() == []
    assert find.shipped_policies() == []


def test_a_wheel_has_the_profiles_inside_and_a_checkout_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find, "_PACKAGE", str(tmp_path / "jailkit"))
    assert find.shipped_folder() == f"{tmp_path}/profiles"
    (tmp_path / "jailkit/profiles").mkdir(parents=True)
    assert find.shipped_folder() == f"{tmp_path}/jailkit/profiles"


@pytest.mark.parametrize("path", ["./shell", "a/b", "shell.yaml", "x.yml", "/etc/x"])
def test_what_looks_like_a_path_is_one(shipped: Path, path: str) -> None:  # noqa: ARG001
    assert find_profile(path) == path


def test_a_shipped_name_wins_over_a_file(shipped: Path) -> None:
    Path("shell").touch()
    Path("mine").touch()
    assert find_profile("shell") == f"{shipped}/shell.yaml"
    assert find_profile("mine") == "mine"


@pytest.mark.parametrize(
    ("name", "suggestion"), [("shel", "shell"), ("busbox", "busybox"), ("zzz", None), ("", None), ("\x1b[2J", None)]
)
@pytest.mark.usefixtures("shipped")
def test_unknown_names(name: str, suggestion: str | None) -> None:
    with pytest.raises(ProfileError) as caught:
        find_profile(name)
    [fault] = caught.value.faults
    assert fault.message == f"there is no file and no shipped profile named {name!r}"
    assert fault.suggestion == suggestion
    assert str(caught.value).replace("\n", "").isprintable()
    assert caught.value.exit_code == 2


@pytest.mark.usefixtures("shipped")
def test_a_file_beside_without_its_ending_is_suggested() -> None:
    Path("shel.yaml").touch()
    with pytest.raises(ProfileError) as caught:
        find_profile("shel")
    assert caught.value.faults[0].suggestion == "shel.yaml"
