"""The steps of a command on its way into a jail, as a script.

What a step does is told by its function and the arguments of that. All that a level with care takes are known here.
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import struct
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple

from jailkit.linux.apparmor import ON_EXEC, change, change_on_exec
from jailkit.linux.capabilities import limit_bounding_set, limit_capabilities
from jailkit.linux.enter import Fd, die_with, go_home, leave_keys, reset_signals
from jailkit.linux.fork import EXECUTE, Program, Step, close_others
from jailkit.linux.join import await_whole, join_groups
from jailkit.linux.libc import (
    AT_FDCWD,
    KEYCTL_JOIN_SESSION_KEYRING,
    LINUX_CAPABILITY_VERSION_3,
    PR_CAP_AMBIENT,
    PR_CAP_AMBIENT_CLEAR_ALL,
    PR_CAP_AMBIENT_RAISE,
    PR_CAPBSET_DROP,
    PR_SET_PDEATHSIG,
    PR_SET_SECCOMP,
    SECCOMP_MODE_FILTER,
    SeccompFilter,
    prctl,
    seccomp_set_mode_filter,
    setns,
)
from jailkit.linux.recorder import LAST, Recorder
from jailkit.linux.script import REPORT, Script

_KEPT: Final = 16  # scripts that a process keeps at hand
_CAPABILITIES: Final = 64  # more than any kernel has
_LIBC_S: Final = (32, 33)  # signals
_NOT_THERE: Final = (errno.ENOENT, errno.ENOTDIR)


class Prepared(NamedTuple):
    """A script, and the descriptors that it is to be handed."""

    script: Script
    handed: tuple[int, ...]


def enter_script(steps: Sequence[Step], program: Program) -> Prepared | None:
    """Give the script that takes the steps and becomes the program; None where a step is not for scripts.

    It is one where the standard streams are in their places, in a session of its own, and all signals have their
    default dispositions. Where it fails to execute the program it cannot tell why as well as a forked child can.

    Raises:
        OSError: no scripts can be written for this machine.
    """
    handed: list[int] = []
    known = []
    for name, act in steps:
        function = act.func if isinstance(act, partial) else act
        if function not in _RECORDS:
            return None
        arguments = _slots(act.args, handed) if isinstance(act, partial) else ()
        known.append((name, function, arguments))
    words = tuple(name + b"=" + value for name, value in program.environment.items())
    try:
        return Prepared(_script(tuple(known), len(handed), (program.paths, program.argv, words)), tuple(handed))
    except (OverflowError, struct.error):  # A number that the kernel would cut short.
        return None


def _slots(arguments: tuple[Any, ...], handed: list[int]) -> tuple[Any, ...]:
    """Put in place of each descriptor the number by which the script has it."""
    found: list[Any] = []
    for argument in arguments:
        if isinstance(argument, Fd):
            handed.append(int(argument))
            found.append(REPORT + len(handed))
        else:
            found.append(_slots(argument, handed) if isinstance(argument, tuple) else argument)
    return tuple(found)


_Known = tuple[str, Callable[..., object], tuple[Any, ...]]
_Words = tuple[bytes, ...]


@lru_cache(maxsize=_KEPT)
def _script(steps: tuple[_Known, ...], handed: int, program: tuple[tuple[bytes, ...], _Words, _Words]) -> Script:
    paths, argv, environment = program
    recorder = Recorder(inherited=REPORT + 1 + handed)
    for name, function, arguments in steps:
        with recorder.step(name):
            _RECORDS[function](recorder, *arguments)
    with recorder.step(EXECUTE):
        for path in paths:
            _execute(recorder, path + b"\0", argv, environment)
        recorder.call("execve", b"\0", (), ())  # Always fails: none of them was there.
    return Script.of(recorder.lines)


def _execute(recorder: Recorder, path: bytes, argv: _Words, environment: _Words) -> None:
    arrays = (tuple(word + b"\0" for word in argv), tuple(word + b"\0" for word in environment))
    with recorder.step(EXECUTE, tolerated=_NOT_THERE):
        recorder.call("execve", path, *arrays)
        # One that is there lacks its interpreter: then no other is tried.
        recorder.call("faccessat", AT_FDCWD, path, os.F_OK, gives=(-errno.ENOENT, -errno.ENOENT))


def _leave_keys(recorder: Recorder) -> None:
    recorder.tolerating((errno.ENOSYS, errno.EPERM), "keyctl", KEYCTL_JOIN_SESSION_KEYRING, 0)


def _change_on_exec(recorder: Recorder, profile: str) -> None:
    file = recorder.opening("openat", AT_FDCWD, ON_EXEC.encode() + b"\0", os.O_WRONLY | os.O_CLOEXEC, 0, thing=ON_EXEC)
    words = change(profile)
    recorder.call("write", file, words, len(words), thing=profile)
    recorder.close(file)


def _join_groups(recorder: Recorder, tasks: Sequence[int]) -> None:
    for descriptor in tasks:
        recorder.call("write", descriptor, b"0", 1)


def _await_whole(recorder: Recorder, ready: int) -> None:
    recorder.call("read", ready, bytes(8), 1, gives=(1, 1))  # The caller has read what came before.


def _set_filter(recorder: Recorder, program: SeccompFilter) -> None:
    # struct sock_fprog: the number of instructions, of 8 bytes each, and their address.
    recorder.call("prctl", PR_SET_SECCOMP, SECCOMP_MODE_FILTER, (len(program.bpf) // 8, program.bpf), 0, 0)


def _limit_bounding_set(recorder: Recorder, keep: int) -> None:
    for number in range(_CAPABILITIES):
        if not keep >> number & 1:
            recorder.tolerating((errno.EINVAL,), "prctl", PR_CAPBSET_DROP, number, 0, 0, 0)


def _limit_capabilities(recorder: Recorder, keep: int) -> None:
    low, high = keep & 0xFFFFFFFF, keep >> 32
    recorder.call(
        "capset", struct.pack("<Ii", LINUX_CAPABILITY_VERSION_3, 0), struct.pack("<6I", *[low] * 3, *[high] * 3)
    )
    recorder.call("prctl", PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    for number in range(_CAPABILITIES):
        if keep >> number & 1:
            recorder.call("prctl", PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number, 0, 0)


def _set_groups(recorder: Recorder, groups: Sequence[int]) -> None:
    recorder.call("setgroups", len(groups), struct.pack(f"<{len(groups)}I", *map(_id, groups)) or bytes(8))


def _set_ids(name: str) -> Callable[..., None]:
    def record(recorder: Recorder, *ids: int) -> None:
        recorder.call(name, *map(_id, ids))

    return record


def _id(number: int) -> int:
    """Refuse what is no uid or gid: the kernel takes 32 bits of a register, and all of them set for no change."""
    if not 0 <= number < 2**32 - 1:
        raise OverflowError(f"{number} is no id")
    return number


def _set_limit(recorder: Recorder, number: int, pair: tuple[int, int]) -> None:
    infinite = 2**64 - 1
    limits = (infinite if value == resource.RLIM_INFINITY else value for value in pair)
    recorder.call("prlimit64", 0, number, struct.pack("<2Q", *limits), 0)


def _die_with(recorder: Recorder, parent: int) -> None:
    recorder.call("prctl", PR_SET_PDEATHSIG, 9, 0, 0, 0)
    recorder.call("getppid", gives=(parent, parent))


def _change_directory(recorder: Recorder, path: bytes | str) -> None:
    recorder.call("chdir", os.fsencode(path) + b"\0", thing=os.fsdecode(path))


def _go_home(recorder: Recorder, path: bytes) -> None:
    recorder.tolerating((errno.ENOENT, errno.ENOTDIR, errno.EACCES), "chdir", path + b"\0")


def _close_all(recorder: Recorder, *_: int) -> None:
    recorder.call("close_range", REPORT + 1, LAST, 0)
    recorder.call("fcntl", REPORT, fcntl.F_SETFD, fcntl.FD_CLOEXEC)


def _reset_signals(recorder: Recorder, _numbers: Sequence[int]) -> None:
    """Those that libc keeps for itself, which its posix_spawn(3) makes ignored; the others are at their defaults."""
    for number in _LIBC_S:
        # struct sigaction of nothing but zeros: SIG_DFL, and 8 bytes of a mask.
        recorder.call("rt_sigaction", number, bytes(32), 0, 8)


def _nothing(_recorder: Recorder, *_: object) -> None:
    """Record nothing for what whoever starts the script sees to."""


def _same(name: str) -> Callable[..., None]:
    """Record the call of a name with the arguments of the function."""

    def record(recorder: Recorder, *arguments: int) -> None:
        recorder.call(name, *arguments)

    return record


_RECORDS: Final[dict[Callable[..., object], Callable[..., None]]] = {
    await_whole: _await_whole,
    change_on_exec: _change_on_exec,
    close_others: _close_all,
    die_with: _die_with,
    fcntl.ioctl: _same("ioctl"),
    go_home: _go_home,
    join_groups: _join_groups,
    leave_keys: _leave_keys,
    limit_bounding_set: _limit_bounding_set,
    limit_capabilities: _limit_capabilities,
    os.chdir: _change_directory,
    os.chroot: lambda recorder, path: recorder.call("chroot", os.fsencode(path) + b"\0"),
    os.fchdir: _same("fchdir"),
    os.setgroups: _set_groups,
    os.setresgid: _set_ids("setresgid"),
    os.setresuid: _set_ids("setresuid"),
    os.setsid: _nothing,
    os.umask: _same("umask"),
    prctl: _same("prctl"),
    reset_signals: _reset_signals,
    resource.setrlimit: _set_limit,
    seccomp_set_mode_filter: _set_filter,
    setns: _same("setns"),
}
