"""Attacks on what entering promises, through the command itself: its caller has what a command must not get."""

from __future__ import annotations

import contextlib
import errno
import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.children import in_child
from support.jails import lives_in
from support.profiles import write_profile

from jailkit.backends import backend_for
from jailkit.backends.base import ExecRequest, ExecResult
from jailkit.backends.chroot import ChrootBackend
from jailkit.linux.process import read_process
from jailkit.manifest import Manifest, Record
from jailkit.plan.model import Reason
from jailkit.store import Jail, Store

pytestmark = pytest.mark.needs("root", "chroot", "mknod", "busybox", "gcc")

ROOT = Record("/", "directory", 0o755, 0, 0, Reason("base", "base"))
MakeJail = Callable[..., Jail]
Jailkit = Callable[..., subprocess.CompletedProcess[str]]
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
    await_nobody(jail)


@pytest.mark.parametrize(
    "script",
    ["(setsid /bin/probe headless &); exec sleep 1000", "/bin/probe chains 4 2000 30 >/dev/null 2>&1; exec sleep 1000"],
)
def test_what_hides_from_the_time_out(small_jail: MakeJail, script: str) -> None:
    """A daemon without its main thread, and chains of processes that each fork the next and end."""
    jail = small_jail("chroot")
    line = command_line(jail, "exec", "--timeout", "1s", jail.name, "--", "sh", "-c", script)
    done = subprocess.run(line, capture_output=True, check=False, timeout=60)
    assert (done.returncode, b"cannot end" in done.stderr) == (124, False), done
    await_nobody(jail)


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_PATH])
@pytest.mark.parametrize("stream", [0, 1, 2])
def test_a_directory_as_a_standard_stream(small_jail: MakeJail, tmp_path: Path, stream: int, flags: int) -> None:
    """By which any user would walk out. Python itself refuses to start on some of them, but not to work on."""
    jail = small_jail("chroot")

    def enter() -> ExecResult:
        os.dup2(os.open(tmp_path, flags | os.O_DIRECTORY), stream)
        return ChrootBackend().exec(jail, ExecRequest(("/bin/probe", "walk", str(stream), "etc/passwd")))

    result = in_child(enter)
    assert result.reason == "setup-failed", result
    assert result.message == (
        "cannot enter jail box: cannot pass on what standard input, output or error is: Is a directory, and would lead "
        "out of the jail\n  Try: redirect to or from a file, a pipe or a terminal"
    )


def test_a_name_of_a_file_as_a_standard_stream(small_jail: MakeJail) -> None:
    jail = small_jail("chroot")
    name = os.open("/bin/sh", os.O_PATH)
    try:
        done = subprocess.run(
            command_line(jail, "exec", jail.name, "true"), stdin=name, capture_output=True, check=False
        )
    finally:
        os.close(name)
    assert done.returncode == 125
    assert b"standard input, output or error is: Bad file descriptor" in done.stderr


def test_a_daemon_of_a_run_that_was_killed(home: Path, tmp_path: Path) -> None:
    """It lives in the tree of a draft that is nobody's; the next command ends it before it takes the tree apart."""
    profile = write_profile(tmp_path, "box", binaries=["sh", "setsid", "sleep"])
    words = ["run", str(profile), "--", "sh", "-c", DAEMON]
    line = [sys.executable, "-m", "jailkit", "--home", str(home), *words]
    process = subprocess.Popen(line, stdout=subprocess.PIPE)
    assert process.stdout is not None
    daemon = int(process.stdout.readline())
    process.kill()
    process.communicate(timeout=60)
    (draft,) = (home / "drafts").iterdir()
    assert lives_in(daemon, str(draft))
    Store(str(home)).sweep()
    assert not draft.exists()
    left = read_process(daemon)
    assert left is None or not left.alive


def test_root_comes_in_where_that_is_accepted_only(jailkit: Jailkit, tmp_path: Path) -> None:
    def own_uid(name: str, *options: str) -> tuple[int, str]:
        done = jailkit("exec", *options, name, "id", "-u")
        return done.returncode, done.stdout

    assert jailkit("create", write_profile(tmp_path, "plain", binaries=["id"])).returncode == 0
    for user in ("root", "0"):
        assert own_uid("plain", "--user", user) == (125, "")
    said = jailkit("exec", "--user", "root", "plain", "id").stderr
    assert said.startswith("jailkit: cannot run as uid 0 in jail plain: ")
    assert "  Try: another --user, or list isolation.user under `accept-gaps` in the profile" in said
    listed = write_profile(tmp_path, "listed", binaries=["id"], accept_gaps=["isolation.user"])
    assert jailkit("create", listed).returncode == 0
    assert own_uid("listed") == (0, "60999\n")
    assert own_uid("listed", "--user", "root") == (0, "0\n")
    rooted = write_profile(tmp_path, "rooted", binaries=["id"], isolation={"user": "root"})
    assert jailkit("create", rooted).returncode == 1
    assert jailkit("create", "--accept-gaps", rooted).returncode == 0
    assert own_uid("rooted") == (0, "0\n")
    assert jailkit("update", "rooted").returncode == 1
    assert jailkit("update", "--accept-gaps", "rooted").returncode == 0
    assert own_uid("rooted") == (0, "0\n")
    assert jailkit("run", "--accept-gaps", rooted, "id", "-u").stdout == "0\n"
    # What is accepted on the command line is what was named there as not holding.
    assert jailkit("create", "--accept-gaps", "--name", "other", tmp_path / "plain.yaml").returncode == 0
    assert own_uid("other", "--user", "root") == (125, "")


def await_nobody(jail: Jail) -> None:
    """SIGKILL takes its moment; what hides ends by itself, but much later."""
    deadline = time.monotonic() + 10
    while found := backend_for("chroot").processes(jail):
        assert time.monotonic() < deadline, found
        time.sleep(0.01)


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
