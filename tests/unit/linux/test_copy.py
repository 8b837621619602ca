"""Copying content: equal whatever the way, and hashed without moving the offset."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jailkit.linux import copy
from jailkit.linux.copy import copy_and_hash, copy_content, sha256

SIZES = [0, 1, 4095, 4096, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3_500_000]


@contextmanager
def opened(source: Path, target: Path) -> Iterator[tuple[int, int]]:
    one = os.open(source, os.O_RDONLY)
    two = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    try:
        yield one, two
    finally:
        os.close(one)
        os.close(two)


def content(size: int) -> bytes:
    return hashlib.shake_128(b"%d" % size).digest(size)


def copied(source: Path, target: Path, size: int) -> bytes:
    with opened(source, target) as (one, two):
        copy_content(one, two, size)
    return target.read_bytes()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("way", ["best", "kernel", "memory"])
def test_a_copy_is_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, way: str) -> None:
    if way != "best":
        monkeypatch.setattr(copy, "_clone", lambda *_: False)
    if way == "memory":
        monkeypatch.setattr(copy, "_copy_in_kernel", lambda *_: False)
    (tmp_path / "source").write_bytes(content(size))
    assert copied(tmp_path / "source", tmp_path / "copy", size) == content(size)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("way", ["best", "kernel", "memory"])
def test_a_copy_hashed_on_its_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, way: str) -> None:
    if way != "best":
        monkeypatch.setattr(copy, "_clone", lambda *_: False)
    if way == "memory":
        monkeypatch.setattr(copy, "_copy_in_kernel", lambda *_: False)
    (tmp_path / "source").write_bytes(content(size))
    with opened(tmp_path / "source", tmp_path / "copy") as (one, two):
        digest = copy_and_hash(one, two, size)
    assert (tmp_path / "copy").read_bytes() == content(size)
    assert digest == hashlib.sha256(content(size)).hexdigest()


@pytest.mark.parametrize("size", [100, 1 << 20, (1 << 20) + 100])
@pytest.mark.parametrize("way", ["clone", "kernel", "memory"])
def test_a_source_that_grows_is_copied_no_further(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, way: str
) -> None:
    """No further than a byte, which is enough to see that it grew."""
    grown = content(5 << 20)

    def clone(target: int, _: int, source: int) -> None:
        os.write(target, os.pread(source, len(grown), 0))

    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "no")

    monkeypatch.setattr(copy.fcntl, "ioctl", clone if way == "clone" else refuse)
    if way == "memory":
        monkeypatch.setattr(copy, "_copy_in_kernel", lambda *_: False)
    (tmp_path / "source").write_bytes(grown)
    assert copied(tmp_path / "source", tmp_path / "copy", size) in (grown[:size], grown[: size + 1])


def test_across_file_systems(tmp_path: Path) -> None:
    if os.stat("/dev/shm").st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is one file system only")
    source = Path(f"/dev/shm/jailkit-test-{os.getpid()}")
    source.write_bytes(content(3_000_000))
    try:
        assert copied(source, tmp_path / "copy", 3_000_000) == content(3_000_000)
    finally:
        source.unlink()


def test_a_file_whose_size_is_not_told(tmp_path: Path) -> None:
    """A file of /proc says that it has 0 bytes; one of /sys says 4096 and has fewer."""
    size = os.stat("/sys/kernel/mm/transparent_hugepage/enabled").st_size
    source = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    assert copied(source, tmp_path / "copy", size) == source.read_bytes()


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM])
def test_a_kernel_that_will_not_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "copy_file_range", refuse)
    (tmp_path / "source").write_bytes(content(5000))
    assert copied(tmp_path / "source", tmp_path / "copy", 5000) == content(5000)


def test_a_kernel_that_gives_up_halfway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.copy_file_range
    calls: list[int] = []

    def once(source: int, target: int, _: int, *places: int) -> int:
        if calls:
            raise OSError(errno.EINVAL, "no more")
        calls.append(1)
        return real(source, target, 1000, *places)

    monkeypatch.setattr(copy, "_clone", lambda *_: False)
    monkeypatch.setattr(os, "copy_file_range", once)
    (tmp_path / "source").write_bytes(content(5000))
    assert copied(tmp_path / "source", tmp_path / "copy", 5000) == content(5000)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_real_error_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(copy, "_clone", lambda *_: False)
    monkeypatch.setattr(os, "copy_file_range", fail)
    (tmp_path / "source").write_bytes(b"x")
    with pytest.raises(OSError, match=os.strerror(number)):
        copied(tmp_path / "source", tmp_path / "copy", 1)


@pytest.mark.parametrize("size", SIZES)
def test_the_hash_leaves_the_offset_alone(tmp_path: Path, size: int) -> None:
    (tmp_path / "file").write_bytes(content(size))
    descriptor = os.open(tmp_path / "file", os.O_RDONLY)
    try:
        os.lseek(descriptor, size // 2, os.SEEK_SET)
        assert sha256(descriptor) == hashlib.sha256(content(size)).hexdigest()
        assert os.lseek(descriptor, 0, os.SEEK_CUR) == size // 2
    finally:
        os.close(descriptor)
