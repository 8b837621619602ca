"""What a backend is, and what goes in and out of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from jailkit.levels import BackendName
from jailkit.linux.figures import Stats

if TYPE_CHECKING:
    from jailkit.linux.wait import Signals
    from jailkit.plan.model import Plan
    from jailkit.store import Jail

Outcome = Literal[
    "exited",
    "signalled",
    "timeout",
    "out-of-memory",
    "pids-limit",
    "cpu-limit",
    "seccomp",
    "not-found",
    "not-executable",
    "setup-failed",
]

# What the kernel says about a jail that `jailkit start` may have started.
Status = Literal["stopped", "running", "frozen"]


@dataclass(frozen=True, slots=True)
class Gap:
    """A setting that would not hold: its key in the profile, why it would not, and what to do instead."""

    key: str
    reason: str
    remedy: str


@dataclass(frozen=True, slots=True)
class ExecRequest:
    """One command to run in a jail.

    Attributes:
        command: the argument list; the first word is a path in the jail or a name on the jail's PATH.
        user: a name or a uid of the jail; None takes the jail's own user.
        environment: laid over the jail's environment.
        workdir: a directory in the jail; None takes the jail's own.
        timeout: seconds until the command, its group, its session and its descendants are killed; None waits for ever.
        stdin: bytes for standard input; None lets the command inherit it, or gives it nothing when `capture`.
        capture: collect standard output and error instead of passing them through.
        output_limit: bytes kept of each captured stream; what comes after is read and dropped.
        terminal: a descriptor of a terminal that becomes the command's controlling terminal.
        ephemeral: run in an instance of its own, whose changes of files vanish with it.
        started: run only in the instance that `start` made, and nowhere when that is gone.
    """

    command: tuple[str, ...]
    user: str | None = None
    environment: tuple[tuple[str, str], ...] = ()
    workdir: str | None = None
    timeout: float | None = None
    stdin: bytes | None = None
    capture: bool = False
    output_limit: int = 64 << 20
    terminal: int | None = None
    ephemeral: bool = False
    started: bool = False


@dataclass(frozen=True, slots=True)
class ExecResult:
    """What became of a command. Exactly one of `exit_code` and `signal` is set once it has run.

    Attributes:
        reason: how it ended, in one word; where it met a limit of its cgroup, which.
        exit_code: 0 to 255, for a command that exited.
        signal: the number of the signal that ended it.
        wall_time: seconds from the fork to the end.
        cpu_time: user and system seconds of the command and the children it waited for (wait4(2)).
        throttled_time: seconds for which the jail's processes together had to wait for its limit of CPUs.
        peak_memory: bytes of the largest resident set among them (ru_maxrss, getrusage(2)). The kernel counts
            the launcher's own pages until execve(2), so this is never less than what the launcher had.
        stdout, stderr: captured bytes, None when they were passed through.
        truncated: output was longer than the limit.
        message: for a command that never ran, why, and what to do.
    """

    reason: Outcome
    exit_code: int | None = None
    signal: int | None = None
    wall_time: float = 0.0
    cpu_time: float = 0.0
    throttled_time: float = 0.0
    peak_memory: int = 0
    stdout: bytes | None = field(default=None, repr=False)
    stderr: bytes | None = field(default=None, repr=False)
    truncated: bool = False
    message: str | None = None

    @property
    def ok(self) -> bool:
        """True when the command ran and exited with 0, whatever limit it met on the way."""
        return self.exit_code == 0

    @property
    def shell_code(self) -> int:
        """The exit code a shell would show: the command's own, 128 + signal, 124 time-out, 125 to 127."""
        if self.reason == "timeout":
            return 124
        if self.signal is not None:
            return 128 + self.signal
        return {"setup-failed": 125, "not-executable": 126, "not-found": 127}.get(self.reason, self.exit_code or 0)

    def as_dict(self) -> dict[str, Any]:
        """Give plain data for JSON; captured bytes become text, undecodable ones escaped."""
        data = asdict(self)
        for stream in ("stdout", "stderr"):
            if data[stream] is not None:
                data[stream] = data[stream].decode("utf-8", "backslashreplace")
        return data


class Running(Protocol):
    """A command that was started in a jail and not waited for yet."""

    def begun(self) -> bool:
        """Wait until the program has been executed, or cannot be: then False, and `wait` tells why."""

    @property
    def timeout(self) -> float | None:
        """Seconds from its start until it is killed; None waits for ever."""

    def send(self, number: int) -> None:
        """Send a signal to the command and to the process group that it leads, if it leads one."""

    def wait(self, signals: Signals | None = None) -> ExecResult:
        """Wait for the command, and attend to `signals` meanwhile; once, and in the thread that started it."""


class Backend(Protocol):
    """A mechanism that turns a realized tree into a place where commands run apart from the host."""

    def create(self, jail: Jail) -> None:
        """Make the backend's own files beside the tree, when the jail is built and before its record is final.

        Raises:
            BackendError: they could not be made.
        """

    def start(self, jail: Jail) -> None:
        """Bring the jail's instance up, without the command. When it fails, nothing is left of the attempt.

        Raises:
            BackendError: it could not be brought up, or a limit did not arrive.
        """

    def status(self, jail: Jail) -> Status:
        """Ask the kernel, never a file, whether the instance that `start` made lives.

        Raises:
            BackendError: it cannot tell.
        """

    def stop(self, jail: Jail, number: int, timeout: float) -> None:
        """Signal all commands in the instance, kill after `timeout` seconds what is left, and take the instance down.

        Ends well when there is no instance, when it is frozen, and when somebody else stops it at the same time.

        Raises:
            BackendError, StateError: something of it could not be ended.
        """

    def freeze(self, jail: Jail) -> None:
        """Stop everything in the instance where it is, until `unfreeze`.

        Raises:
            StateError: the level cannot.
            BackendError: the kernel did not.
        """

    def unfreeze(self, jail: Jail) -> None:
        """Let everything in the instance go on.

        Raises:
            StateError, BackendError: as `freeze`.
        """

    def stats(self, jail: Jail) -> Stats:
        """Read what the jail uses.

        Raises:
            BackendError: it cannot be read.
        """

    def release(self, jail: Jail) -> None:
        """Give back what lies outside the jail's folder, before that is deleted. Can be repeated.

        Raises:
            BackendError: something could not be given back.
        """

    name: ClassVar[BackendName]

    def gaps(self, plan: Plan | Jail) -> Sequence[Gap]:
        """Name every setting of a plan, or of a jail made from one, that does not hold on this host."""

    def exec(self, jail: Jail, request: ExecRequest) -> ExecResult:
        """Run one command in the jail and wait for it.

        Raises:
            BackendError: entering failed before the command could start.
        """

    def spawn(self, jail: Jail, request: ExecRequest) -> Running:
        """Start one command in the jail.

        Raises:
            BackendError: as `exec`.
        """

    def processes(self, jail: Jail) -> Sequence[int]:
        """Ask the kernel which processes live in the jail; their pids.

        Raises:
            BackendError: it cannot tell.
        """

    def kill(self, jail: Jail) -> Sequence[int]:
        """Kill every process in the jail, and give the pids of those that are there even after some seconds.

        Raises:
            BackendError: as `processes`.
        """
