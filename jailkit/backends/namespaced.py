"""What the levels with namespaces of their own share: all but how an instance is launched."""

from __future__ import annotations

import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, Final

from jailkit.backends.base import ExecRequest, ExecResult, Gap, Status
from jailkit.backends.census import Init, gone
from jailkit.backends.connected import connect, disconnect, sweep_bridge
from jailkit.backends.entering import start_command, translate
from jailkit.backends.filters import compile_filter, filter_of
from jailkit.backends.inside import Instance, RunningInside
from jailkit.backends.instance import (
    MAIN,
    MOMENT,
    end_init,
    end_instance,
    end_politely,
    end_stale,
    find_init,
    group_of,
    init_gone,
    make_leaf,
    marks_of,
    names_of,
    outer_of,
    processes_of,
    sweep_groups,
    transient_name,
    ways_into,
)
from jailkit.backends.parts import check_enterable, check_parts, limits_of
from jailkit.backends.rooted import stats_of
from jailkit.backends.view import namespaces_of
from jailkit.errors import BackendError, StateError
from jailkit.levels import LEVELS, BackendName
from jailkit.linux.cgroup import Group
from jailkit.linux.figures import Stats
from jailkit.linux.join import by_joining

if TYPE_CHECKING:
    from jailkit.linux.enter import Way
    from jailkit.linux.launch import Launched
    from jailkit.plan.model import Plan
    from jailkit.store import Jail

_OTHERS: Final = 0.5  # seconds for which who ends a jail lets others make their groups, to remove its own


class Namespaced(ABC):
    """A backend whose commands join an instance: that which `start` made, or one of their own."""

    name: ClassVar[BackendName]

    def make_leaf(self, jail: Jail, leaf: Group) -> None:
        """Make the group of an instance, and above it that which holds the jail's limits.

        Raises:
            BackendError: a limit does not hold, or no group can be made.
        """
        make_leaf(jail, leaf, limits_of(jail, leaf.host))

    @abstractmethod
    def launch(self, jail: Jail, leaf: Group, *, transient: bool, ephemeral: bool) -> Init:
        """Make an instance in a group that is there, or begin to.

        Raises:
            BackendError: it could not be made; nothing is left of it.
        """

    def unmade(self, jail: Jail, leaf: Group, launched: Launched) -> BackendError | None:
        """Wait for an instance that `launch` has begun to make, and say why that failed, if it did."""
        raise NotImplementedError

    def dismantle(self, jail: Jail, leaf: Group) -> None:
        """Kill an instance and remove all that was made for it. Can be repeated.

        Raises:
            BackendError: something of it does not end.
        """
        self.end(jail, leaf)
        disconnect(jail, leaf.name)

    def end(self, jail: Jail, leaf: Group) -> None:
        """Kill all that is in a group, and remove it.

        Raises:
            BackendError: something of it does not end.
        """
        try:
            end_instance(jail, leaf)
        except OSError as error:
            raise BackendError(f"cannot end all that runs in jail {jail.name}: {error.strerror}") from error

    def gaps(self, plan: Plan | Jail) -> Sequence[Gap]:
        """Name every setting of the plan that this host cannot hold at its level."""
        from jailkit.backends.namespaced_gaps import namespaced_gaps

        return namespaced_gaps(plan)

    def create(self, jail: Jail) -> None:
        """Compile the filter of system calls."""
        compile_filter(jail)

    def start(self, jail: Jail) -> None:
        """Bring up the instance `main`.

        Raises:
            StateError: it is up already.
            BackendError: it could not be brought up, or a limit does not hold.
        """
        if self.status(jail) != "stopped":
            raise StateError(f"cannot start jail {jail.name}: it is running", resolution=f"jailkit stop {jail.name}")
        sweep()
        leaf = group_of(jail).leaf(MAIN)
        self.dismantle(jail, leaf)
        os.close(self._bring_up(jail, leaf, transient=False, ephemeral=False).init.pidfd)

    def status(self, jail: Jail) -> Status:
        """Ask whether the instance `main` has an init, and whether that is frozen."""
        leaf = group_of(jail).leaf(MAIN)
        init = find_init(leaf, jail.ids)
        if init is None:
            return "stopped"
        os.close(init.pidfd)
        return "frozen" if leaf.frozen() else "running"

    def stop(self, jail: Jail, number: int, timeout: float) -> None:
        """Signal the commands in `main`, kill after `timeout` seconds what is left, and take the instance down.

        Raises:
            BackendError: something of it does not end.
        """
        leaf = group_of(jail).leaf(MAIN)
        if self.status(jail) == "frozen":
            with contextlib.suppress(OSError):  # It is being taken down already; what stands can be killed as well.
                leaf.thaw()
        end_politely(jail, leaf, number, timeout)
        self.dismantle(jail, leaf)
        sweep(_OTHERS)

    def freeze(self, jail: Jail) -> None:
        """Stop all processes of `main` where they are.

        Raises:
            StateError: the jail is not running.
            BackendError: the kernel does not.
        """
        self._set_frozen(jail, wanted=True)

    def unfreeze(self, jail: Jail) -> None:
        """Let all processes of `main` go on.

        Raises:
            StateError, BackendError: as `freeze`.
        """
        self._set_frozen(jail, wanted=False)

    def _set_frozen(self, jail: Jail, *, wanted: bool) -> None:
        verb = "freeze" if wanted else "unfreeze"
        leaf = group_of(jail).leaf(MAIN)
        if self.status(jail) == "stopped":
            raise StateError(
                f"cannot {verb} jail {jail.name}: it is not running", resolution=f"jailkit start {jail.name}"
            )
        try:
            if wanted:
                leaf.freeze()
            else:
                leaf.thaw()
        except OSError as error:
            raise BackendError(f"cannot {verb} jail {jail.name}: {error.strerror}") from error

    def stats(self, jail: Jail) -> Stats:
        """Read what the jail uses, all its instances together."""
        group = group_of(jail)
        if group.tracker is None:
            return stats_of(self.processes(jail))
        return group.stats()

    def release(self, jail: Jail) -> None:
        """Remove the groups of the jail, and kill what is left in them."""
        group = group_of(jail)
        for name in names_of(jail):
            self.dismantle(jail, group.leaf(name))
        try:
            group.remove()
        except OSError as error:
            raise BackendError(f"cannot remove the cgroup of jail {jail.name}: {error.strerror}") from error
        sweep(_OTHERS)

    def exec(self, jail: Jail, request: ExecRequest) -> ExecResult:
        """Run one command in the jail and wait for it.

        Raises:
            JailkitError: as `spawn`.
        """
        return self.spawn(jail, request).wait()

    def spawn(self, jail: Jail, request: ExecRequest) -> RunningInside:
        """Start one command in the jail: in `main` where that runs, else in an instance of its own.

        Raises:
            UsageError: there is no such user, or an argument cannot be passed on.
            StateError: the jail is frozen, or its tree is gone.
            BackendError: no instance or no process could be made, or a limit does not hold.
        """
        entering = translate(jail, request, os.environ)
        if entering.confinement:
            entering = entering._replace(confinement=entering.confinement._replace(load_filter=filter_of(jail)))
        instance = self._instance(jail, request)
        try:
            before = marks_of(instance.leaf, jail.runtime.limits)
            with (
                self._explaining(jail, instance),
                ways_into(instance.leaf) as ways,
                outer_of(instance.init) as outer,
            ):
                way = self.way(jail, instance, ways)._replace(outer=outer)
                command = start_command(jail, entering, way, request)
            if why := self._unmade(jail, instance):
                command.abandon()
                raise why
            return RunningInside(self, command, instance, before)
        except BaseException:
            self.leave(jail, instance)
            raise

    def _unmade(self, jail: Jail, instance: Instance) -> BackendError | None:
        launched = instance.init.launched
        return self.unmade(jail, instance.leaf, launched) if launched else None

    @contextlib.contextmanager
    def _explaining(self, jail: Jail, instance: Instance) -> Iterator[None]:
        """Say so where a command could not be started because its instance's init has ended, or its group is gone."""
        try:
            yield
        except (BackendError, OSError) as error:
            if gone(instance.init.pidfd, MOMENT):
                raise self._unmade(jail, instance) or init_gone(jail, instance.leaf) from error
            if isinstance(error, OSError):
                raise BackendError(f"cannot enter jail {jail.name}: its cgroup: {error.strerror}") from error
            raise

    def leave(self, jail: Jail, instance: Instance) -> None:
        """End an instance that was there for one command.

        Raises:
            BackendError: something of it does not end.
        """
        try:
            if instance.transient:
                end_init(instance.init)
                self.dismantle(jail, instance.leaf)
        finally:
            instance.init.close()

    def way(self, jail: Jail, instance: Instance, tasks: Sequence[int]) -> Way:
        """Say how a command gets into an instance; `tasks` are descriptors of files of its cgroups."""
        user = LEVELS[jail.level].user_namespace
        namespaces = namespaces_of(jail.runtime.isolation, user=user)
        return by_joining(instance.init.pidfd, namespaces, tasks, instance.init.launched)

    def _instance(self, jail: Jail, request: ExecRequest) -> Instance:
        group = group_of(jail)
        leaf = group.leaf(MAIN)
        init = None if request.ephemeral else find_init(leaf, jail.ids)
        if init is None and request.started:
            raise StateError(f"cannot run in jail {jail.name}: it is not running any more")
        if init is None:
            end_stale(group)
            return self._bring_up(jail, group.leaf(transient_name()), transient=True, ephemeral=request.ephemeral)
        try:
            check_enterable(jail, leaf, init)
        except BaseException:
            os.close(init.pidfd)
            raise
        return Instance(leaf, init, False)

    def _bring_up(self, jail: Jail, leaf: Group, *, transient: bool, ephemeral: bool) -> Instance:
        check_parts(jail)
        self.make_leaf(jail, leaf)
        try:
            init = self.launch(jail, leaf, transient=transient, ephemeral=ephemeral)
            try:
                connect(jail, leaf.name, init.pid)
            except BaseException:
                end_init(init)
                init.close()
                raise
        except BaseException:
            self.dismantle(jail, leaf)
            raise
        return Instance(leaf, init, transient)

    def processes(self, jail: Jail) -> Sequence[int]:
        """Give the pids of all processes in all instances of the jail, their inits among them."""
        return processes_of(jail, group_of(jail))

    def kill(self, jail: Jail) -> Sequence[int]:
        """Kill all processes in the jail."""
        self.release(jail)
        return self.processes(jail)


def sweep(patience: float = 0.0) -> None:
    """Remove what instances have left whose callers, or whole lives, were ended by force.

    Raises:
        BackendError, PrivilegeError: the kernel refuses.
    """
    sweep_groups(patience)
    sweep_bridge()
