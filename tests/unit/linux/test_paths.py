"""Paths given to a tree stay in it; renames never replace by accident."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from jailkit.linux.paths import Parents, Tree, rename_exchange, rename_noreplace


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("outside")
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/name").write_text("inside")
    (root / "link").symlink_to("/etc")
    (root / "etc/up").symlink_to("../../../../../etc/name")
    (root / "out").symlink_to(tmp_path / "secret")
    return root


@pytest.fixture
def tree(root: Path) -> Iterator[Tree]:
    with Tree(str(root)) as tree:
        yield tree


def content(fd: int) -> str:
    with open(fd) as file:
        return file.read()


@pytest.mark.parametrize("path", ["/etc/name", "etc/name", "//etc/name", "etc/../etc/name"])
def test_absolute_and_relative_paths_mean_the_same(tree: Tree, path: str) -> None:
    assert content(tree.open(path, os.O_RDONLY)) == "inside"


@pytest.mark.parametrize("path", ["/", "", "."])
def test_the_root_itself(tree: Tree, root: Path, path: str) -> None:
    fd = tree.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        assert os.path.samestat(os.fstat(fd), os.stat(root))
    finally:
        os.close(fd)


@pytest.mark.parametrize("path", ["out", "link/name", "etc/up", "link"])
def test_strict_open_takes_no_link_anywhere(tree: Tree, path: str) -> None:
    with pytest.raises(OSError, match="openat2") as caught:
        tree.open(path, os.O_RDONLY)
    assert caught.value.errno == errno.ELOOP
    assert caught.value.filename == path


def test_strict_open_does_not_create_through_a_dangling_link(tree: Tree, root: Path, tmp_path: Path) -> None:
    (root / "dangling").symlink_to(tmp_path / "made")
    with pytest.raises(OSError, match="openat2"):
        tree.open("dangling", os.O_WRONLY | os.O_CREAT, 0o644)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("path", ["..", "../secret", "etc/../../secret"])
def test_strict_open_refuses_to_climb(tree: Tree, path: str) -> None:
    with pytest.raises(OSError, match="openat2") as caught:
        tree.open(path, os.O_PATH)
    assert caught.value.errno == errno.EXDEV


@pytest.mark.parametrize("path", ["link/name", "etc/up", "../../etc/name"])
def test_open_inside_resolves_as_the_jail_would(tree: Tree, path: str) -> None:
    assert content(tree.open_inside(path, os.O_RDONLY)) == "inside"


def test_open_inside_finds_nothing_outside(tree: Tree) -> None:
    with pytest.raises(FileNotFoundError):
        tree.open_inside("out", os.O_RDONLY)


def test_descriptors_are_not_inherited_and_not_leaked(root: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with Tree(str(root)) as tree:
        fd = tree.open("etc/name", os.O_RDONLY)
        assert not os.get_inheritable(fd)
        assert not os.get_inheritable(tree.fd)
        os.close(fd)
        tree.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_parents_stay_open_while_paths_are_near(tree: Tree, root: Path) -> None:
    before = os.listdir("/proc/self/fd")
    (root / "etc-other").mkdir()
    parents = Parents(tree)
    for path, same in [("/etc/name", "etc"), ("/etc/x", "etc"), ("/top", "."), ("/etc-other/x", "etc-other")]:
        assert os.path.samestat(os.fstat(parents.of(path)), os.stat(root / same))
    first = parents.of("/etc/name")
    (root / "etc").rename(root / "moved")
    assert parents.of("/etc/other") == first
    for path in ("/link/name", "/etc/name/x"):
        with pytest.raises(OSError, match="openat2"):
            parents.of(path)
    parents.close()
    assert os.listdir("/proc/self/fd") == before


def test_rename_noreplace_keeps_what_is_there(tree: Tree, root: Path) -> None:
    (root / "new").write_text("new")
    (root / "old").write_text("old")
    with pytest.raises(FileExistsError):
        rename_noreplace("new", "old", src_dir_fd=tree.fd, dst_dir_fd=tree.fd)
    assert (root / "old").read_text() == "old"
    rename_noreplace("new", "free", src_dir_fd=tree.fd, dst_dir_fd=tree.fd)
    assert (root / "free").read_text() == "new"


def test_rename_exchange_swaps(root: Path) -> None:
    (root / "one").write_text("1")
    (root / "two").mkdir()
    rename_exchange(str(root / "one"), str(root / "two"))
    assert (root / "one").is_dir()
    assert (root / "two").read_text() == "1"
