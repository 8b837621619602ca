"""Walking a tree: everything once, no link followed, and a word about what was not looked at."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.children import NOBODY, in_child
from support.trees import plant

from jailkit.linux.paths import Tree
from jailkit.linux.walk import MAX_DEPTH, walk_tree


def walk(root: Path) -> tuple[list[str], dict[str, str]]:
    """Give the paths in order, and the folders that were not looked into with the reason."""
    with Tree(str(root)) as tree:
        found = list(walk_tree(tree))
    paths = [seen.path for seen in found if seen.unread is None]
    assert len(paths) == len(set(paths))
    return paths, {seen.path: seen.unread for seen in found if seen.unread is not None}


def test_parents_come_first_and_names_are_sorted(tmp_path: Path) -> None:
    plant(tmp_path, {"/b/2": "", "/b/1": "", "/a": "", "/c/d/e": ""})
    assert walk(tmp_path) == (["/a", "/b", "/c", "/b/1", "/b/2", "/c/d", "/c/d/e"], {})


def test_an_empty_tree(tmp_path: Path) -> None:
    assert walk(tmp_path) == ([], {})


def test_links_are_not_followed(tmp_path: Path) -> None:
    plant(tmp_path, {"/a/up": "-> ..", "/a/out": "-> /etc", "/a/self": "-> self"})
    assert walk(tmp_path)[0] == ["/a", "/a/out", "/a/self", "/a/up"]


def test_names_of_any_bytes(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\n\x1b")).touch()
    assert walk(tmp_path)[0] == [os.fsdecode(b"/\xff\n\x1b")]


def chain(top: Path, levels: int, name: str) -> None:
    before = os.open(".", os.O_RDONLY)
    try:
        os.chdir(top)
        for _ in range(levels):
            os.mkdir(name)
            os.chdir(name)
    finally:
        os.fchdir(before)
        os.close(before)


def test_depth_has_a_bound_that_is_told(tmp_path: Path) -> None:
    chain(tmp_path, MAX_DEPTH + 10, "d")
    paths, unread = walk(tmp_path)
    assert len(paths) == MAX_DEPTH
    assert unread == {"/d" * MAX_DEPTH: f"more than {MAX_DEPTH} directories deep"}


def test_a_path_that_the_kernel_would_not_take_is_told(tmp_path: Path) -> None:
    chain(tmp_path, 20, "x" * 255)
    paths, unread = walk(tmp_path)
    assert 10 < len(paths) < 20
    assert unread == {paths[-1]: "openat2: File name too long"}


@pytest.mark.needs("root")
def test_a_folder_that_may_not_be_read_is_told(public: Path) -> None:
    plant(public, {"/open/x": "", "/secret/x": ""})
    (public / "secret").chmod(0o700)
    assert in_child(lambda: walk(public), uid=NOBODY) == (
        ["/open", "/secret", "/open/x"], {"/secret": "openat2: Permission denied"},
    )  # fmt: skip


def test_a_folder_that_vanishes_is_passed_over(tmp_path: Path) -> None:
    plant(tmp_path, {"/a/x": "", "/b": ""})
    with Tree(str(tmp_path)) as tree:
        walking = walk_tree(tree)
        assert next(walking).path == "/a"
        (tmp_path / "a/x").unlink()
        (tmp_path / "a").rmdir()
        assert [(seen.path, seen.unread) for seen in walking] == [("/b", None)]


def test_a_folder_that_becomes_a_link_is_not_entered(tmp_path: Path) -> None:
    plant(tmp_path, {"/tree/a/x": "", "/elsewhere/secret": ""})
    with Tree(str(tmp_path / "tree")) as tree:
        walking = walk_tree(tree)
        assert next(walking).path == "/a"
        (tmp_path / "tree/a").rename(tmp_path / "away")
        (tmp_path / "tree/a").symlink_to("../elsewhere")
        assert [seen.path for seen in walking if seen.unread is None] == []
