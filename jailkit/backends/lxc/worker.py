"""The process in which containers are launched: small, of one thread, and the parent of every monitor.

It reads orders from a socket and answers each with the descriptor of the monitor, then with the pid of the container's
first process or with an error. It ends when its caller does, and takes the transient containers along. PR_SET_PDEATHSIG
would not do: it is about the thread that started the worker. Nor does the end of the socket: a child that the caller
forked may have inherited it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import time
from collections.abc import Mapping
from typing import Final, NamedTuple

from jailkit.backends.lxc.arrived import read_arrived, shortfalls
from jailkit.backends.lxc.config import INIT, log_file
from jailkit.backends.lxc.log import find_cause
from jailkit.backends.lxc.order import LaunchOrder
from jailkit.backends.lxc.record import to_error, to_record
from jailkit.backends.lxc.stage import Strings, become_monitor, load_binding, open_gate
from jailkit.errors import BackendError
from jailkit.linux.libc import CLONE_NEWUSER, close_range, setns

MESSAGE: Final = 1 << 17  # bytes of the longest message
_PATIENCE: Final = 20.0  # seconds until a container runs
_PAUSE: Final = 1  # milliseconds
_GRACE: Final = 5.0  # seconds for a monitor to clean up behind its container
_REPORT: Final = 1 << 16
_FIRST: Final = 3  # after the standard streams
_LAST: Final = 0xFFFFFFFF


class _Monitor(NamedTuple):
    """A monitor; `report` is the pipe of become_monitor."""

    order: LaunchOrder
    pid: int
    pidfd: int
    report: int


class _CallerGoneError(Exception):
    """Whoever gave the order is not there any more."""


class _Service:
    def __init__(self, channel: socket.socket, caller: int) -> None:
        self._channel = channel
        self._caller = caller
        self._transient: dict[int, _Monitor] = {}  # by the descriptor of the container's first process
        self._monitors: dict[int, int] = {}  # pids by descriptors
        self._poller = select.poll()
        for descriptor in (channel.fileno(), caller):
            self._poller.register(descriptor, select.POLLIN)

    def serve(self) -> None:
        """Serve until the caller is gone."""
        with contextlib.suppress(_CallerGoneError, BrokenPipeError, ConnectionResetError):
            while True:
                for descriptor, _ in self._poller.poll():
                    self._attend(descriptor)

    def _attend(self, descriptor: int) -> None:
        if descriptor == self._caller:
            raise _CallerGoneError
        if descriptor in self._monitors:
            self._bury(descriptor)
            return
        message = self._channel.recv(MESSAGE)
        if not message:
            raise _CallerGoneError
        try:
            self._launch(LaunchOrder.load(json.loads(message)))
        except BackendError as error:
            self._say({"error": to_record(error)})

    def _say(self, message: Mapping[str, object]) -> None:
        self._channel.send(json.dumps(message).encode())

    def _launch(self, order: LaunchOrder) -> None:
        monitor = self._fork(order)
        try:
            init = self._await(monitor)
            pidfd = _open_init(order, init)
            self._say({"init": init})  # A container of which nobody has heard must not stay.
        except BaseException:
            _abort(monitor)
            raise
        finally:
            os.close(monitor.report)
        self._monitors[monitor.pidfd] = monitor.pid
        self._poller.register(monitor.pidfd, select.POLLIN)
        if order.transient:
            self._transient[pidfd] = monitor
        else:
            os.close(pidfd)

    def _fork(self, order: LaunchOrder) -> _Monitor:
        """Make the child, and tell the caller of it before it does anything."""
        gate, let_go = os.pipe()
        report, theirs = os.pipe()
        worker = os.getpid()
        pid = os.fork()
        if pid == 0:
            os.close(let_go)  # Or it would never see the end of the pipe.
            become_monitor(order, Strings(gate, theirs, worker))  # and does not come back
        os.close(gate)
        os.close(theirs)
        monitor = _Monitor(order, pid, os.pidfd_open(pid), report)
        os.set_blocking(report, False)
        socket.send_fds(self._channel, [json.dumps({"monitor": pid}).encode()], [monitor.pidfd])
        open_gate(let_go)
        os.close(let_go)
        return monitor

    def _await(self, monitor: _Monitor) -> int:
        """Wait until the container runs, and give the pid of its first process."""
        poller = select.poll()
        for descriptor in (monitor.pidfd, self._caller):
            poller.register(descriptor, select.POLLIN)
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            for descriptor, _ in poller.poll(_PAUSE):
                if descriptor == self._caller:
                    raise _CallerGoneError
                raise _failure(monitor)
            if init := _find_init(monitor.pid):
                return init
        raise _explain(monitor.order, f"it did not run within {_PATIENCE:.0f} s")

    def _bury(self, pidfd: int) -> None:
        self._poller.unregister(pidfd)
        os.waitpid(self._monitors.pop(pidfd), 0)
        for init, monitor in list(self._transient.items()):
            if monitor.pidfd == pidfd:
                del self._transient[init]
                os.close(init)
        os.close(pidfd)

    def end(self) -> None:
        """End the transient containers by their first process, so that LXC cleans up behind them."""
        for init in self._transient:
            _kill(init)
        deadline = time.monotonic() + _GRACE
        for monitor in self._transient.values():
            poller = select.poll()
            poller.register(monitor.pidfd, select.POLLIN)
            if not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
                _kill(monitor.pidfd)
            os.waitpid(monitor.pid, 0)


def _abort(monitor: _Monitor) -> None:
    """End a monitor and what it has begun; the container's child may not be tied to it yet (see `groups`)."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(monitor.pidfd, signal.SIGSTOP)
        os.waitid(os.P_PIDFD, monitor.pidfd, os.WSTOPPED | os.WEXITED | os.WNOWAIT)  # It makes no more children.
        for child in _children(monitor.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)  # Until its parent has waited for it, the pid is its own.
    _kill(monitor.pidfd)
    os.waitpid(monitor.pid, 0)
    os.close(monitor.pidfd)


def _children(pid: int) -> list[int]:
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return []  # It has ended.


def _open_init(order: LaunchOrder, init: int) -> int:
    """Open a descriptor of the first process, after a look at whether all that was ordered is so."""
    try:
        wrong = shortfalls(order, read_arrived(init))
        pidfd = os.pidfd_open(init)
    except OSError as error:
        raise _explain(order, f"its first process ended at once ({error.strerror})") from error
    if wrong:
        os.close(pidfd)
        raise BackendError(
            f"cannot start container {order.name}: it is not as closed as ordered",
            details=wrong,
            resolution="another version of liblxc; 5.0.2 is known to work",
        )
    return pidfd


def _find_init(monitor: int) -> int | None:
    """Give the pid of the monitor's child that has become the first process of a container."""
    for child in _children(monitor):
        with contextlib.suppress(OSError), open(f"/proc/{child}/comm", encoding="utf-8", errors="replace") as file:
            # The last thing that LXC does in there is to execute it.
            if file.read().rstrip("\n") == os.path.basename(INIT):
                return child
    return None


def _failure(monitor: _Monitor) -> BackendError:
    """Say why a monitor ended before its container ran."""
    with contextlib.suppress(BlockingIOError):
        if record := os.read(monitor.report, _REPORT):
            return to_error(json.loads(record))
    ended = os.waitid(os.P_PIDFD, monitor.pidfd, os.WEXITED | os.WNOWAIT)
    if ended is None or ended.si_code != os.CLD_EXITED:
        return _explain(monitor.order, f"lxc-start ended by signal {ended.si_status if ended else 'unknown'}")
    if ended.si_status == 0:  # It finds that there is nothing to do.
        return _explain(monitor.order, "a container of this name runs already")
    return _explain(monitor.order, f"lxc-start ended with {ended.si_status} and gave no reason")


def _explain(order: LaunchOrder, otherwise: str) -> BackendError:
    """Make an error of what LXC's log says; `otherwise` when it says nothing."""
    try:
        with open(log_file(order), encoding="utf-8", errors="replace") as file:
            cause = find_cause(file.read())
    except OSError:
        cause = None
    if cause is None:
        return BackendError(f"cannot start container {order.name}: {otherwise}", details=[f"log: {log_file(order)}"])
    lines = [f"LXC: {line}" for line in cause.lines]
    return BackendError(f"cannot start container {order.name}: {cause.reason}", details=lines, resolution=cause.remedy)


def _kill(pidfd: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)


def main(caller: int) -> None:
    """Serve the process `caller` over the socket that is standard input."""
    channel = _settle()
    try:
        pidfd = os.pidfd_open(caller)
    except ProcessLookupError:
        return
    if os.getppid() != caller:
        return
    with contextlib.suppress(BackendError):  # Each order is answered with what is missing.
        load_binding()
    if os.geteuid() != 0:
        _become_root()
    service = _Service(channel, pidfd)
    try:
        service.serve()
    finally:
        service.end()


def _become_root() -> None:
    """Live, and all that this process starts, where an ordinary user is as root."""
    from jailkit.store.privilege import outer_namespace

    outer = outer_namespace()
    if outer is not None:
        setns(outer, CLONE_NEWUSER)


def _settle() -> socket.socket:
    """Keep nothing of the caller's but the socket: its descriptors would stay open as long as a container runs."""
    close_range(_FIRST, _LAST)
    channel = socket.socket(fileno=fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, _FIRST))
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(_FIRST):
        os.dup2(null, number)
    os.close(null)
    os.chdir("/")
    os.umask(0o022)
    return channel
