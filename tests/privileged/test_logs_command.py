"""`jailkit logs` and `jailkit stats --watch`, as people see them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.services import eventually, make_service, written

from jailkit.lifecycle.runs import supervision
from jailkit.lifecycle.start import start
from jailkit.lifecycle.stop import stop
from jailkit.store import Store

pytestmark = pytest.mark.needs("root", "mknod", "chroot", "busybox")

Jailkit = Callable[..., subprocess.CompletedProcess[str]]
CONSOLE = Path(sys.executable).with_name("jailkit")


@pytest.fixture
def store(home: Path) -> Store:
    return Store(str(home))


def test_what_was_written(store: Store, home: Path, jailkit: Jailkit) -> None:
    jail = make_service(home, "sh", "-c", "echo one; echo two >&2; echo three")
    assert jailkit("logs", "box").stdout == ""
    start("box", store)
    eventually(lambda: supervision(jail) == "none")
    assert jailkit("logs", "box").stdout == "one\ntwo\nthree\n"
    assert jailkit("logs", "-n", "2", "box").stdout == "two\nthree\n"
    assert jailkit("logs", "--follow", "box").stdout == "one\ntwo\nthree\n", "it does not wait for what does not run"
    assert jailkit("logs", "--console", "box").stdout == ""
    assert jailkit("logs", "none").returncode == 1
    assert jailkit("logs", "--tail", "-1", "box").returncode == 2


def test_much_is_kept_in_order_and_bounded(store: Store, home: Path) -> None:
    jail = make_service(home, "sh", "-c", "i=0; while [ $i -lt 10 ]; do head -c 4000000 /dev/null; i=$((i+1)); "
                                          "yes $i | head -n 2000000; done")  # fmt: skip
    start("box", store)
    eventually(lambda: supervision(jail) == "none", patience=60)
    sizes = {path.name: path.stat().st_size for path in Path(jail.directory, "logs").glob("output.log*")}
    assert set(sizes) == {"output.log", "output.log.1", "output.log.2"}
    assert max(sizes.values()) <= 10 << 20
    from jailkit.lifecycle.logs import read

    numbers = [int(word) for word in b"".join(read(jail)).split()[1:]]
    assert numbers == sorted(numbers)
    assert numbers[-1] == 10


def test_it_is_followed_until_the_command_ends(store: Store, home: Path) -> None:
    make_service(home, "sh", "-c", "echo one; while [ ! -e /tmp/go ]; do sleep 0.02; done; echo two")
    start("box", store)
    with subprocess.Popen([CONSOLE, "logs", "-f", "box"], stdout=subprocess.PIPE, text=True) as follower:
        assert follower.stdout is not None
        assert follower.stdout.readline() == "one\n"
        Path(store.load("box").rootfs, "tmp/go").touch()
        assert follower.stdout.read() == "two\n"
    assert follower.returncode == 0


def test_a_reader_that_goes_away(store: Store, home: Path) -> None:
    make_service(home)
    start("box", store)
    with subprocess.Popen([CONSOLE, "logs", "-f", "box"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as follower:
        assert follower.stdout is not None
        follower.stdout.readline()
        follower.send_signal(signal.SIGINT)
        assert follower.communicate(timeout=20)[1].strip() == b"jailkit: interrupted"
    stop("box", store)


def test_a_terminal_is_not_obeyed(store: Store, home: Path) -> None:
    jail = make_service(home, "sh", "-c", r"printf 'a\033]0;title\007b\tc\r\n\377\n'")
    os.symlink("busybox", f"{jail.rootfs}/bin/printf")
    start("box", store)
    eventually(lambda: supervision(jail) == "none")
    assert "\x1b" in Path(jail.directory, "logs/output.log").read_text(errors="replace")
    master, slave = os.openpty()
    with subprocess.Popen([CONSOLE, "logs", "box"], stdin=slave, stdout=slave, stderr=slave) as process:
        os.close(slave)
        shown = b""
        while chunk := read_some(master):
            shown += chunk
    os.close(master)
    assert process.returncode == 0
    assert shown.replace(b"\r\n", b"\n") == b"a\\x1b]0;title\\x07b\tc\n\\xff\n"


def read_some(master: int) -> bytes:
    try:
        return os.read(master, 4096)
    except OSError:
        return b""


def test_stats_again_and_again(store: Store, home: Path) -> None:
    jail = make_service(home)
    start("box", store)
    eventually(lambda: "begun" in written(jail))
    with subprocess.Popen(
        [CONSOLE, "stats", "--watch", "--interval", "0.1", "--json"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert [json.loads(process.stdout.readline())["name"] for _ in range(3)] == ["box"] * 3
        process.send_signal(signal.SIGINT)
        process.stdout.read()
    assert process.returncode == 130
    with subprocess.Popen(
        [CONSOLE, "stats", "--watch", "--interval", "0.1", "box"],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "FORCE_COLOR": "1", "COLUMNS": "120"},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        seen = ""
        while seen.count("running") < 3:
            seen += process.stdout.readline()
        process.send_signal(signal.SIGINT)
        process.stdout.read()
    assert "CPU TIME" in seen
    assert "%" in seen
    stop("box", store)
