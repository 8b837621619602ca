"""Asking for a container: the caller's side of the worker.

liblxc is in no process but the worker's children: one that crashes, hangs or is killed takes nobody along.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from threading import Lock
from types import TracebackType
from typing import Any, Final, NoReturn, Self

from jailkit.backends.lxc.groups import end_groups, remove_groups
from jailkit.backends.lxc.order import LaunchOrder
from jailkit.backends.lxc.record import to_error
from jailkit.errors import BackendError
from jailkit.linux.fork import above_streams

_PATIENCE: Final = 30.0  # seconds for an answer; longer than the worker's own, which knows more
_GRACE: Final = 5.0  # seconds for a killed monitor to go
_SETTLING: Final = 1.0  # seconds for the cgroups of a failed launch to get empty
_MESSAGE: Final = 1 << 17  # bytes of the longest message
_CODE: Final = (
    "import sys; sys.path[:] = sys.argv[2:]; from jailkit.backends.lxc.worker import main; main(int(sys.argv[1]))"
)
_IGNORED: Final = (signal.SIGPIPE, signal.SIGXFSZ)  # by every interpreter
# What a caller may ignore, and so would all that it starts.
_SIGNALS: Final = (signal.SIGCHLD, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)


def launch(order: LaunchOrder) -> int:
    """Start a container by this process's own worker, and give the pid of its first process.

    Raises:
        BackendError: as Worker.launch.
    """
    return _shared.launch(order)


def prepare() -> None:
    """Start this process's own worker, if there is none, by a fork: it is ready before a new interpreter would be.

    Only for a program that has one thread, as jailkit's own.

    Raises:
        BackendError: no process is to be had.
    """
    _shared.start(_fork)


class Worker:
    """Launches containers, one after the other, from any thread. The process starts with `start` or the first order.

    Transient containers live as long as the worker, which lives as long as this process or until `close`.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._channel: socket.socket | None = None
        self._pid = 0
        self._owner = 0

    def __enter__(self) -> Self:
        """Start the process."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it, and with it the transient containers."""
        self.close()

    def start(self, how: Callable[[socket.socket], int] | None = None) -> None:
        """Start the process where there is none, so that it gets ready while the caller does something else.

        `how` gives its pid, told its end of the channel; by default a new interpreter is executed.

        Raises:
            BackendError: no process is to be had.
        """
        with self._lock:
            self._ensure(how)

    def launch(self, order: LaunchOrder) -> int:
        """Start a container and give the pid of its first process, which does nothing but reap.

        Raises:
            BackendError: it does not run, and nothing of it is left; with LXC's own reason where that is the one.
        """
        with self._lock:
            channel = self._ensure()
            try:
                return self._ask(channel, order)
            except BackendError:
                _sweep(order)
                raise

    def close(self) -> None:
        """End the process, and with it the transient containers."""
        with self._lock:
            if self._channel is not None:
                self._channel.close()
                self._reap()

    def _ensure(self, how: Callable[[socket.socket], int] | None = None) -> socket.socket:
        if self._channel is None or self._owner != os.getpid():  # A forked child has a worker of its own.
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            try:
                self._pid = (how or _spawn)(theirs)
            except OSError as error:
                ours.close()
                raise BackendError(f"cannot start the worker for LXC: {error.strerror}") from error
            finally:
                theirs.close()
            self._channel, self._owner = ours, os.getpid()
        return self._channel

    def _ask(self, channel: socket.socket, order: LaunchOrder) -> int:
        monitor = None
        try:
            channel.send(json.dumps(order._asdict()).encode())
            answer, monitor = _receive(channel)
            if monitor is not None:
                answer, _ = _receive(channel)
        except BaseException as error:
            # Whatever it was: nothing that comes from this worker now would be the answer to another order.
            self._discard(monitor)
            _end(order)
            if isinstance(error, OSError):
                raise _broken(order, error) from error
            raise
        finally:
            if monitor is not None:
                os.close(monitor)
        if "error" in answer:
            raise to_error(answer["error"])
        return int(answer["init"])

    def _discard(self, monitor: int | None) -> None:
        """Kill the worker, and the monitor whose container nobody waits for any more."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)  # A child that was not waited for: the pid is its own.
        if monitor is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(monitor, signal.SIGKILL)
            _ready(monitor, _GRACE)
        if self._channel is not None:
            self._channel.close()
        self._reap()

    def _reap(self) -> None:
        self._channel = None
        with contextlib.suppress(ChildProcessError):  # The caller ignores SIGCHLD, or this is a fork of it.
            os.waitpid(self._pid, 0)


def _spawn(channel: socket.socket) -> int:
    """Start the worker in a session of its own, with the socket as standard input.

    It finds modules where this process does, and reads no settings of Python's (-I, -S).
    """
    stdin = above_streams(os.dup(channel.fileno()))
    paths = [path for path in sys.path if os.path.isabs(path)]
    try:
        return os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", "-c", _CODE, str(os.getpid()), *paths],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, stdin, 0)],
            setsid=True,
            setsigmask=(),
            setsigdef=_SIGNALS,
        )
    finally:
        os.close(stdin)


def _fork(channel: socket.socket) -> int:
    """Fork the worker, with the socket as standard input, so that it has what this process has imported."""
    caller = os.getpid()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # No handler of ours runs in the child.
    try:
        pid = os.fork()
        if pid == 0:
            _serve(channel, caller)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return pid


def _serve(channel: socket.socket, caller: int) -> NoReturn:
    try:
        os.setsid()
        os.dup2(channel.fileno(), 0)
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, *_IGNORED}:
            signal.signal(number, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        from jailkit.backends.lxc.worker import main

        main(caller)
    finally:
        os._exit(0)


def _receive(channel: socket.socket) -> tuple[dict[str, Any], int | None]:
    """Give a message of the worker, and the descriptor that came with it.

    Raises:
        OSError: ETIMEDOUT, or the worker is gone.
    """
    if not _ready(channel.fileno(), _PATIENCE):
        raise TimeoutError("no answer")
    data, descriptors, _, _ = socket.recv_fds(channel, _MESSAGE, 1)
    if not data:
        raise ConnectionResetError("the worker is gone")
    return json.loads(data), descriptors[0] if descriptors else None


def _ready(descriptor: int, seconds: float) -> bool:
    poller = select.poll()  # select(2) takes no descriptor above 1023.
    poller.register(descriptor, select.POLLIN)
    return bool(poller.poll(seconds * 1000))


def _broken(order: LaunchOrder, error: OSError) -> BackendError:
    if isinstance(error, TimeoutError):
        return BackendError(f"cannot start container {order.name}: LXC did not answer within {_PATIENCE:.0f} s")
    return BackendError(f"cannot start container {order.name}: the process that was to do it was killed")


def _end(order: LaunchOrder) -> None:
    """End what a monitor that was killed half-way may have left."""
    with contextlib.suppress(OSError):
        end_groups(order.groups)


def _sweep(order: LaunchOrder) -> None:
    with contextlib.suppress(OSError):  # The error that is on its way says more.
        remove_groups(order.groups, _SETTLING)


_shared = Worker()


def _renew() -> None:
    """Give a forked child a worker of its own: the parent's serves the parent, and its lock may be held."""
    global _shared
    _shared = Worker()


os.register_at_fork(after_in_child=_renew)
atexit.register(lambda: _shared.close())
