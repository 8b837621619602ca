"""How a command comes into a jail, and how what becomes of it is told; what the backends share.

`translate` is pure: jail and request in, a description of the entering out. What only some calls need is imported in
them: `jailkit exec` is to cost little more than the command.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from jailkit.backends.accounts import find_account
from jailkit.backends.base import ExecRequest, ExecResult
from jailkit.backends.outcome import result_of
from jailkit.errors import BackendError, UsageError
from jailkit.levels import LEVELS
from jailkit.linux.capabilities import capability_mask
from jailkit.linux.enter import Confinement, Entering, Identity, Way
from jailkit.linux.fork import Child, above_streams, pipe
from jailkit.linux.spawn import INHERITED, Streams, spawn
from jailkit.linux.wait import Reader, Signals, Writer, executed, wait
from jailkit.plan.settings import Account, Runtime

if TYPE_CHECKING:
    from jailkit.store import Jail

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def translate(jail: Jail, request: ExecRequest, caller: Mapping[str, str]) -> Entering:
    """Describe how `request` gets into `jail`; `caller` is the caller's environment. Pure.

    Raises:
        UsageError: there is no command, no such user, or that user is root where the jail has not accepted it.
    """
    runtime = jail.runtime
    argv = request.command or runtime.command
    if not argv:
        raise UsageError(f"cannot run in jail {jail.name}: there is no command", resolution="name one after --")
    level = LEVELS[jail.level]
    confines = level.confines
    account = find_account(jail, request.user)
    if jail.has_one_id and account != find_account(jail, None):
        raise _stranger(jail, account)
    if confines and not level.mount_namespace and account.uid == 0 and not runtime.root_accepted:
        raise _root_refused(jail)
    inherited = _clean_environment(account, caller) if confines else dict(caller)
    return Entering(
        argv=tuple(argv),
        environment=tuple((inherited | dict(runtime.environment) | dict(request.environment)).items()),
        workdir=os.path.join(runtime.workdir or account.home, request.workdir or ""),
        at_home=not (runtime.workdir or request.workdir),
        # uid 0 is what the careless level means; only an explicit wish for another user changes it.
        identity=_identity(jail, account) if confines or request.user is not None else None,
        confinement=_confinement(runtime) if confines else None,
        terminal=request.terminal is not None,
    )


def _identity(jail: Jail, account: Account) -> Identity:
    # Without a range of ids nobody may change groups (user_namespaces(7)).
    return Identity(account.uid, account.gid, None if jail.has_one_id else account.groups)


def _stranger(jail: Jail, account: Account) -> UsageError:
    return UsageError(
        f"cannot run as {account.name} in jail {jail.name}: only its own user {jail.runtime.user} has an id here",
        resolution="ids in /etc/subuid and /etc/subgid give a new jail more: see jailkit doctor",
    )


def _root_refused(jail: Jail) -> UsageError:
    return UsageError(
        f"cannot run as uid 0 in jail {jail.name}: at level {jail.level} it may signal what the host's root runs",
        resolution=f"another --user, or list isolation.user under `accept-gaps` in the profile, then {jail.renewal}",
    )


def _clean_environment(account: Account, caller: Mapping[str, str]) -> dict[str, str]:
    environment = {
        "PATH": DEFAULT_PATH,
        "HOME": account.home,
        "USER": account.name,
        "LOGNAME": account.name,
        "SHELL": account.shell,
        "LANG": "C.UTF-8",
    }
    if "TERM" in caller:
        environment["TERM"] = caller["TERM"]
    return environment


def _confinement(runtime: Runtime) -> Confinement:
    limits = runtime.limits
    pairs = ((resource.RLIMIT_NOFILE, limits.open_files), (resource.RLIMIT_FSIZE, limits.file_size))
    return Confinement(
        capabilities=capability_mask(runtime.isolation.capabilities),
        no_new_privileges=runtime.isolation.no_new_privileges is not False,
        limits=tuple((number, value) for number, value in pairs if value is not None),
    )


class _Plumbing:
    """The pipes of one command: what the child gets, what is served here, what to close after the fork."""

    def __init__(self) -> None:
        self.streams: Streams = INHERITED
        self.ends: dict[str, Reader | Writer] = {}
        self.theirs: list[int] = []


class RunningChild(NamedTuple):
    """A command in a jail that was started and not waited for yet."""

    jail: Jail
    child: Child
    entering: Entering
    timeout: float | None
    ends: Mapping[str, Reader | Writer]

    def begun(self) -> bool:
        """Wait until the program has been executed, or cannot be: then False, and `wait` tells why."""
        return executed(self.child)

    def send(self, number: int) -> None:
        """Signal the command's process group; at `chroot-root`, which gives it none, the command alone."""
        self.child.send(number)

    def abandon(self) -> None:
        """Kill the command, whatever it has come to, instead of waiting for it."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.child.pidfd, signal.SIGKILL)
        self.wait()

    def wait(self, signals: Signals | None = None) -> ExecResult:
        """Wait for the command, and attend to `signals` meanwhile. Call it once, in the thread that started it.

        Raises:
            BackendError: somebody else waited for it, or this process ignores SIGCHLD.
        """
        try:
            ended = wait(self.child, (*self.ends.values(), *([signals] if signals else [])), self.timeout)
        except ChildProcessError as error:
            raise _unseen(self.jail) from error
        return result_of(self.jail, self.entering, ended, self.ends)


def _unseen(jail: Jail) -> BackendError:
    return BackendError(
        f"cannot learn how the command in jail {jail.name} ended: somebody else waited for it",
        resolution="let the calling program neither ignore SIGCHLD nor wait for children of others",
    )


def start_command(jail: Jail, entering: Entering, way: Way, request: ExecRequest) -> RunningChild:
    """Fork the command on its way into the jail, with the standard streams that the request asks for.

    Raises:
        UsageError: an argument cannot be passed on.
        BackendError: no process could be started.
    """
    try:
        child, ends = _start(entering, way, request)
    except ChildProcessError as error:
        raise _unseen(jail) from error
    except OSError as error:
        raise BackendError(f"cannot start a command in jail {jail.name}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"cannot run in jail {jail.name}: {error}") from error
    return RunningChild(jail, child, entering, request.timeout, ends)


def _start(entering: Entering, way: Way, request: ExecRequest) -> tuple[Child, Mapping[str, Reader | Writer]]:
    plumbing = _Plumbing()
    try:
        _lay_pipes(plumbing, request)
        return spawn(entering, way, plumbing.streams), plumbing.ends
    except BaseException:
        for end in plumbing.ends.values():
            os.close(end.descriptor)
        raise
    finally:
        for descriptor in plumbing.theirs:
            os.close(descriptor)


def _lay_pipes(plumbing: _Plumbing, request: ExecRequest) -> None:
    if request.terminal is not None:
        plumbing.streams = (request.terminal, request.terminal, request.terminal)
        return
    stdin = stdout = stderr = None
    if request.stdin is not None:
        stdin, write = pipe()
        plumbing.theirs.append(stdin)
        plumbing.ends["stdin"] = Writer(write, request.stdin)
    elif request.capture:
        stdin = above_streams(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        plumbing.theirs.append(stdin)
    if request.capture:
        stdout = _lay_output(plumbing, "stdout", request.output_limit)
        stderr = _lay_output(plumbing, "stderr", request.output_limit)
    plumbing.streams = (stdin, stdout, stderr)


def _lay_output(plumbing: _Plumbing, name: str, limit: int) -> int:
    read, write = pipe()
    plumbing.theirs.append(write)
    plumbing.ends[name] = Reader(read, limit)
    return write
