"""Logs of bounded size: written in parts, read back in order, followed while they grow."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from jailkit.lifecycle import logs
from jailkit.lifecycle.logs import RotatingLog
from jailkit.store import Jail


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "logs").mkdir()
    return tmp_path / "logs" / "output.log"


@pytest.fixture
def jail(path: Path, monkeypatch: pytest.MonkeyPatch) -> Jail:
    class Stub:
        directory = str(path.parents[1])

    monkeypatch.setattr(logs, "_PAUSE", 0.0)
    return Stub()  # type: ignore[return-value] - its folder is all that is asked for


def parts(path: Path) -> dict[str, str]:
    return {found.name: found.read_text() for found in sorted(path.parent.iterdir())}


def fill(path: Path, count: int, *, size: int = 12) -> None:
    log = RotatingLog(str(path), size)
    for number in range(count):
        log.write(b"line%d\n" % number)
    log.close()


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, {}),
        (2, {"output.log": "line0\nline1\n"}),
        (3, {"output.log": "line2\n", "output.log.1": "line0\nline1\n"}),
        (5, {"output.log": "line4\n", "output.log.1": "line2\nline3\n", "output.log.2": "line0\nline1\n"}),
        (7, {"output.log": "line6\n", "output.log.1": "line4\nline5\n", "output.log.2": "line2\nline3\n"}),
    ],
)
def test_it_rotates(path: Path, count: int, expected: dict[str, str]) -> None:
    fill(path, count)
    assert parts(path) == expected


def test_a_piece_above_the_size_is_a_part_of_its_own(path: Path) -> None:
    log = RotatingLog(str(path), 4)
    for piece in (b"a", b"longer than that", b"b"):
        log.write(piece)
    log.close()
    assert parts(path) == {"output.log": "b", "output.log.1": "longer than that", "output.log.2": "a"}


def test_the_next_run_appends(path: Path) -> None:
    fill(path, 1)
    fill(path, 1)
    assert parts(path) == {"output.log": "line0\nline0\n"}
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_full_disk_holds_nobody_up_and_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = RotatingLog(str(path))
    log.write(b"before ")
    with monkeypatch.context() as patch:

        def full(_file: int, _data: bytes) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        patch.setattr(os, "write", full)
        log.write(b"12345")
        log.write(b"678")
    log.write(b"after")
    log.close()
    assert path.read_text() == "before \n[jailkit: 8 bytes are missing here]\nafter"


def test_a_link_in_its_place_is_not_followed(path: Path, tmp_path: Path) -> None:
    path.symlink_to(tmp_path / "elsewhere")
    RotatingLog(str(path)).write(b"text")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("tail", "expected"),
    [
        (None, "line0\nline1\nline2\nline3\nline4\n"),
        (0, ""),
        (1, "line4\n"),
        (3, "line2\nline3\nline4\n"),
        (9, "line0\nline1\nline2\nline3\nline4\n"),
    ],
)
def test_it_is_read_in_order(path: Path, jail: Jail, tail: int | None, expected: str) -> None:
    fill(path, 5)
    assert b"".join(logs.read(jail, tail=tail)).decode() == expected


def test_what_was_never_written_reads_as_nothing(jail: Jail) -> None:
    assert list(logs.read(jail)) == []
    assert list(logs.read_console(jail)) == []


def test_the_console_is_a_log_of_its_own(path: Path, jail: Jail, tmp_path: Path) -> None:
    fill(path, 1)
    console = tmp_path / "lxc/main/console.log"
    console.parent.mkdir(parents=True)
    console.write_text("now")
    Path(f"{console}.1").write_text("before, ")
    assert b"".join(logs.read_console(jail)) == b"before, now"


def test_following_misses_nothing_over_rotations(path: Path, jail: Jail, monkeypatch: pytest.MonkeyPatch) -> None:
    log = RotatingLog(str(path), 40)
    log.write(b"0\n")
    batches = iter([(1, 2, 3), (), tuple(range(4, 30)), (30,), ()])

    def supervision(_: Jail) -> str:
        """Write what comes between two looks; the last batch comes with the end."""
        for number in (batch := next(batches)):
            log.write(b"%d\n" % number)
        return "supervised" if batch != (30,) else "none"

    monkeypatch.setattr(logs, "supervision", supervision)
    got = b"".join(logs.read(jail, follow=True)).decode().split()
    log.close()
    assert got == [str(number) for number in range(31)]


def test_following_keeps_no_old_part_open(path: Path, jail: Jail, monkeypatch: pytest.MonkeyPatch) -> None:
    log = RotatingLog(str(path), 4)
    left = 30

    def supervision(_: Jail) -> str:
        nonlocal left
        left -= 1
        log.write(b"text")
        return "supervised" if left else "none"

    monkeypatch.setattr(logs, "supervision", supervision)
    most = 0
    for _ in logs.read(jail, follow=True):
        most = max(most, sum(1 for link in open_files() if str(path) in link))
    log.close()
    assert most <= 1 + 2 * logs.PARTS
    assert [link for link in open_files() if str(path) in link] == []


def open_files() -> Iterator[str]:
    for number in os.listdir("/proc/self/fd"):
        try:
            yield os.readlink(f"/proc/self/fd/{number}")
        except FileNotFoundError:
            continue
