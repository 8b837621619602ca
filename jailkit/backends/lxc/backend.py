"""The levels `lxc-privileged` and `lxc`: instances that liblxc makes."""

from __future__ import annotations

import contextlib
import os
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Final

from jailkit.backends.census import Init
from jailkit.backends.instance import MONITORS, make_group, not_held, read_back, remove_empty_groups
from jailkit.backends.lxc.config import APPARMOR_PROFILE, config_in, pivot_group
from jailkit.backends.lxc.groups import end_groups, remove_groups
from jailkit.backends.lxc.launch import launch
from jailkit.backends.lxc.order import LaunchOrder
from jailkit.backends.lxc.ordinary import end_monitors
from jailkit.backends.namespaced import Namespaced
from jailkit.backends.parts import limits_of
from jailkit.backends.view import view_of
from jailkit.errors import BackendError
from jailkit.levels import BackendName
from jailkit.linux.apparmor import change_on_exec, enabled
from jailkit.linux.cgroup.keeping import keeping_parents
from jailkit.linux.hidden import HIDDEN_FILES, HIDDEN_FOLDERS, present, stand_ins
from jailkit.linux.remove import remove_tree
from jailkit.store.privilege import superuser

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jailkit.backends.inside import Instance
    from jailkit.linux.cgroup import Group
    from jailkit.linux.enter import Way
    from jailkit.store import Jail

_GRACE: Final = 5.0  # seconds for a monitor to end after its container
_SETTLING: Final = 0.5


class LxcBackend(Namespaced):
    """Has instances made by liblxc, in a process of its own."""

    name: ClassVar[BackendName] = "lxc"

    def make_leaf(self, jail: Jail, leaf: Group) -> None:
        """Make room for the group of an instance: LXC makes it, and refuses one that is there.

        It makes none for an ordinary user, whose commands enter one all the same.
        """
        if superuser():
            end_groups(_groups_of(leaf))
        else:
            super().make_leaf(jail, leaf)

    def launch(self, jail: Jail, leaf: Group, *, transient: bool, ephemeral: bool) -> Init:
        """Order an instance from the worker.

        Raises:
            BackendError: it does not run, with LXC's own reason; or the limits do not hold.
        """
        order = order_for(jail, leaf, transient=transient, ephemeral=ephemeral)
        pid = launch(order) if order.ordinary else _launch_in_group(jail, leaf, order)
        try:
            return Init(pid, os.pidfd_open(pid))
        except OSError as error:
            raise BackendError(f"cannot start jail {jail.name}: its init is gone") from error

    def way(self, jail: Jail, instance: Instance, tasks: Sequence[int]) -> Way:
        """Give the way in, and under the profile that what LXC started is under."""
        way = super().way(jail, instance, tasks)
        profile = _apparmor()
        if profile is None:
            return way
        # First of all, while the host's /proc is there.
        return way._replace(steps=(("take the jail's AppArmor profile", partial(change_on_exec, profile)), *way.steps))

    def end(self, jail: Jail, leaf: Group) -> None:
        """Kill an instance and its monitor, and remove all that is left of them.

        Raises:
            BackendError: something of it does not end.
        """
        folder = _folder(jail, leaf)
        if superuser():
            left = _end_groups(leaf)
        else:
            super().end(jail, leaf)
            left = [f"pid {pid}" for pid in end_monitors(config_in(folder), _GRACE)]
        if left:
            raise BackendError(f"cannot end all that runs in jail {jail.name}", details=left)
        if os.path.basename(folder) != "main" and os.path.isdir(folder):
            remove_tree(folder)


def _end_groups(leaf: Group) -> list[str]:
    """End what is in the groups that LXC made, and remove them; give those that stay."""
    group, monitor_group = _groups_of(leaf)
    with contextlib.suppress(OSError):  # Then the next step ends it.
        leaf.kill()
    # The monitor is not waited for: it would leave its groups by ways for each of which the kernel takes 10 ms.
    left = end_groups((group, monitor_group))
    if not left:
        remove_groups((pivot_group(monitor_group),), _SETTLING)  # A monitor is in there while it ends.
        remove_empty_groups()
    return left


def _launch_in_group(jail: Jail, leaf: Group, order: LaunchOrder) -> int:
    """Launch an instance below a group that holds the limits, and see whether it still does."""
    limits = limits_of(jail, leaf.host)
    with keeping_parents():
        make_group(jail, leaf.whole, limits)
        pid = launch(order)
    # Others may have removed the group with the limits before LXC made one below it, and so one of that name.
    if wrong := read_back(jail, leaf.whole, limits):
        raise not_held(jail, wrong)
    return pid


def order_for(jail: Jail, leaf: Group, *, transient: bool, ephemeral: bool) -> LaunchOrder:
    """Describe an instance to LXC."""
    group, monitor_group = _groups_of(leaf) if superuser() else (None, None)
    isolation = jail.runtime.isolation
    policy = f"{jail.directory}/seccomp.lxc"
    devices = leaf.host.holding("devices") if superuser() else None
    return LaunchOrder(
        name=leaf.name.replace("/", "."),
        view=view_of(jail, ephemeral=ephemeral),
        folder=_folder(jail, leaf),
        group=group,
        monitor_group=monitor_group,
        hostname=jail.name,
        ids=jail.ids,
        network=isolation.network or "none",
        seccomp=policy if os.path.exists(policy) else None,
        capabilities=isolation.capabilities,
        no_new_privileges=isolation.no_new_privileges is not False,
        device_rules=devices.version if devices else 2 if leaf.host.tree and superuser() else None,
        hidden_files=present(HIDDEN_FILES),
        hidden_folders=present(HIDDEN_FOLDERS),
        stand_ins=stand_ins(),
        apparmor=_apparmor(),
        transient=transient,
        title=leaf.name,
    )


def _groups_of(leaf: Group) -> tuple[str, str]:
    """Name the groups of an instance and of its monitor, as LXC wants them: without a leading slash."""
    return f"{leaf.host.parent}/{leaf.name}", f"{MONITORS}/{leaf.name}"


def _folder(jail: Jail, leaf: Group) -> str:
    return f"{jail.directory}/lxc/{leaf.name.partition('/')[2]}"


def _apparmor() -> str | None:
    return APPARMOR_PROFILE if enabled() else None
