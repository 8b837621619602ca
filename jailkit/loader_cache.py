"""The loader's cache of a jail, which the host's ldconfig(8) writes: it reads the libraries and runs none of them."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess

from jailkit.errors import RealizeError
from jailkit.linux.copy import sha256
from jailkit.linux.limits import within_present
from jailkit.linux.paths import Tree
from jailkit.linux.shift import Shift
from jailkit.manifest import Record
from jailkit.plan.hidden import HIDDEN, LD_SO_CACHE

# A profile may write an ld.so.conf that includes /dev/zero, or /dev/tty.
_BOUNDS = ((resource.RLIMIT_AS, 1 << 30), (resource.RLIMIT_CPU, 60))  # bytes, seconds


def find_ldconfig() -> str | None:
    """Give the path of the host's ldconfig(8), which a caller's PATH need not hold; None when there is none."""
    return next((path for path in ("/sbin/ldconfig", "/usr/sbin/ldconfig") if os.access(path, os.X_OK)), None)


def write_loader_cache(root: str, tree: Tree, shift: Shift) -> Record | None:
    """Let ldconfig write the cache inside the tree; None where the host has no ldconfig, or this is not root.

    Raises:
        RealizeError: ldconfig failed.
    """
    ldconfig = find_ldconfig()
    if ldconfig is None or os.geteuid() != 0:
        return None
    try:
        _run([ldconfig, "-X", "-i", "-r", root])
        _remove_auxiliary_cache(tree)
        return _record(tree, shift)
    except OSError as error:
        raise RealizeError.because("cannot write the jail's loader cache", error) from error


def _record(tree: Tree, shift: Shift) -> Record:
    descriptor = tree.open(LD_SO_CACHE, os.O_RDWR)
    try:
        os.fchown(descriptor, *shift.owner(0, 0))
        os.fchmod(descriptor, 0o644)
        size = os.fstat(descriptor).st_size
        return Record(LD_SO_CACHE, "file", 0o644, 0, 0, HIDDEN, size=size, sha256=sha256(descriptor))
    finally:
        os.close(descriptor)


def _run(command: list[str]) -> None:
    """Run ldconfig within bounds.

    Raises:
        OSError: it could not be started.
        RealizeError: it failed, or had no end.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={"LC_ALL": "C"},
        start_new_session=True,
    )
    with process:
        try:
            # The kernel's own bounds hold even if this process is killed.
            for number, value in within_present(_BOUNDS):
                resource.prlimit(process.pid, number, (value, value))
            lines = process.communicate()[1].decode("utf-8", "replace").splitlines()
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        raise RealizeError("cannot write the jail's loader cache: ldconfig failed", details=lines[-5:])


def _remove_auxiliary_cache(tree: Tree) -> None:
    """Delete what ldconfig leaves for its own next run, where the tree has a /var/cache."""
    with contextlib.suppress(FileNotFoundError):
        cache = tree.open_inside("/var/cache", os.O_PATH | os.O_DIRECTORY)
        try:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                os.unlink("ldconfig/aux-cache", dir_fd=cache)
                os.rmdir("ldconfig", dir_fd=cache)
        finally:
            os.close(cache)
