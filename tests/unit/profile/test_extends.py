"""Profiles that start from others: how they merge, where their faults stand, and what may not be named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jailkit.errors import ProfileError
from jailkit.profile import Profile, find, load_profile

from .conftest import brief


@pytest.fixture(autouse=True)
def shipped(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let a folder of the test's own be the one with the shipped profiles."""
    folder = tmp_path_factory.mktemp("shipped")
    monkeypatch.setattr(find, "shipped_folder", lambda: str(folder))
    (folder / "base.yaml").write_text("name: base\nbinaries: [sh]\n")
    (folder / "tools.yaml").write_text("name: tools\nextends: base\nbinaries: [ls, sh]\n")
    return folder


def load(tmp_path: Path, **files: str) -> Profile:
    """Write files, `a__b` meaning a/b.yaml, and load the one named `top`."""
    for name, text in files.items():
        path = tmp_path / (name.replace("__", "/") + ".yaml")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return load_profile(str(tmp_path / "top.yaml"))


def faults(tmp_path: Path, **files: str) -> list[str]:
    with pytest.raises(ProfileError) as caught:
        load(tmp_path, **files)
    return [f"{Path(fault.file).name}:{brief(fault)}" for fault in caught.value.faults]


def test_everything_merges(tmp_path: Path) -> None:
    profile = load(
        tmp_path,
        parent="name: parent\ndescription: old\nlevel: lxc\nbinaries: [sh, cat]\nenvironment: {A: 1, B: 1}\n"
        "limits: {memory: 1M, pids: 5}\ntext: {/a: old, /b: {content: b, mode: 0600}}\ncommand: [sh, -l]\n"
        "isolation: {capabilities: [chown], network: none}\nusers: [{name: a, uid: 1}]\n",
        top="name: top\nextends: parent.yaml\ndescription: new\nbinaries: [ls, cat]\nenvironment: {B: 2, C: 2}\n"
        "limits: {memory: 2M}\ntext: {/a: new, /b: {content: b, mode: 0644}}\ncommand: [ls]\n"
        "isolation: {capabilities: [kill]}\nusers: [{name: b, uid: 2}]\nlevel:\n",
    )
    assert (profile.name, profile.description, profile.level) == ("top", "new", "lxc")
    assert [binary.name for binary in profile.binaries] == ["sh", "cat", "ls"]
    assert profile.environment == {"A": "1", "B": "2", "C": "2"}
    assert (profile.limits.memory, profile.limits.pids) == (2 << 20, 5)
    assert (profile.text["/a"].content, profile.text["/b"].mode) == ("new", 0o644)
    assert profile.command == ("ls",)
    assert profile.isolation.capabilities == ("CAP_CHOWN", "CAP_KILL")
    assert profile.isolation.network == "none"
    assert [user.name for user in profile.users] == ["a", "b"]
    assert profile.extends == ("parent.yaml",)


def test_a_key_without_a_value_changes_nothing(tmp_path: Path) -> None:
    profile = load(
        tmp_path,
        parent="name: p\ncommand: [ls]\nbinaries: [ls]\nlimits: {pids: 5}\n",
        top="name: t\nextends: parent.yaml\ncommand:\nbinaries:\nlimits: {pids: }\n",
    )
    assert (profile.command, profile.binaries[0].name, profile.limits.pids) == (("ls",), "ls", 5)
    assert faults(tmp_path, top="name: t\nextends: parent.yaml\nbinarys:\nextend:\n") == [
        "top.yaml:3:1 binarys: unknown key -> binaries",
        "top.yaml:4:1 extend: unknown key -> extends",
    ]


def test_a_form_replaces_the_other(tmp_path: Path) -> None:
    profile = load(
        tmp_path,
        parent="name: p\ntext: {/a: {content: x, mode: 0600}, /b: y}\n",
        top="name: t\nextends: parent.yaml\ntext: {/a: z, /b: {content: w}}\n",
    )
    assert (profile.text["/a"].content, profile.text["/a"].mode) == ("z", 0o644)
    assert profile.text["/b"].content == "w"


def test_several_parents_in_order(tmp_path: Path) -> None:
    profile = load(
        tmp_path,
        one="name: one\nworkdir: /one\nbinaries: [a]\n",
        two="name: two\nworkdir: /two\nbinaries: [b]\n",
        top="name: top\nextends: [one.yaml, two.yaml]\nbinaries: [c]\n",
    )
    assert profile.workdir == "/two"
    assert [binary.name for binary in profile.binaries] == ["a", "b", "c"]


def test_a_diamond_counts_once(tmp_path: Path) -> None:
    profile = load(
        tmp_path,
        base="name: base\nsmoke: [{command: x}]\n",
        left="name: left\nextends: base.yaml\n",
        right="name: right\nextends: base.yaml\n",
        top="name: top\nextends: [left.yaml, right.yaml]\n",
    )
    assert len(profile.smoke) == 1


def test_shipped_profiles_by_name(tmp_path: Path) -> None:
    profile = load(tmp_path, top="name: top\nextends: tools\n")
    assert [binary.name for binary in profile.binaries] == ["sh", "ls"]


def test_a_folder_below(tmp_path: Path) -> None:
    profile = load(
        tmp_path,
        sub__more="name: m\nfiles: [{source: site, target: /site}]\n",
        top="name: t\nextends: ./sub/more.yaml\n",
    )
    assert profile.files[0].source == f"{tmp_path}/sub/site"


def test_relative_sources_in_a_folder_with_glob_characters(tmp_path: Path) -> None:
    folder = tmp_path / "a[1]*"
    folder.mkdir()
    profile = load(folder, top="name: t\nfiles: [{source: '*.txt', target: /t}]\n")
    assert profile.files[0].source == f"{tmp_path}/a[[]1][*]/*.txt"


def test_faults_stand_where_they_were_written(tmp_path: Path) -> None:
    assert faults(
        tmp_path,
        parent="name: p\nbinarys: []\nbinaries: [sh, {nam: x}]\nlimits: {memory: lots, pids: 0}\n",
        top="name: t\nextends: parent.yaml\nbinaries: [ls, {nam: y}]\nlimits: {memory: none}\nsymlinks: {/a: ..}\n",
    ) == [
        "top.yaml:3:16 binaries[1].name: is required",
        "top.yaml:3:17 binaries[1].nam: unknown key -> name",
        "top.yaml:4:18 limits.memory: expected a size such as 64MiB, got 'none'",
        "top.yaml:5:16 symlinks[/a]: the target '..' climbs above the jail's root",
        "parent.yaml:2:1 binarys: unknown key -> binaries",
        "parent.yaml:3:16 binaries[1].name: is required",
        "parent.yaml:3:17 binaries[1].nam: unknown key -> name",
        "parent.yaml:4:30 limits.pids: expected a number from 1 to 4194304, got 0",
    ]


def test_faults_across_files(tmp_path: Path) -> None:
    assert faults(
        tmp_path,
        parent="name: p\nusers: [{name: a, uid: 5}]\nsymlinks: {/a: b}\n",
        top="name: t\nextends: parent.yaml\nusers: [{name: b, uid: 5}]\ndirectories: [/a/c]\n",
    ) == [
        "top.yaml:3:24 users[0].uid: uid 5 is a's already",
        "top.yaml:4:15 directories[0]: '/a/c' is below '/a', which `symlinks` makes a link",
    ]


@pytest.mark.parametrize(
    ("summary", "reference", "fault"),
    [
        (
            "absolute",
            "/etc/passwd",
            "'/etc/passwd' is outside the profile's folder; name a shipped profile or a file in it",
        ),
        (
            "absolute yaml",
            "/x.yaml",
            "'/x.yaml' is outside the profile's folder; name a shipped profile or a file in it",
        ),
        ("climbs", "../x.yaml", "'../x.yaml' is outside the profile's folder; name a shipped profile or a file in it"),
        (
            "climbs within",
            "a/../x.yaml",
            "'a/../x.yaml' is outside the profile's folder; name a shipped profile or a file in it",
        ),
        ("control character", '"a\\tb.yaml"', r"'a\tb.yaml' holds a control character"),
        ("empty", "''", "must not be empty"),
        ("a number", "5", "expected text, got 5; put it in quotes"),
        ("a list in a list", "[[a]]", "expected text, got a list"),
        ("a mapping", "{a: b}", "expected text, got a mapping"),
        ("misspelt shipped name", "bse", "there is no file and no shipped profile named 'bse' -> base"),
        ("link out", "out.yaml", "'out.yaml' is a link that leaves the profile's folder"),
        ("folder that is a link out", "away/x.yaml", "'away/x.yaml' is a link that leaves the profile's folder"),
    ],
)
def test_refused_references(tmp_path: Path, summary: str, reference: str, fault: str) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/x.yaml").write_text("name: x\n")
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "out.yaml").symlink_to("../outside/x.yaml")
    (inside / "away").symlink_to(tmp_path / "outside")
    [found] = faults(inside, top=f"name: t\nextends: {reference}\n")
    assert found.split(" ", 1)[1] == f"extends: {fault}", summary


def test_absent_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    assert faults(tmp_path, top="name: t\nextends: [none.yaml, folder.yaml, x/y]\n") == [
        f"top.yaml:2:11 extends: 'none.yaml' does not exist in {tmp_path}",
        f"top.yaml:2:35 extends: 'x/y' does not exist in {tmp_path}",
        "folder.yaml:0:0 it is not a regular file",
    ]


def test_a_parent_that_is_no_yaml(tmp_path: Path) -> None:
    found = faults(tmp_path, parent="name: [p\n", top="name: t\nextends: parent.yaml\nbinarys: []\n")
    assert found[0] == "top.yaml:3:1 binarys: unknown key -> binaries"
    assert found[1].startswith("parent.yaml:2:1 not YAML")


@pytest.mark.parametrize(
    ("files", "fault"),
    [
        (
            {"top": "name: t\nextends: top.yaml\n"},
            "top.yaml:2:10 extends: profiles extend each other in a circle: top.yaml -> top.yaml",
        ),
        (
            {"top": "name: t\nextends: a.yaml\n", "a": "name: a\nextends: b.yaml\n", "b": "name: b\nextends: a.yaml\n"},
            "b.yaml:2:10 extends: profiles extend each other in a circle: a.yaml -> b.yaml -> a.yaml",
        ),
    ],
)
def test_circles(tmp_path: Path, files: dict[str, str], fault: str) -> None:
    assert faults(tmp_path, **files) == [fault]


def test_a_circle_through_a_link(tmp_path: Path) -> None:
    os.symlink("top.yaml", tmp_path / "alias.yaml")
    [fault] = faults(tmp_path, top="name: t\nextends: alias.yaml\n")
    assert "in a circle: top.yaml -> top.yaml" in fault


def test_depth_is_bounded(tmp_path: Path) -> None:
    files = {f"p{number}": f"name: p\nextends: p{number + 1}.yaml\n" for number in range(20)}
    [fault] = faults(tmp_path, top="name: t\nextends: p0.yaml\n", p20="name: p\n", **files)
    assert "extends more than 16 profiles deep" in fault


def test_the_number_of_files_is_bounded(tmp_path: Path) -> None:
    files = {f"p{number}": "name: p\n" for number in range(80)}
    names = [f"{name}.yaml" for name in files]
    halves = {f"q{half}": f"name: q\nextends: [{', '.join(names[half * 40 : half * 40 + 40])}]\n" for half in range(2)}
    found = faults(tmp_path, top="name: t\nextends: [q0.yaml, q1.yaml]\n", **halves, **files)
    assert len(found) == 80 + 1 - 64
    assert all("or 64 in all" in fault for fault in found)


def test_a_longer_list_is_not_followed(tmp_path: Path) -> None:
    assert faults(tmp_path, top=f"name: t\nextends: [{'none.yaml,' * 65}]\n") == [
        "top.yaml:2:10 extends: extends more than 64 profiles"
    ]
