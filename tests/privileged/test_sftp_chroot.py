"""The classical way to serve the sftp jail: the host's sshd as root, with the jail's tree as its ChrootDirectory."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.needs("root", "mknod", "chroot", "mount-namespace", "sshd", "sftp")

CONFIG = """
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
AllowUsers nobody
PidFile none
UsePAM no
Subsystem sftp internal-sftp
ForceCommand internal-sftp
ChrootDirectory {tree}
DisableForwarding yes
"""
# sshd as root wants /run/sshd. A private /run gives it one, and the host's stays as it is.
START = 'mount -t tmpfs tmpfs /run && mkdir -m 755 /run/sshd && exec /usr/sbin/sshd -D -e -f "$1" -p "$2"'


@dataclass(frozen=True)
class Served:
    """An sftp jail, and an sshd of the host's that serves it to the host's user `nobody`."""

    folder: Path
    tree: Path
    port: int

    def client(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        options = [
            *["-F", "none", "-i", f"{self.folder}/user", "-o", "BatchMode=yes"],
            *["-o", f"UserKnownHostsFile={self.folder}/known", "-o", "StrictHostKeyChecking=yes"],
        ]
        return subprocess.run(
            [program, *options, *arguments],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def sftp(self, *commands: str) -> subprocess.CompletedProcess[str]:
        batch = self.folder / "batch"
        batch.write_text("".join(f"{command}\n" for command in commands))
        return self.client("sftp", "-q", "-b", str(batch), "-P", str(self.port), "nobody@127.0.0.1")

    def ssh(self, command: str) -> subprocess.CompletedProcess[str]:
        return self.client("ssh", "-p", str(self.port), "nobody@127.0.0.1", command)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Give a folder whose parents only root may write to, which sshd asks of a ChrootDirectory; /tmp is not one."""
    path = Path(tempfile.mkdtemp(prefix="jailkit-test-", dir="/var/lib"))
    path.chmod(0o755)  # sshd reads the user's keys as that user
    yield path
    shutil.rmtree(path)


@pytest.fixture
def served(folder: Path, jailkit: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setenv("JAILKIT_HOME", str(folder / "home"))
    created = jailkit("create", "sftp", "--json")
    assert created.returncode == 0, created.stderr
    tree = Path(json.loads(created.stdout)["rootfs"])
    for key in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
    (folder / "config").write_text(CONFIG.format(folder=folder, tree=tree))
    with running_sshd(folder) as port:
        (folder / "known").write_text(f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}")
        yield Served(folder, tree, port)
    # The process of a session, whose root is the tree, may outlive its client and the server by a moment.
    deadline = time.monotonic() + 30
    while (destroyed := jailkit("destroy", "sftp")).returncode and time.monotonic() < deadline:
        time.sleep(0.1)
    assert destroyed.returncode == 0, destroyed.stderr


@contextmanager
def running_sshd(folder: Path) -> Iterator[int]:
    """Run sshd on a free port of the loopback; gives the port."""
    for _ in range(5):
        port = free_port()
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", START, "sh"]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [*command, folder / "config", str(port)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            if listens(process, folder / "log"):
                yield port
                return
        finally:
            process.terminate()
            process.wait(30)
    pytest.fail(f"sshd found no port: {(folder / 'log').read_text()}")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def listens(process: subprocess.Popen[bytes], log: Path) -> bool:
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        if "Server listening" in log.read_text():
            return True
        time.sleep(0.02)
    return False


def test_files_go_in_and_out_and_nothing_else_is_seen(served: Served) -> None:
    sent, got, passwd = served.folder / "sent", served.folder / "got", served.folder / "passwd"
    sent.write_bytes(os.urandom(200_000))
    done = served.sftp(
        f"put {sent} /tmp/stored",
        f"get /tmp/stored {got}",
        f"get ../../../../etc/passwd {passwd}",
        "ls -1 /",
    )
    assert done.returncode == 0, done.stderr
    assert got.read_bytes() == sent.read_bytes()
    assert (served.tree / "tmp/stored").stat().st_uid == 65534
    assert passwd.read_text() == (served.tree / "etc/passwd").read_text() != Path("/etc/passwd").read_text()
    listed = {line.lstrip("/") for line in done.stdout.splitlines() if not line.startswith("sftp>")}
    assert listed == {path.name for path in served.tree.iterdir()}


def test_commands_are_refused(served: Served) -> None:
    done = served.ssh("echo ran > /tmp/ran")
    assert (done.returncode, done.stdout) == (1, "This service allows sftp connections only.\n")
    assert not (served.tree / "tmp/ran").exists()


def test_the_tree_itself_cannot_be_written_to(served: Served) -> None:
    before = (served.tree / "etc/passwd").read_text()
    sent = served.folder / "user.pub"
    for target in ("/new", "/etc/passwd", "/usr/bin/new", "/home/sftp/.ssh/authorized_keys"):
        done = served.sftp(f"put {sent} {target}")
        assert done.returncode == 1
        assert "Permission denied" in done.stderr
    assert (served.tree / "etc/passwd").read_text() == before


def test_sshd_would_refuse_a_tree_that_others_may_write_to(served: Served) -> None:
    """That the tree is accepted says something only if a worse one is not."""
    assert served.sftp("ls /").returncode == 0
    served.tree.chmod(0o777)
    try:
        assert served.sftp("ls /").returncode != 0
        assert "bad ownership or modes for chroot directory" in (served.folder / "log").read_text()
    finally:
        served.tree.chmod(0o755)
