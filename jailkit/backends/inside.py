"""A command in an instance, and what becomes of both."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from jailkit.backends.base import ExecResult
from jailkit.backends.census import Init
from jailkit.backends.entering import RunningChild
from jailkit.backends.instance import marks_of
from jailkit.backends.reasons import Marks, explained
from jailkit.linux.cgroup import Group
from jailkit.linux.wait import Signals

if TYPE_CHECKING:
    from jailkit.backends.namespaced import Namespaced


class Instance(NamedTuple):
    """A living instance: its group, its init, and whether it is there for one command only."""

    leaf: Group
    init: Init
    transient: bool


class RunningInside(NamedTuple):
    """A command in an instance that was started and not waited for yet."""

    backend: Namespaced
    command: RunningChild
    instance: Instance
    before: Marks

    @property
    def timeout(self) -> float | None:
        """As the command's."""
        return self.command.timeout

    def begun(self) -> bool:
        """As the command's."""
        return self.command.begun()

    def send(self, number: int) -> None:
        """As the command's."""
        self.command.send(number)

    def wait(self, signals: Signals | None = None) -> ExecResult:
        """Wait for the command, and end its instance if that was its own.

        Raises:
            BackendError: as the command's, or the instance does not end.
        """
        jail, instance = self.command.jail, self.instance
        try:
            result = self.command.wait(signals)
            return explained(result, marks_of(instance.leaf, jail.runtime.limits).since(self.before))
        finally:
            self.backend.leave(jail, instance)
