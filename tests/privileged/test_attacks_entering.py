"""Attacks on what entering promises, through the command itself: its caller has what a command must not get."""

from __future__ import annotations

import contextlib
import errno
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from jailkit.backends import backend_for
from jailkit.manifest import Manifest, Record
from jailkit.plan.model import Reason
from jailkit.store import Jail, Store

pytestmark = pytest.mark.needs("root", "chroot", "mknod", "busybox", "gcc")

ROOT = Record("/", "directory", 0o755, 0, 0, Reason("base", "base"))
MakeJail = Callable[..., Jail]
# Starts a daemon that nothing in the jail is the parent of, in a session of its own, and says its pid.
DAEMON = "(setsid sh -c '(setsid sh -c \"exec sleep 1000 >/dev/null 2>&1\" & echo $!)' &); exec sleep 1000"


def command_line(jail: Jail, *words: str) -> list[str]:
    """Give the command line of `jailkit WORDS` with the home that the jail lives in."""
    home = os.path.dirname(os.path.dirname(jail.directory))
    return [sys.executable, "-m", "jailkit", "--home", home, *words]


@pytest.mark.parametrize("level", ["chroot-root", "chroot"])
def test_the_caller_s_keys(small_jail: MakeJail, probe: Path, level: str) -> None:
    jail = small_jail(level)
    line = command_line(jail, "exec", jail.name, "--", "/bin/probe", "show-key")
    done = subprocess.run([probe, "with-key", *line], capture_output=True, check=False, timeout=60)
    if level == "chroot-root":
        assert (done.returncode, done.stdout) == (0, b"a token of the host")
    else:
        assert (done.returncode, done.stdout) == (errno.ENOKEY, b"")


@pytest.mark.parametrize("word", ["/" + "a" * 100_000, "a" * 100_000, "a/" * 60_000])
def test_a_word_longer_than_any_path(small_jail: MakeJail, word: str) -> None:
    jail = small_jail("chroot")
    done = subprocess.run(command_line(jail, "exec", jail.name, "--", word), capture_output=True, check=False)
    assert done.returncode == 126
    assert b"File name too long" in done.stderr
    line = command_line(jail, "exec", "-w", f"/{word}", jail.name, "id")
    done = subprocess.run(line, capture_output=True, check=False)
    assert done.returncode == 125
    assert b"Traceback" not in done.stderr


def test_what_a_jail_has_printed_about_it(small_jail: MakeJail) -> None:
    """The interpreter that a script in the jail names, in a message on the terminal of root."""
    jail = small_jail("chroot")
    script = Path(jail.rootfs, "home/jail/script")
    script.write_bytes(b"#!/\x1b]0;title\x07\x9b\xffx\n")
    script.chmod(0o755)
    pid, terminal = pty.fork()
    if pid == 0:
        line = command_line(jail, "exec", jail.name, "/home/jail/script")
        os.execv(line[0], line)
    shown = b""
    with contextlib.suppress(OSError), open(terminal, "rb", buffering=0) as screen:
        while chunk := screen.read(4096):  # EIO when the other side has ended
            shown += chunk
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 126
    assert b"\\x1b]0;title" in shown
    assert b"\x1b" not in shown


def test_a_daemon_and_the_time_out(small_jail: MakeJail) -> None:
    jail = small_jail("chroot")
    line = command_line(jail, "exec", "--timeout", "2s", jail.name, "--", "sh", "-c", DAEMON)
    done = subprocess.run(line, capture_output=True, check=False, timeout=60)
    assert done.returncode == 124, done
    assert int(done.stdout) > 0, "the daemon was there"
    assert backend_for("chroot").processes(jail) == []


@pytest.mark.parametrize("words", [["list"], ["show", "--files", "box"], ["exec", "--json", "box", "true"]])
def test_output_that_goes_nowhere(small_jail: MakeJail, words: list[str]) -> None:
    jail = small_jail("chroot")
    Path(jail.directory, "manifest.json").write_text(Manifest.of([ROOT]).dumps())
    with open("/dev/full", "wb") as full:
        line = command_line(jail, *words)
        done = subprocess.run(line, stdout=full, stderr=subprocess.PIPE, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (1, b"jailkit: cannot write the output: No space left on device\n")


def test_a_current_directory_that_is_gone(tmp_path: Path) -> None:
    line = ["sh", "-c", 'rmdir "$PWD" && exec "$@"', "sh", sys.executable, "-P", "-m", "jailkit", "--home", "x", "list"]
    (tmp_path / "gone").mkdir()
    done = subprocess.run(line, cwd=tmp_path / "gone", capture_output=True, check=False, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith(b"jailkit: cannot use x for jails: the current directory is gone")


def test_folders_above_the_home_and_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with Store(str(tmp_path / "above/home")).draft("box"):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "above").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "above/home").stat().st_mode & 0o777 == 0o700
