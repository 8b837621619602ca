"""A user namespace in which a caller without any privilege is as root: over its own ids, and those given to it.

In there the caller has uid 0, and each subordinate id (subuid(5)) the number that it has outside. So what jailkit does
as root it does there as an ordinary user: it makes mounts and further namespaces, and owns, reads and deletes files of
those ids. Whoever made the namespace has all rights in it, and in those below, also from outside
(user_namespaces(7)).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, NoReturn, TypeVar

from jailkit.linux.fork import above_streams
from jailkit.linux.libc import CLONE_NEWUSER, PR_SET_PDEATHSIG, prctl, setns
from jailkit.linux.userns import IdMap, make_mapped, make_userns, write_table

_NS_GET_PARENT: Final = 0xB702  # linux/nsfs.h, ioctl_ns(2)
_PROGRAMS: Final = ("/usr/bin/", "/usr/local/bin/", "/bin/")
_SAID: Final = 1 << 12  # bytes of what a program complains

_Result = TypeVar("_Result")
Tell = Callable[[Any], None]


def find_mapper() -> str | None:
    """Give the folder of newuidmap(1) and newgidmap(1), which may map subordinate ids; None where they are not."""
    return next((folder for folder in _PROGRAMS if os.access(f"{folder}newuidmap", os.X_OK)), None)


def make_outer(uids: Sequence[tuple[int, int]], gids: Sequence[tuple[int, int]]) -> int:
    """Make such a namespace, and give a descriptor of it; it lives as long as that, or what is in it.

    The ranges of subordinate ids are given by first id and number; without any, the caller's own are the only ones.

    Raises:
        OSError: as `make_mapped`; what newuidmap(1) complains about, or ENOENT where it is not.
    """
    if not (uids and gids):
        return above_streams(make_mapped(_map_self))
    return above_streams(make_mapped(partial(_map_ranges, uids, gids)))


def _map_self(process: int) -> None:
    # Or else whoever is kept from a file by a group could leave that group (user_namespaces(7)).
    write_table(process, "setgroups", "deny")
    write_table(process, "uid_map", f"0 {os.geteuid()} 1")
    write_table(process, "gid_map", f"0 {os.getegid()} 1")


def _map_ranges(uids: Sequence[tuple[int, int]], gids: Sequence[tuple[int, int]], process: int) -> None:
    folder = find_mapper()
    if folder is None:
        raise FileNotFoundError(errno.ENOENT, "there is no newuidmap: it is in the package uidmap", "newuidmap")
    for name, own, ranges in (("newuidmap", os.geteuid(), uids), ("newgidmap", os.getegid(), gids)):
        maps = [IdMap(0, own, 1), *(IdMap(first, first, size) for first, size in ranges)]
        _run(folder + name, [str(process), *(str(number) for row in maps for number in row)])


def _run(program: str, arguments: Sequence[str]) -> None:
    read, write = os.pipe()
    try:
        actions = [(os.POSIX_SPAWN_DUP2, write, 2)]
        pid = os.posix_spawn(program, [program, *arguments], {}, file_actions=actions)
    finally:
        os.close(write)
    with open(read, "rb") as file:
        said = file.read(_SAID).decode("utf-8", "replace").strip()
    if os.waitpid(pid, 0)[1]:
        raise OSError(errno.EPERM, said or "it failed", program)


def parent_of(process: int) -> int:
    """Give a descriptor of the user namespace above that of a process.

    Raises:
        OSError: there is none to be had: the process has ended, or this one may not look.
    """
    own = os.open(f"/proc/{process}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return above_streams(fcntl.ioctl(own, _NS_GET_PARENT))
    finally:
        os.close(own)


def make_inner(outer: int, uids: Sequence[IdMap], gids: Sequence[IdMap]) -> int:
    """Make a user namespace below `outer` with these maps, whose outside is that one; give a descriptor.

    Raises:
        OSError: as `make_userns`.
    """
    told, keep = os.pipe(), os.pipe()
    helper = os.fork()
    if helper == 0:
        os.close(keep[1])  # Or it would never see the end of the pipe.
        _hold_inner(partial(_make_inside, outer, uids, gids), told[1], keep[0])
    os.close(told[1])
    try:
        answer = int(os.read(told[0], 16) or -errno.EIO)
        if answer < 0:
            raise OSError(-answer, os.strerror(-answer), "a user namespace")
        return above_streams(os.open(f"/proc/{helper}/fd/{answer}", os.O_RDONLY | os.O_CLOEXEC))
    finally:
        for descriptor in (told[0], *keep):
            os.close(descriptor)
        os.waitpid(helper, 0)


def _make_inside(outer: int, uids: Sequence[IdMap], gids: Sequence[IdMap]) -> int:
    setns(outer, CLONE_NEWUSER)
    return make_userns(uids, gids)


def _hold_inner(make: Callable[[], int], told: int, keep: int) -> NoReturn:
    """Say by which number this process has the descriptor, or the errno, and keep it while the parent wants."""
    try:
        try:
            answer = make()
        except OSError as error:
            answer = -(error.errno or errno.EIO)
        os.write(told, b"%d" % answer)
        os.read(keep, 1)
    finally:
        os._exit(0)


def within(outer: int, act: Callable[[Tell], _Result], heard: Tell = lambda _: None) -> _Result:
    """Call `act` in a child in the user namespace `outer`, and give what it gives or raise what it raises.

    Args:
        outer: a descriptor.
        act: its result goes through a pipe, as does whatever it passes to the function that it is given.
        heard: is told that, in the caller.

    Raises:
        OSError: no child could be made; EIO: it was killed.
    """
    import pickle  # Only the commands that read or write trees pay for it.

    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        _act(outer, act, write)
    os.close(write)
    try:
        with open(read, "rb") as answers:
            while True:
                kind, thing = pickle.load(answers)  # noqa: S301 - written by this very program
                if kind == "result":
                    result: _Result = thing
                    return result
                if kind == "error":
                    raise thing
                heard(thing)
    except EOFError as error:
        raise OSError(errno.EIO, "the process in the user namespace was killed") from error
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)  # It is done, unless this one was interrupted.
        os.waitpid(child, 0)


def _act(outer: int, act: Callable[[Tell], object], write: int) -> NoReturn:
    import pickle

    def say(kind: str, thing: object) -> None:
        file.write(pickle.dumps((kind, thing)))
        file.flush()

    try:
        with open(write, "wb") as file:
            try:
                setns(outer, CLONE_NEWUSER)
                prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
                say("result", act(partial(say, "heard")))
            except BaseException as error:
                say("error", error)
    finally:
        os._exit(0)
