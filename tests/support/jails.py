"""Small jails, made without create: a busybox, a probe, one user."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

from jailkit.backends import backend_for
from jailkit.backends.base import ExecRequest, ExecResult
from jailkit.backends.instance import MAIN, find_init, group_of
from jailkit.levels import LEVELS
from jailkit.linux.process import processes_rooted_in
from jailkit.plan.model import Account, Runtime
from jailkit.store import MARKER, Jail

UID = 60999
IDS = (2_000_000, 65_536)  # of jails in a user namespace
ACCOUNTS = (
    Account("root", 0, 0, "/root", "/bin/sh"),
    Account("jail", UID, UID, "/home/jail", "/bin/sh", (50, 51)),
)
APPLETS = (
    "cat", "chmod", "echo", "env", "false", "head", "id", "kill", "ls", "mkdir", "pwd", "setsid", "sh", "sleep", "stty",
    "touch", "true", "tty", "yes",
)  # fmt: skip
PROBE_SOURCE = Path(__file__).with_name("probe.c")


def compile_probe(folder: Path) -> Path:
    """Compile the probe, statically: it runs where there is no library."""
    program = folder / "probe"
    subprocess.run(["gcc", "-static", "-O1", "-Wall", "-Werror", "-pthread", "-o", program, PROBE_SOURCE], check=True)
    return program


def make_tree(rootfs: Path) -> None:
    """Make a tree in which busybox is and nothing else."""
    for folder in ("bin", "dev", "root", "home/jail", "tmp"):
        (rootfs / folder).mkdir(parents=True)
    (rootfs / "tmp").chmod(0o1777)
    os.mknod(rootfs / "dev/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    (rootfs / "dev/null").chmod(0o666)
    os.chown(rootfs / "home/jail", UID, UID)
    shutil.copy(shutil.which("busybox") or "/bin/busybox", rootfs / "bin/busybox")
    for applet in APPLETS:
        (rootfs / "bin" / applet).symlink_to("busybox")


def make_jail(folder: Path, level: str = "chroot", **runtime: Any) -> Jail:
    """Make a stored jail in `folder`, whose name becomes its own; `runtime` are fields of Runtime."""
    rootfs = folder / "rootfs"
    if not rootfs.exists():
        make_tree(rootfs)
    if LEVELS[level].mount_namespace:  # type: ignore[index]
        for name in ("proc", "sys"):
            (rootfs / name).mkdir()
    settings: dict[str, Any] = {
        "user": "jail", "accounts": ACCOUNTS, "environment": (), "workdir": "/home/jail", "command": ("sh",),
    }  # fmt: skip
    jail = Jail(
        name=folder.name, profile="small", source="/dev/null", description="", level=level,  # type: ignore[arg-type]
        created=0.0, generation=1, runtime=Runtime(**(settings | runtime)), directory=str(folder),
        ids=IDS if LEVELS[level].user_namespace else None,  # type: ignore[index]
    )  # fmt: skip
    backend_for(jail.level).create(jail)
    (folder / MARKER).write_text(f"{folder.name}\n")
    (folder / "jail.json").write_text(jail.dumps())
    return jail


def run(jail: Jail, *command: str, **request: Any) -> ExecResult:
    """Run a command with its output captured; `request` are further fields of ExecRequest."""
    return backend_for(jail.level).exec(jail, ExecRequest(command, **({"capture": True} | request)))


def init_of(jail: Jail) -> int:
    """Give the pid of the init of the instance that `start` made."""
    init = find_init(group_of(jail).leaf(MAIN), jail.ids)
    assert init is not None
    os.close(init.pidfd)
    return init.pid


def lives_in(pid: int, root: str) -> bool:
    """Tell whether a process has its root in a tree."""
    return os.path.isdir(root) and pid in processes_rooted_in(root)


def facts(jail: Jail, **request: Any) -> dict[str, Any]:
    """Run the probe in a jail that has it, and give what it says, values with spaces as lists."""
    result = run(jail, "/bin/probe", **request)
    assert result.ok, (result, result.stderr)
    assert result.stdout is not None
    return parse_facts(result.stdout.decode())


def parse_facts(text: str) -> dict[str, Any]:
    """Read what the probe says: numbers as lists of int, the environment as a dictionary."""
    found: dict[str, Any] = {"environment": {}}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if key == "environment":
            name, _, content = value.partition("=")
            found["environment"][name] = content
        elif key == "workdir":
            found[key] = value
        else:
            numbers = [int(word) for word in value.split()]
            found[key] = numbers[0] if len(numbers) == 1 and key not in _LISTS else numbers
    return found


_LISTS = {"descriptors", "groups", "blocked", "ignored"}
