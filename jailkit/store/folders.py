"""The folders of a home: making them, knowing them again, and what to say of those that cannot be used."""

from __future__ import annotations

import errno
import fcntl
import os

from jailkit.errors import JailkitError, PrivilegeError, RealizeError, StateError


def exists(name: str) -> StateError:
    """Give the error for a name that is taken."""
    return StateError(
        f"cannot create jail {name}: it exists",
        resolution=f"jailkit destroy {name}, jailkit update {name}, or another --name",
    )


def in_the_way(path: str, name: str) -> StateError:
    """Give the error for a draft that is there already and that no sweep has taken away."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(descriptor)
    except OSError:
        return StateError(f"cannot build jail {name}: another command is building it", resolution="wait for it to end")
    return StateError(
        f"cannot build jail {name}: {path} is in the way, and cannot be deleted as jailkit's own",
        resolution="look what is in it, and delete it by hand",
    )


def same_folder(descriptor: int, path: str) -> bool:
    """Tell whether a path still leads to the folder that a descriptor is of."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


def make_folder(path: str, mode: int = 0o700) -> None:
    """Make a folder and those above it, which nobody else may change, however open the umask is."""
    if os.path.isdir(path):
        return
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        if not os.path.isdir(path):  # Somebody else made it just now, or it is a file.
            raise
    except FileNotFoundError:
        make_folder(os.path.dirname(path), 0o755)
        make_folder(path, mode)


def check_home(home: str) -> None:
    """Refuse a home that somebody else could change under our hands.

    Raises:
        StateError: it belongs to another user, or others may write to it.
    """
    status = os.stat(home)
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & 0o022:
        raise StateError(
            f"cannot use {home} for jails: others than its owner may change it",
            resolution=f"chown {os.geteuid()} {home} && chmod go-w {home}, or another folder with --home",
        )


def unusable(home: str, error: OSError) -> JailkitError:
    """Give the error for a home in which something failed."""
    brief = f"cannot use {home} for jails"
    if error.errno in (errno.EACCES, errno.EPERM):
        return PrivilegeError(
            f"{brief}: {error.strerror}", resolution="run as root, or name a folder of your own with --home"
        )
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return RealizeError.because(brief, error)
    return StateError(f"{brief}: {error.strerror}", resolution="name another folder with --home or JAILKIT_HOME")
