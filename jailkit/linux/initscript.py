"""What the init of a new instance does before it sleeps, as a script."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import signal
import struct
from functools import lru_cache
from typing import Final, NamedTuple

from jailkit.linux.join import TIED, WHOLE
from jailkit.linux.libc import (
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    KEYCTL_JOIN_SESSION_KEYRING,
    LINUX_CAPABILITY_VERSION_3,
    PR_CAP_AMBIENT,
    PR_CAP_AMBIENT_CLEAR_ALL,
    PR_CAPBSET_DROP,
    PR_SET_DUMPABLE,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
)
from jailkit.linux.mounting import AT_EMPTY_PATH, MS_PRIVATE, MS_REC
from jailkit.linux.recorder import LAST, Recorder
from jailkit.linux.script import REPORT, Script
from jailkit.linux.userns import OwnerNumbers
from jailkit.linux.view import Lower, Trees, View

NAME: Final = b"jailkit-init"
_PLACE: Final = "/proc"  # a directory that every host has, covered by the jail's tree until that is the root
_KEPT: Final = 16  # scripts that a process keeps at hand
# The descriptors that are handed on: a pipe for good news, the program to become, owners, cgroups.
_READY: Final = REPORT + 1
_INIT: Final = REPORT + 2
_OWNERS: Final = OwnerNumbers(REPORT + 3, REPORT + 4)
_DOORS: Final = REPORT + 5
_WHO_WAIT: Final = 3  # for one byte each: the caller, a command, and one that is forked where that was not executed
_CAPABILITIES: Final = 64  # more than any kernel has
_AF_INET: Final = 2
_SOCK_DGRAM: Final = 2
_SIOCSIFFLAGS: Final = 0x8914
_IFF_UP: Final = 1


class Outline(NamedTuple):
    """What a script depends on, and nothing else: no number of a descriptor, so that it can be used again.

    Attributes:
        stand_ins, lowers: as for Trees.
        mapped: the mounts map ids; else the script begins in a user namespace in which the caller is as root.
        rooted: there is an id 0 inside; else the ids stay what they are.
        namespaces: CLONE_NEW* flags of those to make besides the user and pid namespaces.
        tasks: how many files of cgroups there are to join through.
        tied: it ends when the thread that started it does.
    """

    view: View
    stand_ins: tuple[str, ...]
    lowers: tuple[Lower, ...]
    mapped: bool
    rooted: bool
    namespaces: int
    hostname: str
    tasks: int
    tied: bool


@lru_cache(maxsize=_KEPT)
def init_script(outline: Outline) -> Script:
    """Give the script for an outline. It gets a pipe for good news, the program that it becomes, owners and cgroups.

    Raises:
        OSError: none can be written for this machine.
    """
    doors = range(_DOORS, _DOORS + outline.tasks)
    recorder = Recorder(inherited=doors.stop)
    trees = Trees(outline.view, _OWNERS if outline.mapped else None, recorder)
    with recorder.step("be closed to the jail's processes"):
        recorder.call("prctl", PR_SET_DUMPABLE, 0)
        recorder.call("umask", 0o022)
    with recorder.step("join the jail's cgroup"):
        for door in doors:
            recorder.call("write", door, b"0", 1)
    if not outline.mapped:
        # What is opened there is beyond the jail's root, as its namespaces are below those of an outer one.
        with recorder.step("make a mount namespace"):
            recorder.call("unshare", CLONE_NEWNS)
            _keep_mounts(recorder)
    with recorder.step("open the jail's tree and its mounts"):
        trees.open(outline.stand_ins)
    with recorder.step("make a /proc"):
        trees.make_proc()
    with recorder.step("enter the user namespace"):
        _enter(recorder, rooted=outline.rooted)
    _tie(recorder, tied=outline.tied)
    _make_namespaces(recorder, outline)
    with recorder.step("keep its mounts to itself"):
        _keep_mounts(recorder)
    with recorder.step("put the jail's tree and its mounts together"):
        trees.assemble(_PLACE, outline.lowers)
    with recorder.step("make /dev and /proc"):
        trees.furnish()
    with recorder.step("enter the jail's tree"):
        trees.enter()
    _become_harmless(recorder)
    _end(recorder)
    return Script.of(recorder.lines)


def _keep_mounts(recorder: Recorder) -> None:
    recorder.call("mount", b"none\0", b"/\0", b"none\0", MS_REC | MS_PRIVATE, 0)


def _enter(recorder: Recorder, *, rooted: bool) -> None:
    recorder.call("setns", _OWNERS.everyone, CLONE_NEWUSER)
    if rooted:
        recorder.call("setgroups", 0, 0)
        recorder.call("setresgid", 0, 0, 0)
        recorder.call("setresuid", 0, 0, 0)


def _make_namespaces(recorder: Recorder, outline: Outline) -> None:
    with recorder.step("make namespaces"):
        recorder.call("unshare", outline.namespaces)
    if outline.namespaces & CLONE_NEWUTS:
        name = os.fsencode(outline.hostname)
        with recorder.step("set the host name"):
            recorder.call("sethostname", name, len(name))
    if outline.namespaces & CLONE_NEWNET:
        with recorder.step("bring up the loopback interface"):
            control = recorder.opening("socket", _AF_INET, _SOCK_DGRAM | os.O_CLOEXEC, 0)
            recorder.call("ioctl", control, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))
            recorder.close(control)


def _become_harmless(recorder: Recorder) -> None:
    """Take from a process that only sleeps all that another could make use of."""
    # No keys in this kernel; or a filter that a container lays over this process and all its children.
    with recorder.step("leave the caller's keys", tolerated=(errno.ENOSYS, errno.EPERM)):
        recorder.call("keyctl", KEYCTL_JOIN_SESSION_KEYRING, 0)
    with recorder.step("limit the bounding set", tolerated=(errno.EINVAL,)):  # Past the last of this kernel.
        for number in range(_CAPABILITIES):
            recorder.call("prctl", PR_CAPBSET_DROP, number)
    with recorder.step("limit the capabilities"):
        # Two structures for three sets of 64 bits each, all empty.
        recorder.call("capset", struct.pack("<Ii", LINUX_CAPABILITY_VERSION_3, 0), bytes(24))
        recorder.call("prctl", PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    with recorder.step("set no_new_privs"):
        recorder.call("prctl", PR_SET_NO_NEW_PRIVS, 1)
    with recorder.step("set a resource limit"):
        recorder.call("prlimit64", 0, resource.RLIMIT_CORE, bytes(16), 0)


def _tie(recorder: Recorder, *, tied: bool) -> None:
    """End with the thread that started this, also where that was over before this call.

    Its own parent's number, 0, does not tell an init that; but the pipe has lost its reader then, and poll(2) gives 1.
    So before this is said, nobody else must come to have that end: no child that the caller makes meanwhile.
    Here, because a change of ids would undo it; what comes after only gives up rights (PR_SET_PDEATHSIG(2const)).
    """
    with recorder.step("tie the jail to its caller"):
        if tied:
            recorder.call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL)
            recorder.call("ppoll", struct.pack("<ihh", REPORT, 0, 0), 1, bytes(16), 0, 0, gives=(0, 0))
        recorder.call("write", _READY, TIED, len(TIED))


def _end(recorder: Recorder) -> None:
    """Say that all is made, and become what sleeps."""
    with recorder.step("close descriptors"):
        recorder.call("close_range", _INIT + 1, LAST, 0)
        for kept in (REPORT, _READY, _INIT):
            recorder.call("fcntl", kept, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    with recorder.step("become idle"):
        recorder.call("write", _READY, WHOLE * _WHO_WAIT, _WHO_WAIT)
        recorder.call("execveat", _INIT, b"\0", (NAME + b"\0", None), (), AT_EMPTY_PATH)
