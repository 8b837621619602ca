"""From a jail and a request to a description of how the one gets into the other, without the kernel."""

from __future__ import annotations

import resource
from typing import Any

import pytest

from jailkit.backends import backend_for
from jailkit.backends.base import ExecRequest
from jailkit.backends.chroot import ChrootBackend
from jailkit.backends.entering import DEFAULT_PATH, translate
from jailkit.backends.hardened import HardenedBackend
from jailkit.backends.lxc.backend import LxcBackend
from jailkit.errors import BackendError, UsageError
from jailkit.linux.capabilities import CAPABILITIES, capability_mask
from jailkit.linux.enter import Confinement, Entering, Identity, by_chroot, steps
from jailkit.plan.settings import Account, Isolation, Limits, Runtime
from jailkit.store import Jail

WEB = Account("web", 3000, 3001, "/srv", "/bin/sh", (7, 8))
ROOT = Account("root", 0, 0, "/root", "/bin/sh")
CALLER = {"PATH": "/opt/bin", "SECRET": "x", "TERM": "vt100"}


def jail(level: str = "chroot", **runtime: Any) -> Jail:
    settings: dict[str, Any] = {
        "user": "web", "accounts": (ROOT, WEB), "environment": (("A", "1"), ("B", "1")), "workdir": "/srv",
        "command": ("serve",),
    }  # fmt: skip
    return Jail("box", "p", "p.yaml", "", level, 0.0, 1, Runtime(**(settings | runtime)), "/jails/box")  # type: ignore[arg-type]


def test_the_level_with_care() -> None:
    request = ExecRequest(("ls", "-l"), environment=(("B", "2"),), workdir="htdocs")
    assert translate(jail(), request, CALLER) == Entering(
        argv=("ls", "-l"),
        environment=(
            ("PATH", DEFAULT_PATH), ("HOME", "/srv"), ("USER", "web"), ("LOGNAME", "web"), ("SHELL", "/bin/sh"),
            ("LANG", "C.UTF-8"), ("TERM", "vt100"), ("A", "1"), ("B", "2"),
        ),
        workdir="/srv/htdocs",
        identity=Identity(3000, 3001, (7, 8)),
        confinement=Confinement(capabilities=0, no_new_privileges=True, limits=()),
        terminal=False,
    )  # fmt: skip


def test_the_level_without() -> None:
    assert translate(jail("chroot-root"), ExecRequest(()), CALLER) == Entering(
        argv=("serve",),
        environment=(*CALLER.items(), ("A", "1"), ("B", "1")),
        workdir="/srv/",
        identity=None,
        confinement=None,
        terminal=False,
    )


@pytest.mark.parametrize(
    ("user", "identity"),
    [
        ("root", Identity(0, 0)), ("0", Identity(0, 0)), ("3000", Identity(3000, 3001, (7, 8))),
        ("77", Identity(77, 77)), ("4294967294", Identity(4294967294, 4294967294)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("level", ["chroot", "chroot-root"])
def test_users(level: str, user: str, identity: Identity) -> None:
    assert translate(jail(level, root_accepted=True), ExecRequest((), user=user), {}).identity == identity


@pytest.mark.parametrize("user", ["root", "0", "00", None])
def test_root_that_was_not_accepted(user: str | None) -> None:
    with pytest.raises(UsageError, match="cannot run as uid 0 in jail box") as caught:
        translate(jail(user="root"), ExecRequest((), user=user), {})
    assert "list isolation.user under `accept-gaps`" in str(caught.value.resolution)
    assert translate(jail("chroot-root", user="root"), ExecRequest((), user=user), {}).confinement is None


@pytest.mark.parametrize("user", ["", "nobody", "4294967295", "-1", "٣", "0x10", "1.5"])
def test_users_that_there_are_not(user: str) -> None:
    with pytest.raises(UsageError, match="cannot run as"):
        translate(jail(), ExecRequest((), user=user), {})


def test_no_command() -> None:
    with pytest.raises(UsageError, match="no command"):
        translate(jail(command=()), ExecRequest(()), {})


def test_what_the_profile_says_of_isolation_and_limits() -> None:
    entering = translate(
        jail(
            isolation=Isolation(capabilities=("CAP_NET_BIND_SERVICE",), no_new_privileges=False),
            limits=Limits(open_files=10, file_size=20),
        ),
        ExecRequest(()),
        {},
    )
    limits = ((resource.RLIMIT_NOFILE, 10), (resource.RLIMIT_FSIZE, 20))
    assert entering.confinement == Confinement(1 << 10, False, limits)


def phrases(entering: Entering) -> list[str]:
    return [phrase for phrase, _ in steps(entering, by_chroot(3))]


def test_the_steps_of_the_level_with_care() -> None:
    limits = Limits(open_files=10)
    isolation = Isolation(capabilities=("CAP_KILL",))
    assert phrases(translate(jail(limits=limits, isolation=isolation), ExecRequest((), terminal=5), {})) == [
        "start a session",
        "take the terminal",
        "leave the caller's keys",
        "enter the jail's tree",
        "change the root to the jail's tree",
        "change to the jail's /",
        "set the supplementary groups",
        "limit the bounding set",
        "keep capabilities",
        "become group 3001",
        "become user 3000",
        "limit the capabilities",
        "set the umask",
        "set no_new_privs",
        "set a resource limit",
        "set a resource limit",
        "tie the command to its caller",
        "change to the directory /srv/",
        "reset the signals",
    ]


def test_the_steps_of_the_level_without() -> None:
    assert phrases(translate(jail("chroot-root"), ExecRequest(()), {})) == [
        "enter the jail's tree",
        "change the root to the jail's tree",
        "change to the jail's /",
        "change to the directory /srv/",
        "reset the signals",
    ]


def test_capabilities_have_their_kernel_numbers() -> None:
    assert capability_mask(["CAP_CHOWN"]) == 1
    assert capability_mask(["CAP_SYS_ADMIN", "CAP_SYS_ADMIN"]) == 1 << 21
    assert capability_mask(["CAP_CHECKPOINT_RESTORE"]) == 1 << 40
    assert len(set(CAPABILITIES)) == 41
    with pytest.raises(ValueError, match="not in tuple"):
        capability_mask(["CAP_NOTHING"])


def test_backends_by_level() -> None:
    assert isinstance(backend_for("chroot"), ChrootBackend)
    assert isinstance(backend_for("chroot-root"), ChrootBackend)
    assert isinstance(backend_for("chroot-hardened"), HardenedBackend)
    assert isinstance(backend_for("lxc"), LxcBackend)
    assert isinstance(backend_for("lxc-privileged"), LxcBackend)
    for level in ("host", "nonsense"):
        with pytest.raises(BackendError, match=f"cannot use level {level}"):
            backend_for(level)
