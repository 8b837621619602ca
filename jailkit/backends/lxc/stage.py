"""The child of the worker that becomes LXC's monitor: it makes the place where the container starts, and executes LXC.

It has a mount namespace of its own, in which all that it mounts ends with the monitor. A failure is a record in a
pipe, which execve(2) closes.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Final, NamedTuple

from jailkit.backends.lxc.config import (
    LXC_RUN,
    STAGE,
    STAGED_INIT,
    STAGED_ROOT,
    STAGED_SYS,
    config_file,
    log_file,
    render,
    translate,
)
from jailkit.backends.lxc.loaded import differences
from jailkit.backends.lxc.monitor import find_monitor
from jailkit.backends.lxc.order import LaunchOrder
from jailkit.backends.lxc.record import to_record
from jailkit.errors import BackendError
from jailkit.linux.calls import AtOnce
from jailkit.linux.idle import idle_program
from jailkit.linux.libc import CLONE_NEWNS, PR_SET_PDEATHSIG, prctl, unshare
from jailkit.linux.mounting import (
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    mount,
)
from jailkit.linux.userns import make_owners
from jailkit.linux.view import Trees

_GO: Final = b"x"
_REMEDIES: Final = {
    errno.EPERM: "run it as root",
    errno.EACCES: "run it as root",
    errno.EOPNOTSUPP: "keep it on a file system that can map ids, such as ext4, xfs, btrfs or tmpfs",
}


_Act = Callable[[], object]


class Strings(NamedTuple):
    """What ties the child to the worker.

    Attributes:
        gate: a pipe; nothing is done before there is a byte in it, and nothing at all if it closes without one.
        report: the pipe for the record of a failure.
        worker: the worker's pid.
    """

    gate: int
    report: int
    worker: int


def become_monitor(order: LaunchOrder, strings: Strings) -> None:
    """Prepare everything and become `lxc-start`; never return into the worker's program."""
    try:
        if os.read(strings.gate, 1) != _GO:
            return  # The worker was killed.
        _tie(order, strings.worker)
        for step, act in _steps(order):
            _take(step, act)
    except BackendError as error:
        _report(strings.report, error)
    except BaseException as error:
        _report(strings.report, BackendError(f"cannot prepare the container: {error!r}"))
    finally:
        os._exit(125)


def open_gate(gate: int) -> None:
    """Let the child begin."""
    os.write(gate, _GO)


def _report(pipe: int, error: BackendError) -> None:
    with contextlib.suppress(OSError):  # Nobody reads it any more.
        os.write(pipe, json.dumps(to_record(error)).encode())


def _take(step: str, act: _Act) -> None:
    try:
        act()
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0)
        details = (str(error.filename),) if error.filename else ()
        raise BackendError(f"cannot {step}: {error.strerror or error}", details=details, resolution=remedy) from error


def _tie(order: LaunchOrder, worker: int) -> None:
    """Let the kernel kill a transient monitor, and so its container, when the worker ends."""
    if order.transient:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != worker:
            raise BackendError("cannot go on without the worker")  # It ended before that.
    os.setsid()


def _steps(order: LaunchOrder) -> Iterator[tuple[str, _Act]]:
    def own_mounts() -> None:
        unshare(CLONE_NEWNS)
        # Private, not slave: no mount of the host may come between either.
        mount("none", "/", "none", MS_REC | MS_PRIVATE)

    yield "make a mount namespace", own_mounts
    yield f"make {order.folder}", lambda: os.makedirs(order.folder, 0o700, exist_ok=True)
    yield f"prepare the root {order.view.root.source}", lambda: _set_stage(order)
    yield f"write {config_file(order)}", lambda: _write_config(order)
    yield "load the configuration", lambda: _compare(order)
    yield "execute lxc-start", lambda: _execute(order)


def _set_stage(order: LaunchOrder) -> None:
    # Opened before the tmpfs covers a path in which they may lie.
    trees = Trees(order.view, make_owners(*order.ids) if order.ids and not order.ordinary else None, AtOnce())
    trees.open()
    _make_run_folder()
    mount("none", LXC_RUN, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=256k")
    for folder in (STAGE, STAGED_ROOT, STAGED_SYS):
        os.mkdir(folder, 0o755)
    trees.assemble(STAGED_ROOT, trees.lowers())
    if order.network == "host":
        mount("none", STAGED_SYS, "sysfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC)
    with open(STAGED_INIT, "wb") as file:
        file.write(idle_program())
        os.fchmod(file.fileno(), 0o555)


def _make_run_folder() -> None:
    try:
        os.mkdir(LXC_RUN)
    except FileExistsError:
        return
    except PermissionError:
        # An ordinary user's mount namespace can have a /run of its own.
        mount("none", os.path.dirname(LXC_RUN), "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=64k")
        os.mkdir(LXC_RUN)


def _write_config(order: LaunchOrder) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(log_file(order))  # What is in it then is about this launch.
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(config_file(order), flags, 0o600), "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(render(translate(order)))


def load_binding() -> ModuleType:
    """Import liblxc's binding: the extension alone, since what python3-lxc puts on top hides failures and costs 14 ms.

    Raises:
        BackendError: it is not there.
    """
    try:
        import _lxc
    except ImportError as error:
        raise BackendError(
            f"cannot load liblxc: {error}",
            details=[f"by {sys.executable}"],
            resolution="apt install lxc python3-lxc, and run jailkit by Debian's own python3 "
            "or in an environment made from it with --system-site-packages",
        ) from error
    module: ModuleType = _lxc
    return module


def _compare(order: LaunchOrder) -> None:
    _lxc = load_binding()
    os.environ["XDG_RUNTIME_DIR"] = LXC_RUN  # In a user namespace LXC has its locks there, or in a home.
    container = _lxc.Container(order.name, STAGE)
    container.clear_config()
    pairs = translate(order)
    if not container.load_config(config_file(order)):
        refused = [f"{key} = {value}" for key, value in pairs if not container.set_config_item(key, value)]
        raise BackendError(f"cannot start container {order.name}: LXC refuses its configuration", details=refused[:1])
    wrong = differences(pairs, container.get_config_item)
    if wrong:
        raise BackendError(
            f"cannot start container {order.name}: LXC has not taken the configuration as it was written",
            details=wrong,
            resolution="another version of liblxc; 5.0.2 is known to work",
        )


def _execute(order: LaunchOrder) -> None:
    program = find_monitor()
    if program is None:
        raise BackendError("cannot find lxc-start", resolution="apt install lxc")
    arguments = [program, "-n", order.name, "-P", STAGE, "-f", config_file(order), "-F"]
    # The path for -P is one that the container's root can walk, or LXC refuses it.
    # No PATH: without one LXC writes the maps of ids itself, which root may, instead of asking
    # newuidmap for ranges that jailkit has already allotted.
    os.execve(program, arguments, {"XDG_RUNTIME_DIR": LXC_RUN})
