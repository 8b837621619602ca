"""What a test may need from the machine, each *tried* once a session instead of guessed.

A trial gives None when the capability is there, else the reason why it is not.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from jailkit.linux.cgroup import Demand, Group, Io, disk_of, read_cgroups, settings

Trial = Callable[[Path], str | None]
C_PROGRAM = '#include <stdio.h>\nint main(void) { return printf("jailkit") != 7; }\n'


def _run(*command: str) -> str | None:
    """Run a command to its end; None when it succeeded."""
    program = shutil.which(command[0], path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if program is None:
        return f"{command[0]} is not installed"
    try:
        done = subprocess.run(
            [program, *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=120,
            check=False,
            text=True,
            errors="replace",
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{command[0]}: {error}"
    return None if done.returncode == 0 else f"{command[0]} ended with {done.returncode}: {done.stdout.strip()}"


def _python(code: str, *arguments: str) -> str | None:
    """Run code in a child of its own, so that what it does to itself ends with it."""
    return _run(sys.executable, "-I", "-S", "-c", code, *arguments)


def _root(_folder: Path) -> str | None:
    return None if os.geteuid() == 0 else "not run as root"


def _mknod(folder: Path) -> str | None:
    # Made and opened: a file system mounted with nodev lets the one happen and refuses the other.
    return _python(
        "import os, stat, sys\n"
        "os.mknod(sys.argv[1], stat.S_IFCHR | 0o666, os.makedev(1, 3))\n"
        "os.write(os.open(sys.argv[1], os.O_WRONLY), b'x')",
        str(folder / "null"),
    )


def _chroot(folder: Path) -> str | None:
    return _python("import os, sys; os.chroot(sys.argv[1]); os.chdir('/')", str(folder))


def _mount_namespace(folder: Path) -> str | None:
    return _run("unshare", "--mount", "--propagation", "private", "mount", "-t", "tmpfs", "tmpfs", str(folder))


def _user_namespace(_folder: Path) -> str | None:
    return _run("unshare", "--user", "--map-root-user", "true")


def _seccomp_filter(_folder: Path) -> str | None:
    # PR_SET_SECCOMP with SECCOMP_MODE_FILTER and no program: EFAULT where the kernel has filters (seccomp(2)).
    return _python(
        "import ctypes, errno; c = ctypes.CDLL(None, use_errno=True)\nassert c.prctl(22, 2, 0, 0, 0) == -1\n"
        "assert ctypes.get_errno() == errno.EFAULT"
    )


def _lxc(_folder: Path) -> str | None:
    return _exists("lxc-start")(_folder) or _run(sys.executable, "-I", "-c", "import _lxc")


def _nft(_folder: Path) -> str | None:
    commands = "add table inet trial; add chain inet trial nat { type nat hook output priority 0; }"
    return _run(sys.executable, "-c", "import nftables") or _run("unshare", "--net", "nft", commands)


def _loop(folder: Path) -> str | None:
    image, point = folder / "image", folder / "point"
    point.mkdir()
    with image.open("wb") as file:
        file.truncate(4 << 20)
    # mount(8) sets autoclear: the loop device is free again when the namespace ends.
    return _run("mkfs.ext4", "-q", "-F", str(image)) or _run(
        "unshare", "--mount", "--propagation", "private", "mount", "-o", "loop", str(image), str(point)
    )


def _compiles(compiler: str, *flags: str) -> Trial:
    def trial(folder: Path) -> str | None:
        source, program = folder / "program.c", folder / "program"
        source.write_text(C_PROGRAM)
        return _run(compiler, *flags, "-o", str(program), str(source)) or _run(str(program))

    return trial


def _runs(*command: str) -> Trial:
    return lambda _folder: _run(*command)


def _cgroups(demand: Demand) -> Trial:
    def trial(_folder: Path) -> str | None:
        host = read_cgroups(f"jailkit-trial-{os.getpid()}")
        made, missing = settings(demand, host)
        if missing:
            return "; ".join(f"{lack.limit}: {lack.why}" for lack in missing)
        try:
            Group(host, "box").make_leaf("main", made).remove()
        except OSError as error:
            return str(error)
        return None

    return trial


def _throttled_disk(folder: Path) -> str | None:
    try:
        disk = disk_of(str(folder))
    except OSError as error:
        return f"{folder}: {error.strerror}"
    return _cgroups(Demand(io=(Io(*disk, write_bps=1 << 20),)))(folder)


def _exists(program: str) -> Trial:
    """For a program that can do nothing harmless: it is there and may be executed."""

    def trial(_folder: Path) -> str | None:
        found = shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin")
        return None if found else f"{program} is not installed"

    return trial


TRIALS: Mapping[str, Trial] = {
    "root": _root,
    "mknod": _mknod,
    "chroot": _chroot,
    "mount-namespace": _mount_namespace,
    "user-namespace": _user_namespace,
    "newuidmap": _exists("newuidmap"),
    "lxc": _lxc,
    "loop": _loop,
    "seccomp-filter": _seccomp_filter,
    "python3-seccomp": lambda _folder: _run(sys.executable, "-c", "import seccomp; seccomp.SyscallFilter"),
    "lxc-execute": _runs("lxc-execute", "--version"),
    "cgroups": _cgroups(Demand(memory=1 << 26, cpus=1.0, cpuset="0", pids=16)),
    "cgroup-devices": _cgroups(Demand(devices=())),
    "cgroup-io": _throttled_disk,
    "nft": _nft,
    "veth": _runs("unshare", "--net", "ip", "link", "add", "trial0", "type", "veth", "peer", "name", "trial1"),
    "gcc": _compiles("gcc"),
    "gcc-multilib": _compiles("gcc", "-m32"),
    "musl": _compiles("musl-gcc"),
    "sshd": _exists("sshd"),
    "sftp": _exists("sftp"),
    "nginx": _runs("nginx", "-v"),
    "git": _runs("git", "--version"),
    "perl": _runs("perl", "--version"),
    "busybox": _runs("busybox", "true"),
    "curl": _runs("curl", "--version"),
    "openssl": _runs("openssl", "version"),
    "jk_init": _runs("jk_init", "--help"),
    "bwrap": _runs("bwrap", "--version"),
    "setfacl": _runs("setfacl", "--version"),
    "setcap": _exists("setcap"),
    "strace": _runs("strace", "--version"),
    "bash": _runs("bash", "--version"),
    "zsh": _runs("zsh", "--version"),
    "fish": _runs("fish", "--version"),
    "tmux": _runs("tmux", "-V"),
    "shellcheck": _runs("shellcheck", "--version"),
}


def unknown(names: Sequence[str]) -> list[str]:
    """Give the names that are no capability."""
    return [name for name in names if name not in TRIALS]


@functools.cache
def missing(name: str) -> str | None:
    """Try a capability, once a session: None when it is there, else why it is not."""
    with tempfile.TemporaryDirectory(prefix="jailkit-trial-") as folder:
        return TRIALS[name](Path(folder))


def required(setting: str | None = None) -> frozenset[str]:
    """Read JAILKIT_REQUIRE: names with commas between, `all`, and `-name` for one that may be missing.

    Raises:
        ValueError: a name is no capability.
    """
    names = (os.environ.get("JAILKIT_REQUIRE", "") if setting is None else setting).replace(",", " ").split()
    wanted: set[str] = set()
    for name in names:
        if name == "all":
            wanted |= set(TRIALS)
        elif wrong := unknown([name.removeprefix("-")]):
            raise ValueError(f"JAILKIT_REQUIRE names no capability: {wrong[0]}; there are {', '.join(TRIALS)}")
        elif name.startswith("-"):
            wanted.discard(name[1:])
        else:
            wanted.add(name)
    return frozenset(wanted)
