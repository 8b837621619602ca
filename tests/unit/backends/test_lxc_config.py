"""From an order to LXC's configuration, as tables; and what must never be in one."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest
from support.containers import viewed

from jailkit.backends.lxc import groups, stage
from jailkit.backends.lxc.config import Pairs, render, translate
from jailkit.backends.lxc.order import LaunchOrder
from jailkit.errors import BackendError
from jailkit.linux.view import Graft, Memory, View

PLAIN: dict[str, Any] = {
    "name": "box-1a2b3c4d-main", "title": "box-1a2b3c4d/main", "view": viewed("/srv/root"),
    "folder": "/srv/lxc/main", "group": "jailkit/box/main",
    "monitor_group": "jailkit-monitor/box/main", "hostname": "box",
}  # fmt: skip


def config(**fields: Any) -> Pairs:
    return translate(LaunchOrder(**(PLAIN | fields)))


def values(pairs: Pairs, key: str) -> list[str]:
    return [value for other, value in pairs if other == key]


def test_the_whole_of_a_container_that_asks_for_everything() -> None:
    pairs = config(
        ids=(2000000, 65536), seccomp="/srv/seccomp.lxc", view=viewed("/srv/root", devices=("null", "zero")),
        device_rules=1, shm_size=1 << 20, limits=(("nofile", 256), ("fsize", 4096)), hidden_files=("/proc/keys",),
        hidden_folders=("/proc/acpi",), apparmor="jail", capabilities=("CAP_CHOWN", "CAP_NET_BIND_SERVICE"),
    )  # fmt: skip
    assert (
        render(pairs)
        == """\
lxc.uts.name = box
lxc.rootfs.path = dir:/run/lxc/jailkit/root
lxc.rootfs.managed = 0
lxc.idmap = u 0 2000000 65536
lxc.idmap = g 0 2000000 65536
lxc.init.cmd = /dev/.jailkit-init box-1a2b3c4d/main
lxc.net.0.type = empty
lxc.net.0.flags = up
lxc.mount.auto = proc:mixed sys:ro
lxc.autodev = 0
lxc.mount.entry = none dev tmpfs nosuid,nodev,noexec,mode=755,size=64k 0 0
lxc.mount.entry = /dev/null dev/null none bind,nosuid,noexec,create=file 0 0
lxc.mount.entry = /dev/zero dev/zero none bind,nosuid,noexec,create=file 0 0
lxc.mount.entry = none dev/shm tmpfs nosuid,nodev,noexec,mode=1777,size=1048576,create=dir 0 0
lxc.mount.entry = /run/lxc/jailkit/init dev/.jailkit-init none bind,ro,nosuid,nodev,create=file 0 0
lxc.mount.entry = /dev/null proc/keys none bind,ro,nosuid,noexec 0 0
lxc.mount.entry = none proc/acpi tmpfs ro,nosuid,nodev,noexec,size=4k 0 0
lxc.pty.max = 64
lxc.tty.max = 0
lxc.cap.keep = chown net_bind_service
lxc.no_new_privs = 1
lxc.seccomp.profile = /srv/seccomp.lxc
lxc.seccomp.allow_nesting = 1
lxc.apparmor.profile = jail
lxc.keyring.session = 1
lxc.prlimit.core = 0
lxc.prlimit.nofile = 256
lxc.prlimit.fsize = 4096
lxc.cgroup.dir.container = jailkit/box/main
lxc.cgroup.dir.monitor = jailkit-monitor/box/main
lxc.cgroup.dir.monitor.pivot = jailkit-monitor
lxc.cgroup.devices.deny = a
lxc.cgroup.devices.allow = c 1:3 rwm
lxc.cgroup.devices.allow = c 1:5 rwm
lxc.cgroup.devices.allow = c 136:* rwm
lxc.cgroup.devices.allow = c 5:2 rwm
lxc.monitor.signal.pdeath = 9
lxc.console.logfile = /srv/lxc/main/console.log
lxc.console.size = 1048576
lxc.console.rotate = 1
lxc.log.file = /srv/lxc/main/lxc.log
lxc.log.level = WARN
"""
    )


@pytest.mark.parametrize(
    ("fields", "key", "wanted"),
    [
        ({}, "lxc.idmap", []),
        # The worker maps the owners itself, and makes the tree read-only.
        ({"ids": (5, 6)}, "lxc.rootfs.options", []),
        ({}, "lxc.cap.keep", ["none"]),
        ({}, "lxc.apparmor.profile", ["unconfined"]),
        ({}, "lxc.seccomp.profile", []),
        ({"no_new_privileges": False}, "lxc.no_new_privs", ["0"]),
        ({"network": "none"}, "lxc.net.0.type", ["empty"]),
        ({"network": "bridge"}, "lxc.net.0.type", ["empty"]),
        ({"network": "none"}, "lxc.net.0.flags", ["up"]),
        ({"network": "host"}, "lxc.net.0.flags", []),
        ({"network": "host"}, "lxc.net.0.type", ["none"]),
        ({"network": "host"}, "lxc.mount.auto", ["proc:mixed sys:ro"]),
        ({"network": "host", "ids": (5, 6)}, "lxc.mount.auto", ["proc:mixed"]),
        ({}, "lxc.cgroup.devices.deny", []),
        ({"device_rules": 2}, "lxc.cgroup.devices.deny", []),
        ({"device_rules": 2}, "lxc.cgroup2.devices.deny", ["a"]),
        ({"device_rules": 2}, "lxc.cgroup2.devices.allow", ["c 136:* rwm", "c 5:2 rwm"]),
        ({"device_rules": 1}, "lxc.cgroup2.devices.deny", []),
    ],
)
def test_single_settings(fields: dict[str, Any], key: str, wanted: list[str]) -> None:
    assert values(config(**fields), key) == wanted


def test_sysfs_of_the_hosts_network_comes_from_outside_of_a_user_namespace() -> None:
    entry = "/run/lxc/jailkit/sys sys none bind,ro,nosuid,nodev,noexec 0 0"
    assert entry in values(config(network="host", ids=(5, 6)), "lxc.mount.entry")
    assert entry not in values(config(network="host"), "lxc.mount.entry")


EVERYTHING = [
    config(**fields, network=network)
    for network in ("none", "host", "bridge")
    for fields in ({}, {"ids": (5, 6)}, {"device_rules": 1}, {"transient": True})
]


@pytest.mark.parametrize("pairs", EVERYTHING)
def test_no_key_that_deletes_renames_or_is_ignored(pairs: Pairs) -> None:
    keys = {key for key, _ in pairs}
    assert "lxc.ephemeral" not in keys, "it deletes a root that managed=0 protects"
    assert not {key for key in keys if key.startswith("lxc.namespace")}, "they may leave the host's UTS namespace"
    assert "lxc.execute.cmd" not in keys, "lxc-execute crashes without arguments to it"
    limits = {key for key in keys if key.startswith(("lxc.cgroup.", "lxc.cgroup2."))}
    assert all(key.split(".")[2] in ("dir", "devices") for key in limits), "others are ignored in silence"
    assert values(pairs, "lxc.rootfs.managed") == ["0"]
    assert {"lxc.cgroup.dir.container", "lxc.cgroup.dir.monitor", "lxc.log.file", "lxc.apparmor.profile"} <= keys


def test_only_the_harmless_part_of_the_binding_is_used() -> None:
    """start crashes on a list, wait holds Python's lock, attach mixes up codes, destroy deletes any root."""
    tree = ast.parse(Path(stage.__file__).read_text())
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "container"
    }
    assert used == {"clear_config", "load_config", "get_config_item", "set_config_item"}
    assert {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names} & {
        "lxc", "_lxc",
    } == {"_lxc"}, "python3-lxc's own set_config_item clears keys"  # fmt: skip


def test_the_capabilities_are_one_value_of_a_file_and_no_list() -> None:
    kept = values(config(capabilities=("CAP_CHOWN", "CAP_KILL")), "lxc.cap.keep")
    assert kept == ["chown kill"]


@pytest.mark.parametrize("text", ["a\nlxc.ephemeral = 1", "a\0b", "a\x1b[2J"])
def test_a_value_cannot_begin_another_line(text: str) -> None:
    with pytest.raises(BackendError, match=r"cannot write lxc\.uts\.name for LXC"):
        render(config(hostname=text))


def test_an_order_comes_through_json_as_it_was() -> None:
    order = LaunchOrder(**PLAIN, ids=(1, 2), limits=(("nofile", 3),), hidden_files=("/proc/keys",))
    graft = Graft("/srv/\udcff", "/srv", True, own=False)
    odd = order._replace(view=View(graft, (graft, graft), (Memory("/tmp", 1, 0o1777),), ("null",), ephemeral=True))
    for one in (order, odd):
        assert LaunchOrder.load(json.loads(json.dumps(one._asdict()))) == one


def test_an_ordinary_user_has_no_groups_from_lxc() -> None:
    pairs = config(group=None, monitor_group=None, ids=(5, 6))
    assert [key for key, _ in pairs if "cgroup" in key] == []
    order = LaunchOrder(**(PLAIN | {"group": None, "monitor_group": None}))
    assert (order.ordinary, order.groups) == (True, ())


@pytest.mark.parametrize("names", [("",), ("jailkit/box/main", "/")])
def test_the_root_of_a_hierarchy_is_never_ended(names: tuple[str, ...]) -> None:
    for act in (groups.end_groups, groups.remove_groups):
        with pytest.raises(OSError, match="not a name"):
            act(names)
