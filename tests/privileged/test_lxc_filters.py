"""The text of a policy in LXC's own hands: it takes every line, and the kernel then refuses what the policy says."""

from __future__ import annotations

import importlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.filters import build_probe, errnos, matching

from jailkit.profile.find import shipped_policies
from jailkit.seccomp import load_policy, to_lxc

pytestmark = pytest.mark.needs("root", "lxc-execute", "mount-namespace", "gcc", "seccomp-filter", "python3-seccomp")

CONFIGURATION = """\
lxc.uts.name = filters
lxc.net.0.type = empty
lxc.apparmor.profile = unconfined
lxc.rootfs.path = dir:/
lxc.rootfs.managed = 0
lxc.autodev = 0
lxc.cgroup.dir.container = {group}/c
lxc.cgroup.dir.monitor = {group}/m
lxc.cgroup.dir.monitor.pivot = {group}/p
lxc.seccomp.profile = {policy}
"""


@pytest.fixture
def group() -> Iterator[str]:
    """Give the name of a cgroup for LXC, which leaves its groups behind."""
    name = f"jailkit-test-{os.getpid()}"
    yield name
    top = Path("/sys/fs/cgroup")
    for hierarchy in (top, *top.iterdir()):
        for path in sorted((hierarchy / name).glob("**/"), reverse=True):  # the innermost first
            path.rmdir()


@pytest.mark.parametrize("name", shipped_policies())
def test_lxc_refuses_what_the_policy_says(name: str, group: str, public: Path) -> None:
    policy = load_policy(name)
    (public / "policy").write_text(to_lxc(policy))
    (public / "config").write_text(CONFIGURATION.format(group=group, policy=public / "policy"))
    seccomp = importlib.import_module("seccomp")
    rows, expected = [], []
    for rule in policy.rules:
        for call in rule.calls:
            number = seccomp.resolve_syscall(seccomp.Arch(), call)
            for case in rule.alternatives if number >= 0 else ():
                rows.append(":".join(map(str, [number, *matching(case)])))
                expected.append(rule.errno)
    done = subprocess.run(
        ["unshare", "--mount", "lxc-execute", "-n", group, "-P", public, "-f", public / "config", "-o", public / "log",
         "-l", "INFO", "--", build_probe(public), *rows],
        capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    log = (public / "log").read_text()
    assert errnos(done) == expected, log
    assert "undefined on host native arch" not in log
