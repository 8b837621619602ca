"""Finding instances where no cgroup tells: by what their inits are called, and who is in the pid namespace of those.

The name is no proof, as any process may call itself so. But the first process of a pid namespace directly below this
one is it only if it has the jail's ids as well, which no other jail has.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from jailkit.linux.launch import Launched

TITLE: Final = b"jailkit-init"
_LONGEST: Final = 512  # bytes of a command line that may be one of ours
_KILLED: Final = 1 << (signal.SIGKILL - 1)  # in the mask of a process's pending signals
_PATIENCE: Final = 5.0  # seconds for a killed init to be gone, with all its namespace


class Init(NamedTuple):
    """The PID 1 of an instance, as this process's pid namespace numbers it; close `pidfd` after use.

    Attributes:
        launched: only of one that may still be making its instance; to be closed too.
    """

    pid: int
    pidfd: int
    launched: Launched | None = None

    def close(self) -> None:
        """Close all that is open."""
        os.close(self.pidfd)
        if self.launched is not None:
            self.launched.close()


def inits(title: str, ids: tuple[int, int] | None) -> Iterator[tuple[str, Init]]:
    """Give the inits whose titles are that, or begin with it where it ends in a slash, and which have these ids."""
    depth = len(numbers_of("self"))
    for process in filter(str.isdecimal, os.listdir("/proc")):
        found = _title_of(process)
        if found is None or not (found == title or (title.endswith("/") and found.startswith(title))):
            continue
        with contextlib.suppress(OSError):  # It has just ended.
            pidfd = os.pidfd_open(int(process))
            if is_init(process, depth) and _has_ids(process, ids):
                yield found, Init(int(process), pidfd)
            else:
                os.close(pidfd)


def is_init(process: str, depth: int) -> bool:
    """Tell whether a process is the first of a pid namespace below one that is `depth` deep, and was not killed.

    One that was is there until all others in its namespace have ended, which they do not while they are frozen.
    """
    fields = _status_of(process)
    numbers = _numbers_in(fields)
    return len(numbers) == depth + 1 and numbers[-1] == 1 and not int(fields.get(b"ShdPnd", b"0"), 16) & _KILLED


def numbers_of(process: str) -> tuple[int, ...]:
    """Read by which number each pid namespace knows a process, from ours inwards (NSpid of proc_pid_status(5))."""
    return _numbers_in(_status_of(process))


def _status_of(process: str) -> dict[bytes, bytes]:
    with open(f"/proc/{process}/status", "rb", buffering=0) as file:
        return dict(line.split(b":", 1) for line in file.read().splitlines() if b":" in line)


def _numbers_in(fields: dict[bytes, bytes]) -> tuple[int, ...]:
    return tuple(int(number) for number in fields.get(b"NSpid", b"").split())


def inhabitants(init: Init) -> list[int]:
    """Give the processes in the pid namespace of an init, itself among them."""
    home = _namespace_of(init.pid)
    pids = map(int, filter(str.isdecimal, os.listdir("/proc")))
    return [pid for pid in pids if home is not None and _namespace_of(pid) == home]


def end(init: Init) -> bool:
    """Kill an init, and so all that is in its namespace; False where that is not gone after some seconds."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(init.pidfd, signal.SIGKILL)
    # It stays while somebody has not waited for a process of the namespace, but has no memory any more, and has killed
    # them all.
    return gone(init.pidfd, _PATIENCE) or _title_of(str(init.pid)) is None


def gone(pidfd: int, patience: float) -> bool:
    """Wait so many seconds for a process to end."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(patience * 1000))


def _title_of(process: str) -> str | None:
    try:
        with open(f"/proc/{process}/cmdline", "rb", buffering=0) as file:
            words = file.read(_LONGEST).split(b"\0")
    except OSError:
        return None
    return os.fsdecode(words[1]) if len(words) > 1 and words[0].endswith(TITLE) else None


def _has_ids(process: str, ids: tuple[int, int] | None) -> bool:
    if ids is None:
        return True
    with open(f"/proc/{process}/uid_map", "rb", buffering=0) as file:
        return [int(word) for word in file.read().split()[1:]] == list(ids)


def _namespace_of(pid: int) -> int | None:
    try:
        return os.stat(f"/proc/{pid}/ns/pid").st_ino
    except OSError:  # It has ended, or is another user's.
        return None
