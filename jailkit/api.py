"""The Python API: what the commands do, for programs.

Example::

    import jailkit

    box = jailkit.create("profiles/shell.yaml", name="box")
    result = box.run(["sh", "-c", "id -u"], timeout=5)
    print(result.stdout, result.reason)
    box.destroy()
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from jailkit.backends.base import ExecRequest, ExecResult, Status
from jailkit.errors import UsageError
from jailkit.lifecycle.enter import run as run_in
from jailkit.lifecycle.enter import started_in
from jailkit.linux.figures import Stats
from jailkit.store import Jail, Store

if TYPE_CHECKING:
    from jailkit.lifecycle.runs import LastRun
    from jailkit.lifecycle.update import Update
    from jailkit.lifecycle.verify import Verification


class OpenJail:
    """A jail to work with. Holds no descriptor and no lock between calls; may be used from any thread."""

    def __init__(self, name: str, store: Store) -> None:
        self.name = name
        self._store = store

    def __repr__(self) -> str:
        return f"<jail {self.name} in {self._store.home}>"

    @property
    def record(self) -> Jail:
        """What jail.json says now.

        Raises:
            StateError: the jail is gone or damaged.
        """
        return self._store.load(self.name)

    def run(
        self,
        command: Sequence[str],
        *,
        input: bytes | str | None = None,  # noqa: A002 - subprocess.run's word for it
        timeout: float | None = None,
        user: str | None = None,
        workdir: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> ExecResult:
        """Run a command in the jail, wait for it, and give its output as bytes. Its exit code raises nothing.

        Args:
            command: argument list; the first word is a path in the jail or a name on the jail's PATH.
            input: what the command reads from standard input; nothing when None. Text is encoded as UTF-8.
            timeout: seconds until the command, its process group, its session and its descendants are killed.
            user: a name or uid of the jail.
            workdir: a directory in the jail.
            environment: laid over the jail's own.

        Raises:
            UsageError: an argument is none that a command can be given.
            StateError: the jail is gone, or another command is changing it.
            BackendError: it could not be entered.
        """
        request = ExecRequest(
            _words(command),
            user=user,
            environment=tuple((environment or {}).items()),
            workdir=workdir,
            timeout=_seconds(timeout),
            stdin=_bytes(input),
            capture=True,
        )
        return run_in(self.name, request, self._store)

    def verify(self, *, smoke: bool = True) -> Verification:
        """Check the jail as `jailkit verify` does."""
        from jailkit.lifecycle.verify import verify

        return verify(self.name, self._store, smoke=smoke)

    def update(self, *, accept_gaps: bool = False) -> Update:
        """Rebuild the jail as `jailkit update` does."""
        from jailkit.lifecycle.update import update

        return update(self.name, self._store, accept_gaps=accept_gaps)

    def start(self) -> None:
        """Start the jail as `jailkit start` does, and return when its command runs.

        Raises:
            StateError: it runs already, has nothing to run, or another command is changing it.
            BackendError: it could not be started.
        """
        from jailkit.lifecycle.start import start

        start(self.name, self._store)

    def stop(self, *, signal: int | None = None, timeout: float | None = None) -> None:
        """Stop the jail as `jailkit stop` does: nothing runs in it afterwards. No error when nothing did.

        Args:
            signal: the number of the signal that asks to end; None takes the profile's.
            timeout: seconds until what is left is killed; None takes the profile's.

        Raises:
            StateError, BackendError: something could not be ended, or another command is changing the jail.
        """
        from jailkit.lifecycle.stop import stop

        stop(self.name, self._store, number=signal, timeout=timeout)

    def freeze(self) -> None:
        """Keep everything in the running jail from going on.

        Raises:
            StateError: it does not run, or its level cannot.
            BackendError: the kernel did not.
        """
        from jailkit.lifecycle.stop import freeze

        freeze(self.name, self._store)

    def unfreeze(self) -> None:
        """Let everything in the frozen jail go on.

        Raises:
            StateError, BackendError: as `freeze`.
        """
        from jailkit.lifecycle.stop import unfreeze

        unfreeze(self.name, self._store)

    @property
    def status(self) -> Status:
        """Whether the jail is stopped, running or frozen, asked of the kernel.

        Raises:
            StateError: the jail is gone or damaged.
            BackendError: it cannot be told.
        """
        from jailkit.lifecycle.stop import status

        return status(self.name, self._store)

    def stats(self) -> Stats:
        """Read what the jail uses.

        Raises:
            StateError: the jail is gone or damaged.
            BackendError: it cannot be read.
        """
        from jailkit.lifecycle.stop import stats

        return stats(self.name, self._store)

    def logs(self, *, tail: int | None = None, follow: bool = False) -> Iterator[bytes]:
        """Give what the jail's command wrote, in pieces, the oldest first.

        Args:
            tail: only so many lines from the end.
            follow: go on with what it writes from now on, until it ends.

        Raises:
            StateError: the jail is gone or damaged.
        """
        from jailkit.lifecycle.logs import read

        return read(self.record, tail=tail, follow=follow)

    @property
    def last_run(self) -> LastRun | None:
        """How the last run of the jail's command ended; None when there was none.

        Raises:
            StateError: the jail is gone or damaged.
        """
        from jailkit.lifecycle.runs import read_last

        return read_last(self.record)

    def destroy(self, *, force: bool = False) -> None:
        """Delete the jail as `jailkit destroy` does."""
        from jailkit.lifecycle.destroy import destroy

        destroy(self.name, self._store, force=force)


def open(name: str, *, home: str | os.PathLike[str] | None = None) -> OpenJail:  # noqa: A001 - read as jailkit.open
    """Open a jail that exists.

    Raises:
        StateError: there is none of that name.
        PrivilegeError: it belongs to another user.
    """
    store = Store(_path(home))
    store.load(name)
    return OpenJail(name, store)


def create(
    profile: str | os.PathLike[str],
    *,
    name: str | None = None,
    level: str | None = None,
    accept_gaps: bool = False,
    home: str | os.PathLike[str] | None = None,
) -> OpenJail:
    """Make a jail from a profile's file, or from a shipped profile's name.

    Raises:
        ProfileError, PlanError, GapError, PrivilegeError, StateError, RealizeError: see jailkit.errors.
    """
    from jailkit.lifecycle.create import create as make
    from jailkit.lifecycle.create import order

    store = Store(_path(home))
    store.sweep()
    jail = make(order(os.fspath(profile), level), store, name=name, accept_gaps=accept_gaps)
    return OpenJail(jail.name, store)


def run(
    profile: str | os.PathLike[str],
    command: Sequence[str],
    *,
    input: bytes | str | None = None,  # noqa: A002 - subprocess.run's word for it
    timeout: float | None = None,
    level: str | None = None,
    home: str | os.PathLike[str] | None = None,
) -> ExecResult:
    """Make a jail from a profile, run one command in it, and destroy it.

    Raises:
        JailkitError: as `create` and `OpenJail.run`.
    """
    from jailkit.lifecycle.create import order, temporary

    with temporary(order(os.fspath(profile), level), Store(_path(home))) as jail:
        request = ExecRequest(_words(command), timeout=_seconds(timeout), stdin=_bytes(input), capture=True)
        with started_in(jail, request) as running:
            return running.wait()


def jails(*, home: str | os.PathLike[str] | None = None) -> list[str]:
    """List the names of the jails."""
    return Store(_path(home)).names()


def _words(command: Sequence[str]) -> tuple[str, ...]:
    if isinstance(command, str | bytes) or not all(isinstance(word, str) for word in command):
        raise UsageError(f"cannot run {command!r}: a command is a list of words", resolution='["ls", "-l"]')
    return tuple(command)


def _seconds(timeout: float | None) -> float | None:
    if timeout is not None and not (isinstance(timeout, int | float) and timeout > 0):
        raise UsageError(f"cannot wait for {timeout!r} seconds", resolution="a number above 0, or None")
    return timeout


def _bytes(text: bytes | str | None) -> bytes | None:
    if isinstance(text, str):
        return text.encode("utf-8", "surrogateescape")
    if text is not None and not isinstance(text, bytes | bytearray | memoryview):
        raise UsageError(f"cannot give a command {type(text).__name__} to read", resolution="bytes or text")
    return text


def _path(home: str | os.PathLike[str] | None) -> str | None:
    return None if home is None else os.fspath(home)
