"""Files that are no profile are refused without waiting and without reading them whole."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from jailkit.errors import ProfileError
from jailkit.profile import load_profile
from jailkit.profile.read import MAX_BYTES


def message(path: Path | str) -> str:
    with pytest.raises(ProfileError) as caught:
        load_profile(str(path))
    [fault] = caught.value.faults
    assert (fault.file, fault.line) == (str(path), 0)
    return fault.message


def test_absent(tmp_path: Path) -> None:
    assert message(tmp_path / "x.yaml") == "cannot read it: No such file or directory"


def test_a_path_through_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    assert message(tmp_path / "a/x.yaml") == "cannot read it: Not a directory"


def test_a_dangling_link(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").symlink_to("nowhere")
    assert message(tmp_path / "x.yaml") == "cannot read it: No such file or directory"


def test_a_link_to_itself(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").symlink_to("x.yaml")
    assert message(tmp_path / "x.yaml") == "cannot read it: Too many levels of symbolic links"


def test_a_zero_byte_in_the_path() -> None:
    assert message("a\0b.yaml").startswith("cannot read it: ")  # Python's own words, which differ by version


def test_a_folder(tmp_path: Path) -> None:
    assert message(tmp_path) == "it is not a regular file"


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null"])
def test_a_device(device: str) -> None:
    assert message(device) == "it is not a regular file"


def test_a_fifo_that_nobody_writes_to(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.yaml")
    assert message(tmp_path / "x.yaml") == "it is not a regular file"


def test_a_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the name of a socket is at most 107 bytes long
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("x.yaml")
        assert message("x.yaml").startswith("cannot read it: ")


def test_more_than_a_mebibyte(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("name: x\n".ljust(MAX_BYTES, "#"))
    assert load_profile(str(path)).name == "x"
    path.write_text("name: x\n".ljust(MAX_BYTES + 1, "#"))
    assert message(path) == "it is larger than 1 MiB"


def test_a_sparse_terabyte(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.touch()
    os.truncate(path, 1 << 40)
    assert message(path) == "it is larger than 1 MiB"
