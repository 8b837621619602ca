"""Profiles that mean harm, created through the command as root: an answer in time, no traceback, nothing half."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jailkit.linux.remove import remove_tree

pytestmark = pytest.mark.needs("root", "chroot", "mknod")

HEAD = "name: attack\nbinaries: [sh]\n"


def create(folder: Path, profile: str) -> subprocess.CompletedProcess[str]:
    """Create from a profile in a home of its own, and look that no draft and no traceback is left."""
    (folder / "attack.yaml").write_text(HEAD + profile)
    home = folder / "home"
    line = [sys.executable, "-m", "jailkit", "--home", str(home), "create", str(folder / "attack.yaml")]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=120)
    assert "Traceback" not in done.stderr, done.stderr
    assert "Warning" not in done.stderr, done.stderr
    for part in ("drafts", "trash"):
        assert not (home / part).is_dir() or os.listdir(home / part) == []
    assert (home / "jails/attack").is_dir() == (done.returncode == 0), done.stderr
    return done


@pytest.mark.parametrize(
    "profile",
    ["symlinks: {/var: /srv}", "symlinks: {/var/cache: /srv}", "text: {/var/cache/ldconfig: x}"],
)
def test_odd_places_for_the_loader_s_cache(tmp_path: Path, profile: str) -> None:
    assert create(tmp_path, profile).returncode == 0


@pytest.mark.parametrize(
    "profile",
    ["symlinks: {/etc: /tmp}", "directories: [/etc/ld.so.cache]"],
)
def test_a_loader_s_cache_that_cannot_be(tmp_path: Path, profile: str) -> None:
    done = create(tmp_path, profile)
    assert done.returncode == 1
    assert "cannot write the jail's loader cache" in done.stderr


def test_a_loader_s_configuration_without_end(tmp_path: Path) -> None:
    """ldconfig reads a line of it until its memory ends; that is soon, and not the host's."""
    create(tmp_path, 'text: {/etc/ld.so.conf: "include /dev/zero\\n"}')


@pytest.mark.parametrize("pattern", ["[z-a]**", "**/[!]", "**[[]x", "**/[]]\\\\[]", "**/" * 30 + "*a" * 30 + "b"])
def test_odd_patterns(tmp_path: Path, pattern: str) -> None:
    (tmp_path / "src" / "deep" / ("a" * 200)).mkdir(parents=True)
    done = create(tmp_path, f'files: [{{source: "{tmp_path}/src/{pattern}", target: /srv}}]')
    assert "nothing on this host matches" in done.stderr


@pytest.mark.parametrize("target", ["/proc/self/environ", "/proc", "/sys/kernel", "/dev/null", "/"])
def test_sources_that_lead_into_the_kernel_s_trees(tmp_path: Path, target: str) -> None:
    (tmp_path / "link").symlink_to(target)
    for keep in ("", ", target: /srv/copy"):
        done = create(tmp_path, f"files: [{{source: {tmp_path}/link{keep}}}]")
        assert ": not copied" in done.stderr


def test_scripts_that_run_scripts(tmp_path: Path) -> None:
    for number in range(1500):
        script = tmp_path / f"s{number}"
        script.write_text(f"#!{tmp_path}/s{number + 1}\n")
        script.chmod(0o755)
    (tmp_path / "s1500").symlink_to("/bin/sh")
    assert "scripts that run each other" in create(tmp_path, f"libraries: [{tmp_path}/s0]").stderr


@pytest.mark.parametrize("line", [b"/bin/sh\0x", b"/usr/bin/env sh\0x", b"/proc/self/exe", b"/\xff\x1b[31m", b"\0"])
def test_odd_first_lines_of_scripts(tmp_path: Path, line: bytes) -> None:
    script = tmp_path / "script"
    script.write_bytes(b"#!" + line + b"\n")
    script.chmod(0o755)
    assert create(tmp_path, f"files: [{{source: {script}, target: /srv/script}}]").returncode in (0, 1)


def test_a_tree_deeper_than_any_path(tmp_path: Path) -> None:
    top = tmp_path / "deep"
    top.mkdir()
    descriptors = [os.open(top, os.O_RDONLY)]
    for _ in range(2100):
        os.mkdir("d", dir_fd=descriptors[-1])
        descriptors.append(os.open("d", os.O_RDONLY, dir_fd=descriptors[-1]))
        os.close(descriptors.pop(0))
    os.close(descriptors.pop())
    try:
        done = create(tmp_path, f"files: [{{source: {top}, target: /srv/deep}}]")
        assert "File name too long" in done.stderr
    finally:
        remove_tree(str(top))  # pytest could not


def test_a_sparse_file(tmp_path: Path) -> None:
    with open(tmp_path / "sparse", "wb") as file:
        file.write(b"begin")
        file.seek(1 << 30)
        file.write(b"end")
    assert create(tmp_path, f"files: [{{source: {tmp_path}/sparse, target: /srv/sparse}}]").returncode == 0
    copy = tmp_path / "home/jails/attack/rootfs/srv/sparse"
    assert copy.stat().st_size == (1 << 30) + 3
    assert copy.stat().st_blocks * 512 < 1 << 20
    with open(copy, "rb") as file:
        assert file.read(8) == b"begin\0\0\0"
        file.seek(1 << 30)
        assert file.read() == b"end"


def test_what_no_loader_would_load_is_no_news_to_verify(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/\x1b[1m").write_bytes(b"\x7fELF" + bytes(100))
    assert create(tmp_path, f"files: [{{source: {tmp_path}/src, target: /srv/src}}]").returncode == 0
    line = [sys.executable, "-m", "jailkit", "--home", f"{tmp_path}/home", "verify", "attack"]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout
