"""A run of a jail's own command under its supervisor: whose turn it is to begin or end one, and its records.

    JAIL/logs/output.log   what the command wrote, and .1, .2 what it wrote before
    JAIL/logs/run.json     there while a run lasts; its supervisor holds a lock on it
    JAIL/logs/last.json    how the last run ended

Whether a supervisor lives is told by the lock, which the kernel takes back from whoever dies. So a run.json that nobody
has locked is that of a run whose supervisor was killed, or whose host went down. Neither file is flushed to the disk:
what a crash of the host leaves of them is read as nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Literal

from jailkit.backends.base import ExecResult
from jailkit.errors import PrivilegeError, StateError
from jailkit.plan.codec import checked, parse_object
from jailkit.store import MARKER, Jail

Supervision = Literal["none", "supervised", "lost"]

LOGS: Final = "logs"  # the folder's name
LOST: Final = "lost"
PATIENCE: Final = 5.0  # seconds that a supervisor gets to end when its command has ended
_TURN: Final = 20.0  # seconds to wait while another command starts or stops the same jail
_PAUSE: Final = 0.01  # seconds between looks at a lock
_LARGEST: Final = 1 << 20  # bytes of a record of ours


@dataclass(frozen=True, slots=True)
class LastRun:
    """How the last run of a jail's command ended.

    Attributes:
        started, ended: seconds since the epoch; `ended` is None for a run whose end nobody saw.
        reason: as in ExecResult, or `lost`: the supervisor was killed, or the host went down.
        exit_code, signal, wall_time, cpu_time, peak_memory, message: as in ExecResult.
    """

    started: float
    ended: float | None
    reason: str
    exit_code: int | None = None
    signal: int | None = None
    wall_time: float = 0.0
    cpu_time: float = 0.0
    peak_memory: int = 0
    message: str | None = None

    @classmethod
    def of(cls, started: float, result: ExecResult) -> LastRun:
        """Give the record of a run that ended just now."""
        data = result.as_dict()
        kept = {field.name: data[field.name] for field in fields(cls) if field.name in data}
        return cls(started=started, ended=time.time(), **kept)


def logs_of(jail: Jail) -> str:
    """Give the path of the folder in which a jail's logs and the records of its runs are."""
    return f"{jail.directory}/{LOGS}"


@contextlib.contextmanager
def in_turn(jail: Jail) -> Iterator[None]:
    """Hold what makes starting, stopping and freezing a jail happen one at a time: a lock on its marker.

    The lock of its folder will not do, as commands that run in the jail share that one.

    Raises:
        StateError: another command has it and keeps it, or the marker is gone.
    """
    try:
        descriptor = os.open(f"{jail.directory}/{MARKER}", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise StateError(
            f"cannot start or stop jail {jail.name}: its marker {MARKER}: {error.strerror}",
            resolution=f"if the folder is a jail of yours: touch {jail.directory}/{MARKER}",
        ) from error
    try:
        if not _wait(lambda: _lock(descriptor, fcntl.LOCK_EX), _TURN):
            raise StateError(
                f"cannot start or stop jail {jail.name}: another command is doing so",
                resolution="wait for that command, or end it",
            )
        yield
    finally:
        os.close(descriptor)


def share(jail: Jail) -> int:
    """Give a descriptor with a lock on the jail's folder, for a supervisor that is to keep the jail as it is.

    For a caller that has the same lock, so that this always succeeds.
    """
    descriptor = os.open(jail.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def begin(jail: Jail) -> int:
    """Record that a run begins, and give a descriptor: while anybody has it open, the jail is supervised.

    Raises:
        StateError, PrivilegeError: the record could not be written.
    """
    folder = logs_of(jail)
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        descriptor = _create(f"{folder}/run.json.new")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # Nobody else knows the file yet.
            os.write(descriptor, json.dumps({"started": time.time()}).encode())
            os.rename(f"{folder}/run.json.new", f"{folder}/run.json")
        except OSError:
            os.close(descriptor)
            raise
    except OSError as error:
        kind = PrivilegeError if isinstance(error, PermissionError) else StateError
        raise kind(f"cannot start jail {jail.name}: cannot write in {folder}: {error.strerror}") from error
    return descriptor


def started_at(jail: Jail) -> float:
    """Give when the present run began, in seconds since the epoch; 0 when the record does not tell."""
    started = _read(f"{logs_of(jail)}/run.json").get("started")
    return started if isinstance(started, float) else 0.0


def forget(jail: Jail) -> None:
    """Take away the record of a run that is over."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{logs_of(jail)}/run.json")


def supervision(jail: Jail) -> Supervision:
    """Tell whether a supervisor lives; `lost` when one has died without a word."""
    try:
        descriptor = os.open(f"{logs_of(jail)}/run.json", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return "none"
    try:
        if not _lock(descriptor, fcntl.LOCK_SH):
            return "supervised"
        # It may have ended by itself just now, between the open and the lock.
        return "lost" if os.fstat(descriptor).st_nlink else "none"
    finally:
        os.close(descriptor)


def await_end(jail: Jail, patience: float) -> bool:
    """Wait until no supervisor lives; False when one does after `patience` seconds."""
    return _wait(lambda: supervision(jail) != "supervised", patience)


def record(jail: Jail, last: LastRun) -> None:
    """Write how a run ended, in one step.

    Raises:
        OSError: it could not be written.
    """
    path = f"{logs_of(jail)}/last.json"
    descriptor = _create(f"{path}.new")
    with open(descriptor, "w", encoding="utf-8") as file:
        json.dump(asdict(last), file)
    os.rename(f"{path}.new", path)


def read_last(jail: Jail) -> LastRun | None:
    """Give how the last run ended; None when there was none, or its record is damaged."""
    data = _read(f"{logs_of(jail)}/last.json")
    try:
        return LastRun(**checked(LastRun, data)) if data else None
    except TypeError:
        return None


def close_lost(jail: Jail) -> str | None:
    """Make the record of a lost run that of the last run, and give a line that says so; None when none was lost.

    For a caller that keeps others from starting the jail.
    """
    if supervision(jail) != "lost":
        return None
    started, last = started_at(jail), read_last(jail)
    try:
        if last is None or last.started != started:
            record(jail, LastRun(started=started, ended=None, reason=LOST))
        forget(jail)
    except OSError as error:
        return f"the last run of jail {jail.name} was lost, and that cannot be recorded: {error.strerror}"
    return f"the last run of jail {jail.name} was lost: its supervisor was killed, or the host went down"


def _create(path: str) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(path, flags, 0o600)


def _read(path: str) -> dict[str, Any]:
    """Read a record of ours; one that is not there or damaged reads as empty."""
    try:
        with open(path, encoding="utf-8") as file:
            return parse_object(file.read(_LARGEST))
    except (OSError, ValueError, TypeError):
        return {}


def _lock(descriptor: int, operation: int) -> bool:
    try:
        fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait(condition: Callable[[], bool], patience: float) -> bool:
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_PAUSE)
    return True
