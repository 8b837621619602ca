"""What the levels with namespaces of their own share: all but how an instance is launched."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from jailkit.backends.base import ExecRequest, ExecResult, Gap, Stats, Status
from jailkit.backends.connected import connect, disconnect, sweep_bridge
from jailkit.backends.entering import RunningChild, start_command, translate
from jailkit.backends.instance import (
    MAIN,
    Init,
    doors_of,
    end_init,
    end_politely,
    find_init,
    group_of,
    make_leaf,
    marks_of,
    sweep_groups,
    take_down,
    transient_name,
)
from jailkit.backends.reasons import Marks, explained
from jailkit.backends.view import allowed_devices, demand_of, namespaces_of
from jailkit.errors import BackendError, StateError
from jailkit.levels import LEVELS, BackendName
from jailkit.linux.cgroup import Demand, Group, disk_of
from jailkit.linux.launch import by_joining
from jailkit.linux.libc import SeccompFilter, seccomp_set_mode_filter
from jailkit.linux.wait import Signals

if TYPE_CHECKING:
    from jailkit.linux.enter import Way
    from jailkit.plan.model import Plan
    from jailkit.store import Jail

_POLICIES = {"lxc-privileged": "privileged"}


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
            return explained(result, marks_of(instance.leaf).since(self.before))
        finally:
            self.backend.leave(jail, instance)


class Namespaced:
    """A backend whose commands join an instance: that which `start` made, or one of their own."""

    name: ClassVar[BackendName]

    def make_leaf(self, jail: Jail, name: str) -> Group:
        """Make the group of an instance, and above it that which holds the jail's limits.

        Raises:
            BackendError: a limit does not hold, or no group can be made.
        """
        return make_leaf(jail, name, self.demand(jail))

    def launch(self, jail: Jail, leaf: Group, *, transient: bool, ephemeral: bool) -> Init:
        """Make an instance in a group that is there.

        Raises:
            BackendError: it could not be made; nothing is left of it.
        """
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
            take_down(leaf)
        except OSError as error:
            raise BackendError(f"cannot end all that runs in jail {jail.name}: {error.strerror}") from error

    def gaps(self, plan: Plan | Jail) -> Sequence[Gap]:
        """Name every setting of the plan that this host cannot hold at its level."""
        from jailkit.backends.namespaced_gaps import namespaced_gaps

        return namespaced_gaps(plan)

    def create(self, jail: Jail) -> None:
        """Compile the filter of system calls."""
        from jailkit.seccomp import load_policy, to_bpf, to_lxc

        policy = _policy_of(jail)
        if policy != "none":
            loaded = load_policy(policy)
            for name, content in (("seccomp.bpf", to_bpf(loaded)), ("seccomp.lxc", to_lxc(loaded).encode())):
                with open(f"{jail.directory}/{name}", "xb") as file:
                    file.write(content)

    def start(self, jail: Jail) -> None:
        """Bring up the instance `main`.

        Raises:
            StateError: it is up already.
            BackendError: it could not be brought up, or a limit does not hold.
        """
        if self.status(jail) != "stopped":
            raise StateError(f"cannot start jail {jail.name}: it is running", resolution=f"jailkit stop {jail.name}")
        sweep()
        self.dismantle(jail, group_of(jail).leaf(MAIN))
        os.close(self._bring_up(jail, MAIN, transient=False, ephemeral=False).init.pidfd)

    def status(self, jail: Jail) -> Status:
        """Ask whether the instance `main` has an init, and whether that is frozen."""
        leaf = group_of(jail).leaf(MAIN)
        init = find_init(leaf)
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
        init = find_init(leaf)
        if init is not None:
            os.close(init.pidfd)
            if leaf.frozen():
                leaf.thaw()
            end_politely(leaf, init.pid, number, timeout)
        self.dismantle(jail, leaf)
        sweep()

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
        if not group.host.usable:
            return Stats()
        found = group.stats()
        return Stats(found.cpu_seconds, found.throttled_seconds, *found[2:])

    def release(self, jail: Jail) -> None:
        """Remove the groups of the jail, and kill what is left in them."""
        group = group_of(jail)
        for name in group.children():
            self.dismantle(jail, group.leaf(name))
        with contextlib.suppress(FileNotFoundError):
            group.remove()
        sweep()

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
            entering = entering._replace(confinement=entering.confinement._replace(load_filter=_filter(jail)))
        instance = self._instance(jail, ephemeral=request.ephemeral)
        try:
            before = marks_of(instance.leaf)
            with doors_of(instance.leaf) as doors:
                way = self._way(jail, instance, doors.tasks)
                return RunningInside(self, start_command(jail, entering, way, request), instance, before)
        except BaseException:
            self.leave(jail, instance)
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
            os.close(instance.init.pidfd)

    def _way(self, jail: Jail, instance: Instance, tasks: Sequence[int]) -> Way:
        user = LEVELS[jail.level].user_namespace
        return by_joining(instance.init.pidfd, namespaces_of(jail.runtime.isolation, user=user), tasks)

    def _instance(self, jail: Jail, *, ephemeral: bool) -> Instance:
        leaf = group_of(jail).leaf(MAIN)
        init = None if ephemeral else find_init(leaf)
        if init is None:
            return self._bring_up(jail, transient_name(), transient=True, ephemeral=ephemeral)
        if leaf.frozen():
            os.close(init.pidfd)
            raise StateError(f"cannot enter jail {jail.name}: it is frozen", resolution=f"jailkit unfreeze {jail.name}")
        return Instance(leaf, init, False)

    def _bring_up(self, jail: Jail, name: str, *, transient: bool, ephemeral: bool) -> Instance:
        leaf = self.make_leaf(jail, name)
        try:
            init = self.launch(jail, leaf, transient=transient, ephemeral=ephemeral)
            try:
                connect(jail, leaf.name, init.pid)
            except BaseException:
                end_init(init)
                os.close(init.pidfd)
                raise
        except BaseException:
            self.dismantle(jail, leaf)
            raise
        return Instance(leaf, init, transient)

    def demand(self, jail: Jail) -> Demand:
        """Give the limits of the jail's group."""
        limits = jail.runtime.limits
        disks = {} if "limits.io" in jail.accepted else {limit.path: disk_of(limit.path) for limit in limits.io}
        demand = demand_of(limits, disks, jail.accepted)
        tree = group_of(jail).host.holding("devices")
        # Version 2 has no such list. But nobody in an instance can make a node, and /dev has only those of the profile.
        listed = tree is not None and tree.version == 1 and tree.base is not None
        return demand._replace(devices=allowed_devices(jail.runtime.devices) if listed else None)

    def processes(self, jail: Jail) -> Sequence[int]:
        """Give the pids of all processes in all instances of the jail, their inits among them."""
        return group_of(jail).pids()

    def kill(self, jail: Jail, patience: float) -> Sequence[int]:  # noqa: ARG002 - the kernel kills a group at once
        """Kill all processes in the jail."""
        self.release(jail)
        return self.processes(jail)


def sweep() -> None:
    """Remove what instances have left whose callers, or whole lives, were ended by force.

    Raises:
        BackendError, PrivilegeError: the kernel refuses.
    """
    sweep_groups()
    sweep_bridge()


def _policy_of(jail: Jail) -> str:
    return jail.runtime.isolation.seccomp or _POLICIES.get(jail.level, "default")


def _filter(jail: Jail) -> partial[None] | None:
    if _policy_of(jail) == "none":
        return None
    try:
        with open(f"{jail.directory}/seccomp.bpf", "rb", buffering=0) as file:
            return partial(seccomp_set_mode_filter, SeccompFilter(file.read()))
    except OSError as error:
        raise StateError(
            f"cannot enter jail {jail.name}: its filter of system calls: {error.strerror}",
            resolution=jail.renewal,
        ) from error
