"""The supervisor of a jail's command: a process of its own, which `jailkit start` leaves behind.

It starts the command, keeps what that writes, waits for it, records how it ended, and takes the instance down. It is a
fresh Python that has forked once: it holds nothing of its caller's memory, and is nobody's child.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Callable
from functools import partial
from threading import Thread
from typing import Final

from jailkit.backends import backend_for
from jailkit.backends.base import Backend, ExecRequest, ExecResult, Running
from jailkit.errors import BackendError, JailkitError
from jailkit.lifecycle.enter import bounded
from jailkit.lifecycle.logs import RotatingLog
from jailkit.lifecycle.runs import LastRun, forget, logs_of, record, started_at
from jailkit.linux.fork import pipe
from jailkit.linux.wait import Signals
from jailkit.store import Jail, read_jail

STARTED: Final = b"started"
_CHUNK: Final = 1 << 16
_PATIENCE: Final = 2.0  # seconds for the last output: when the instance is down nobody can write any more
# What a host that goes down sends, and what somebody sends who does not know `jailkit stop`.
_ENDING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def main(directory: str, numbers: str) -> None:
    """Supervise the jail in `directory`.

    Args:
        directory: the jail's folder.
        numbers: descriptors with commas between. The first two hold locks, on the jail's folder and on the record of
            the run, until this process ends. Into the third goes STARTED, or what keeps the command from starting.
    """
    descriptors = [int(number) for number in numbers.split(",")]
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)  # At a level without care the command would get them.
    lock, _, answer = descriptors
    os.environ.pop("TERM", None)  # Whoever started it had a terminal; the command has none.
    jail = read_jail(directory)
    backend = backend_for(jail.level)
    log = RotatingLog(f"{logs_of(jail)}/output.log")
    try:
        running, output = _start(jail, backend, log)
    except Exception as error:
        with contextlib.suppress(JailkitError):  # What is being reported matters more.
            backend.stop(jail, signal.SIGKILL, 0.0)
        _let_go(jail, lock)
        _tell(answer, _reason(error))
        return
    signals = _signals(jail, running)
    _tell(answer, STARTED)
    clean = _see_through(jail, backend, log, partial(running.wait, signals))
    output.join(_PATIENCE)
    if clean:
        _let_go(jail, lock)


def _let_go(jail: Jail, lock: int) -> None:
    """End the run, in an order that lets whoever sees that it has ended destroy the jail."""
    os.close(lock)
    forget(jail)


def _start(jail: Jail, backend: Backend, log: RotatingLog) -> tuple[Running, Thread]:
    """Start the command, its output going into the log.

    Raises:
        JailkitError: it could not be started; the message says why.
    """
    # Python itself must not find it ignored, or the kernel throws the exit status away (wait(2), NOTES).
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    read, write = pipe()
    for stream in (1, 2):
        os.dup2(write, stream)
    os.close(write)
    runtime = jail.runtime
    try:
        running = backend.spawn(jail, bounded(ExecRequest(runtime.command, started=True), runtime.limits.wall_time))
    finally:
        _to_null()  # While this process could write too, the end of the output would not be seen.
    output = Thread(target=_copy, args=(read, log), daemon=True)
    output.start()
    if not running.begun():
        result = running.wait()
        brief, _, remedy = (result.message or result.reason).partition("\n  Try: ")
        raise BackendError(f"cannot start jail {jail.name}: {brief}", resolution=remedy or None)
    return running, output


def _to_null() -> None:
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for stream in (1, 2):
        os.dup2(null, stream)
    os.close(null)


def _copy(source: int, log: RotatingLog) -> None:
    while chunk := os.read(source, _CHUNK):
        log.write(chunk)


def _see_through(jail: Jail, backend: Backend, log: RotatingLog, wait: Callable[[], ExecResult]) -> bool:
    """Wait for the command, record how it ended, and end what it has left behind.

    False when that did not go well. The record of the run must stay then, so that the next command knows.
    """
    runtime = jail.runtime
    try:
        result = wait()
        with contextlib.suppress(OSError):  # A full disk. That the run has ended is seen all the same.
            record(jail, LastRun.of(started_at(jail), result))
        backend.stop(jail, runtime.stop_signal, runtime.stop_timeout)
    except JailkitError as error:
        log.write(f"[jailkit: {error}]\n".encode())
    except Exception:
        log.write(_traceback())
    else:
        return True
    return False


def _signals(jail: Jail, running: Running) -> Signals:
    """Turn what would end this process into the jail's own signal for its command."""
    read, write = pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write)
    for number in _ENDING:
        signal.signal(number, lambda *_: None)  # That there is a handler makes the number come out of the pipe.

    def end(number: int) -> None:
        if number in _ENDING:
            running.send(jail.runtime.stop_signal)

    return Signals(read, end)


def _reason(error: Exception) -> bytes:
    """Give what `start` makes its own error of; what is a bug keeps its traceback."""
    if isinstance(error, JailkitError):
        return json.dumps([error.brief, error.details, error.resolution]).encode()
    return _traceback()


def _traceback() -> bytes:
    import traceback  # Not for every start: it takes some milliseconds.

    return traceback.format_exc().encode()


def _tell(answer: int, message: bytes) -> None:
    with contextlib.suppress(BrokenPipeError):  # Whoever started it was killed meanwhile.
        os.write(answer, message)
    os.close(answer)
