"""Starting a jail: its instance, and its command under a supervisor."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import Final

from jailkit.backends import backend_for
from jailkit.backends.base import Backend
from jailkit.errors import BackendError, StateError
from jailkit.levels import LEVELS
from jailkit.lifecycle.runs import PATIENCE, await_end, begin, forget, in_turn, share, supervision
from jailkit.lifecycle.settle import settle
from jailkit.lifecycle.stop import end
from jailkit.lifecycle.supervise import STARTED
from jailkit.linux.fork import above_streams, pipe
from jailkit.store import Jail, Store, read_jail

_PACKAGES: Final = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_ROUND: Final = 0.2  # seconds between looks at what a supervisor is about
# Forked at once, so that the first process, which is our child, ends at once: the supervisor is nobody's child.
_PROGRAM: Final = """\
import os, sys
if os.fork(): os._exit(0)
sys.path[:] = sys.argv[3:]
from jailkit.lifecycle.supervise import main
main(*sys.argv[1:3])
os._exit(0)
"""


def start(name: str, store: Store, *, idle: bool = False) -> list[str]:
    """Start a jail, and return when its command runs.

    At a level with namespaces a jail without a command, or with `idle`, only waits for others to enter.

    When it fails, the jail is as stopped as before. Gives a line for each thing that had to be put in order first.

    Raises:
        StateError: there is no such jail, another command is changing it, it runs, or has nothing to run.
        BackendError: it could not be started; the message says why.
    """
    notes = settle(name, store, kill=True)
    with store.locked(name, exclusive=False) as directory:
        jail = read_jail(directory)
        backend = backend_for(jail.level)
        serves = jail.runtime.serves and not idle
        if not (serves or LEVELS[jail.level].mount_namespace):
            raise StateError(
                f"cannot start jail {name}: at level {jail.level} it is no more than its command, and none is to run",
                resolution=f"add `command` to the profile, then {jail.renewal}; or jailkit run {name}",
            )
        with in_turn(jail):
            _check_stopped(jail, backend)
            if serves:
                _start_command(jail, backend)
            else:
                backend.start(jail)
    return notes


def _check_stopped(jail: Jail, backend: Backend) -> None:
    status = backend.status(jail)
    deadline = time.monotonic() + PATIENCE
    # A supervisor whose command has ended just now is about to end too.
    while status == "stopped" and time.monotonic() < deadline:
        if await_end(jail, _ROUND):
            return
        status = backend.status(jail)
    pids = backend.processes(jail)
    raise StateError(
        f"cannot start jail {jail.name}: it is {'frozen' if status == 'frozen' else 'running'}",
        details=[f"pid {pid}" for pid in pids[:20]],
        resolution=f"jailkit stop {jail.name}",
    )


def _start_command(jail: Jail, backend: Backend) -> None:
    """Bring the instance up and start the command in it; if that fails, or is interrupted, take it down again."""
    try:
        lock = above_streams(share(jail))
        try:
            run = above_streams(begin(jail))
            try:
                backend.start(jail)
                _launch(jail, (lock, run))
            finally:
                os.close(run)
        finally:
            os.close(lock)
    except BaseException:
        if supervision(jail) != "none":
            end(jail, signal.SIGKILL, 0.0)
            forget(jail)
        raise


def _launch(jail: Jail, locks: tuple[int, int]) -> None:
    """Start the supervisor, which inherits the locks, and wait until it has started the command.

    Raises:
        BackendError: it could not.
    """
    read, write = pipe()
    with open(read, "rb") as answers:
        try:
            process = _spawn(jail, (*locks, write))
        except OSError as error:
            raise BackendError(f"cannot start jail {jail.name}: no supervisor: {error}") from error
        finally:
            os.close(write)
        with process:
            answer = answers.read()
    if not answer.endswith(STARTED):
        raise _failed(jail, answer)


def _spawn(jail: Jail, numbers: tuple[int, ...]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*_interpreter(jail), jail.directory, ",".join(map(str, numbers)), *_path()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=numbers[-1],
        pass_fds=numbers,
        cwd="/",
        start_new_session=True,
    )


def _interpreter(jail: Jail) -> list[str]:
    if not sys.executable:
        raise BackendError(f"cannot start jail {jail.name}: this program does not know where its Python is")
    # -I: the caller's PYTHON* variables and its directory are none of a supervisor's business.
    return [sys.executable, "-I", "-S", "-c", _PROGRAM]


def _path() -> list[str]:
    """Give the folders of modules, this package's first: what is relative would be another in the supervisor."""
    return list(dict.fromkeys([_PACKAGES, *filter(os.path.isabs, sys.path)]))


def _failed(jail: Jail, answer: bytes) -> BackendError:
    """Give the error that a supervisor tells, or for one that has died without telling."""
    try:
        brief, details, resolution = json.loads(answer)
        return BackendError(brief, details=details, resolution=resolution)
    except ValueError:
        said = answer.decode(errors="replace").strip().splitlines()[-5:]
        return BackendError(f"cannot start jail {jail.name}: its supervisor was killed, or failed", details=said)
