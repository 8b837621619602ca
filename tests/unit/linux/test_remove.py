"""Deleting a tree: everything in it, nothing beside it, and on past what will not go."""

from __future__ import annotations

import errno
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.trees import dump, plant

from jailkit.linux import remove
from jailkit.linux.remove import remove_tree


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return plant(
        tmp_path / "tree",
        {"/a/b/c/file": "x", "/a/file": "y", "/empty": None, "/dangling": "-> nowhere", "/.hidden": "z"},
    )


def test_all_of_it_goes(tree: Path) -> None:
    os.mkfifo(tree / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tree / "socket"))
    assert remove_tree(str(tree)) == []
    assert not tree.exists()


def test_links_are_deleted_and_not_followed(tree: Path, tmp_path: Path) -> None:
    precious = plant(tmp_path / "precious", {"/file": "x", "/folder/file": "y"})
    before = dump(precious)
    (tree / "out").symlink_to(precious)
    (tree / "a/b/out").symlink_to("../../../precious")
    (tree / "a/root").symlink_to("/")
    assert remove_tree(str(tree)) == []
    assert dump(precious) == before


def test_a_hard_link_leaves_the_other_name(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "other").write_text("kept")
    os.link(tmp_path / "other", tree / "a/name")
    remove_tree(str(tree))
    assert (tmp_path / "other").read_text() == "kept"


def test_a_link_in_the_place_of_the_tree_is_refused(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tree)
    before = dump(tree)
    with pytest.raises(NotADirectoryError):
        remove_tree(str(tmp_path / "link"))
    assert dump(tree) == before


@pytest.mark.parametrize(
    "name", [b"new\nline", b"\x1b[31mred", b"\xff\xfe", b"a b", b"-rf", b"*", b"$(touch x)", b"'\"", b"x" * 255]
)
def test_names_are_only_names(tree: Path, name: bytes) -> None:
    os.mkdir(os.fsencode(tree) + b"/" + name)
    Path(os.fsdecode(os.fsencode(tree) + b"/" + name + b"/" + name)).touch()
    assert remove_tree(str(tree)) == []
    assert not tree.exists()


def deepen(top: Path, levels: int, name: str = "d") -> None:
    """Make a chain of folders that no path can name."""
    before = os.open(".", os.O_RDONLY)
    try:
        os.chdir(top)
        for _ in range(levels):
            os.mkdir(name)
            os.chdir(name)
        Path("bottom").touch()
    finally:
        os.fchdir(before)
        os.close(before)


@pytest.fixture
def quick() -> Iterator[Path]:
    """Give a folder in memory: a disk takes half a second for a thousand folders."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


def test_a_tree_of_any_depth_goes(quick: Path) -> None:
    tree = quick / "tree"
    tree.mkdir()
    deepen(tree, 5000)
    deepen(tree, 300, "x" * 255)
    descriptors = len(os.listdir("/proc/self/fd"))
    assert remove_tree(str(tree)) == []
    assert os.listdir(quick) == []
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_many_folders_of_one_name(tree: Path) -> None:
    for one in range(10):
        for two in range(10):
            (tree / f"{one}/same/{two}/same").mkdir(parents=True)
    assert remove_tree(str(tree)) == []
    assert not tree.exists()


def test_what_must_stay_until_the_end(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / "marker").touch()
    seen: list[list[str]] = []
    unlink = os.unlink

    def watch(name: str, *, dir_fd: int) -> None:
        if name == "marker":
            seen.append(os.listdir(tree))
        unlink(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", watch)
    assert remove_tree(str(tree), last="marker") == []
    assert seen == [["marker"]]
    assert not tree.exists()


def test_a_last_file_that_is_not_there(tree: Path) -> None:
    assert remove_tree(str(tree), last="marker") == []
    assert not tree.exists()


def test_it_goes_on_past_what_will_not_go(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(tree, {"/a/b/stuck": "x", "/stuck": "x", "/marker": "x"})
    unlink = os.unlink

    def refuse(name: str, *, dir_fd: int) -> None:
        if name == "stuck":
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        unlink(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", refuse)
    assert sorted(remove_tree(str(tree), last="marker")) == [
        "a/b/stuck: Operation not permitted", "stuck: Operation not permitted",
    ]  # fmt: skip
    left = sorted(path.rpartition("/")[2] for path, text in dump(tree).items() if text.startswith("file"))
    assert left == ["marker", "stuck", "stuck"]
    monkeypatch.undo()
    assert remove_tree(str(tree)) == []
    assert not tree.exists()


def test_someone_who_swaps_a_folder_for_a_link_gains_nothing(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The classical race: a directory is looked at, then replaced by a link, then entered."""
    precious = plant(tmp_path / "precious", {"/file": "x"})
    rename = remove.rename_noreplace

    def swap(name: str, lifted: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        if name == "a":
            os.rename(tree / "a", tmp_path / "away")
            os.symlink(precious, tree / "a")
        rename(name, lifted, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(remove, "rename_noreplace", swap)
    failures = remove_tree(str(tree))
    assert (precious / "file").exists()
    assert failures == ["a: Not a directory"]


def test_nothing_leaves_the_folder_that_is_a_root(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has its root in /a and stands in what is moved must not find itself outside."""
    root, *inside = [os.open(tree / path, os.O_PATH) for path in ("a", "a/b", "a/b/c")]
    rename = remove.rename_noreplace

    def place(descriptor: int) -> str:
        return os.readlink(f"/proc/self/fd/{descriptor}")

    def watch(name: str, lifted: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        rename(name, lifted, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        assert all(place(descriptor).startswith(f"{place(root)}/") for descriptor in inside)

    monkeypatch.setattr(remove, "rename_noreplace", watch)
    try:
        assert remove_tree(str(tree)) == []
    finally:
        for descriptor in (root, *inside):
            os.close(descriptor)
