"""What the file system does on which the jails live."""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
from pathlib import Path

from jailkit.doctor.model import ALL, AS_ROOT, CHROOTS, Check, from_attempt
from jailkit.linux.attempt import attempt
from jailkit.linux.copy import FICLONE
from jailkit.linux.paths import rename_exchange

ELSEWHERE = "name another folder with --home or JAILKIT_HOME"


def home_checks(home: str) -> list[Check]:
    """Try everything in a folder of its own in `home`, or where `home` would be made."""
    place = existing(home)
    try:
        with tempfile.TemporaryDirectory(prefix=".jailkit-doctor-", dir=place) as name:
            folder = Path(name)
            trials = (_device, _program, _privileged_program, _exchange, _reflink)
            return [_writable(home, place), *(trial(folder) for trial in trials)]
    except OSError as error:
        remedy = ELSEWHERE if os.geteuid() == 0 else f"{AS_ROOT}, or {ELSEWHERE}"
        return [Check("home", False, f"cannot write in {place}: {error.strerror}", remedy, ALL)]


def existing(path: str) -> str:
    """Give the path, or the nearest folder above it that is there."""
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


def _writable(home: str, place: str) -> Check:
    status = os.statvfs(place)
    free = status.f_bavail * status.f_frsize >> 20
    where = home if place == home else f"{home} (to be made in {place})"
    return Check("home", True, f"{where}, {free} MiB free", None, ALL)


def _remount(folder: Path, option: str) -> str:
    """Name the remedy for a mount option that is in the way."""
    point = folder
    while not point.is_mount():
        point = point.parent
    return f"mount -o remount,{option} {point}, or {ELSEWHERE}"


def _device(folder: Path) -> Check:
    path = folder / "null"

    def make_and_open() -> None:
        # A file system mounted with nodev lets the node be made, and refuses to open it.
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        os.close(os.open(path, os.O_WRONLY))

    nodev = os.statvfs(folder).f_flag & os.ST_NODEV
    if nodev and os.geteuid() == 0:
        remedy = _remount(folder, "dev")
    else:
        remedy = "give the container CAP_MKNOD" if os.geteuid() == 0 else AS_ROOT
    evidence = "made a device node and opened it"
    return from_attempt("devices", attempt(make_and_open), evidence, remedy, CHROOTS)


def _program(folder: Path) -> Check:
    path = folder / "program"
    # The kernel opens the program before it reads which interpreter it wants.
    path.write_text("#!/bin/sh\nexit 0\n", encoding="ascii")
    path.chmod(0o755)

    error = attempt(lambda: os.waitpid(os.posix_spawn(path, [str(path)], {}), 0))
    return from_attempt("programs", error, "ran a program from there", _remount(folder, "exec"), ALL)


def _privileged_program(folder: Path) -> Check:
    if os.statvfs(folder).f_flag & os.ST_NOSUID:
        evidence = "mounted nosuid: the set-user-ID bits that a profile keeps have no effect"
        return Check("set-user-ID programs", False, evidence, _remount(folder, "suid"))
    return Check("set-user-ID programs", True, "not mounted nosuid, for profiles that keep such bits")


def _exchange(folder: Path) -> Check:
    first, second = folder / "first", folder / "second"
    first.mkdir()
    second.mkdir()
    error = attempt(lambda: rename_exchange(str(first), str(second)))
    evidence = "two folders change places in one step, which `jailkit update` needs"
    return from_attempt("exchange", error, evidence, f"ext4, xfs, btrfs or tmpfs; {ELSEWHERE}", ())


def _reflink(folder: Path) -> Check:
    source, copy = folder / "source", folder / "copy"
    source.write_bytes(b"x" * 4096)

    def clone() -> None:
        with source.open("rb") as reader, copy.open("wb") as writer:
            fcntl.ioctl(writer, FICLONE, reader.fileno())

    error = attempt(clone)
    remedy = "btrfs, or xfs with reflink, makes copies that cost nothing"
    return from_attempt("reflink", error, "copies can share their blocks", remedy, ())
