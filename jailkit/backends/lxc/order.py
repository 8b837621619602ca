"""What is asked of LXC: one instance, described as plain data that fits into JSON."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from jailkit.linux.view import Graft, Memory, View

Network = Literal["none", "host", "bridge"]


class LaunchOrder(NamedTuple):
    """One instance.

    Attributes:
        name: the container's; LXC refuses a second of that name on the host.
        view: what the container shows, but for /dev, /proc and /sys; owners on disk are those inside.
        folder: the instance's own, for configuration, log and console; made where it is not there.
        group: the cgroup of the instance in every hierarchy, without a leading slash. LXC makes it and refuses one
            that is there. None for an ordinary user, for whom it makes none.
        monitor_group: the same for LXC's own process.
        hostname: of the new UTS namespace.
        ids: first and number of the host's ids that the container's from 0 on are; None for no user namespace.
        network: at `none` and `bridge` there is an empty namespace, into which others may put an interface.
        seccomp: path of the policy in LXC's own format.
        capabilities: names of capabilities(7) that the bounding set keeps.
        device_rules: version of the cgroup hierarchy that has the devices controller; None where nothing has.
        shm_size: bytes of /dev/shm.
        limits: resource limits by the names of LXC, such as `nofile`, of the first process.
        hidden_files, hidden_folders: paths below /proc and /sys that are covered; those that the kernel has.
        stand_ins: paths below /proc that show what lxcfs has for them.
        apparmor: a profile; None where the kernel has no AppArmor.
        transient: the instance ends with the process that asked for it.
        title: argument of the first process, by which others know it.
    """

    name: str
    view: View
    folder: str
    group: str | None
    monitor_group: str | None
    hostname: str
    ids: tuple[int, int] | None = None
    network: Network = "none"
    seccomp: str | None = None
    capabilities: tuple[str, ...] = ()
    no_new_privileges: bool = True
    device_rules: Literal[1, 2] | None = None
    shm_size: int = 64 << 20
    limits: tuple[tuple[str, int], ...] = ()
    hidden_files: tuple[str, ...] = ()
    hidden_folders: tuple[str, ...] = ()
    stand_ins: tuple[str, ...] = ()
    apparmor: str | None = None
    transient: bool = False
    title: str = ""

    @property
    def groups(self) -> tuple[str, ...]:
        """The cgroups that LXC makes."""
        return tuple(group for group in (self.group, self.monitor_group) if group)

    @property
    def ordinary(self) -> bool:
        """Tell whether an ordinary user ordered it, who is as root in a user namespace only."""
        return self.group is None

    @classmethod
    def load(cls, data: dict[str, Any]) -> LaunchOrder:
        """Make an order from what JSON has made of one: lists where tuples were."""
        fields: dict[str, Any] = {key: _tuples(value) for key, value in data.items()}
        order = cls(**fields)
        view = View(*order.view)
        grafts, memory = tuple(Graft(*g) for g in view.grafts), tuple(Memory(*m) for m in view.memory)
        return order._replace(view=view._replace(root=Graft(*view.root), grafts=grafts, memory=memory))


def _tuples(value: object) -> object:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
