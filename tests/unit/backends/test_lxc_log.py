"""From LXC's log to a cause and a remedy, with lines as LXC 5.0 writes them."""

from __future__ import annotations

import pytest

from jailkit.backends.lxc.log import Entry, find_cause, read_log

HEAD = "lxc-start box 20261124234216.451 "


def log(*lines: str) -> str:
    return "".join(f"{HEAD}{line}\n" for line in lines)


ECHO = (
    "ERROR    sync - ../src/lxc/sync.c:sync_wait:34 - An error occurred in another process (expected 3)",
    'ERROR    start - ../src/lxc/start.c:__lxc_start:2107 - Failed to spawn container "box"',
)


@pytest.mark.parametrize(
    ("message", "reason", "remedy"),
    [
        ("newuidmap failed to write mapping: uid range [0-65536) -> [100000-165536) not allowed", "ids could not",
         "/etc/subuid"),
        ("Invalid argument - Failed to create detached idmapped mount", "cannot be mapped to other ids", "--home"),
        ("No such file or directory - Failed to open seccomp policy file /srv/x", "filter of system", "jailkit update"),
        ("Failed to load generated AppArmor profile", "AppArmor profile", "apparmor_parser"),
        ("File exists - Failed to create container cgroup", "is there already", "stop the jail"),
        ("Permission denied - Failed to create monitor cgroup", "could not be made or entered", "delegated"),
        ("Failed to initialize cgroup driver", "no cgroups that LXC can use", "jailkit doctor"),
        ("Address already in use - Failed to create command socket", "runs already", "stop"),
        ("No space left on device - Failed to create directory /x", "full", "space"),
        ("Cannot allocate memory - Failed to clone a new set of namespaces", "no more descriptors", "limits"),
        ('Operation not permitted - Failed to mount "sysfs" onto "/x/sys"', "refused a mount", "nesting"),
        ('No such file or directory - Failed to mount "none" on "/x/dev"', "no file or folder", "jailkit update"),
        ("Failed to open rootfs /srv/root", "tree is gone", "jailkit update"),
        ('Exec format error - Failed to exec "/dev/.jailkit-init"', "could not be executed", "architecture"),
        ("Permission denied - Failed to record inherited namespaces", "does not permit", "as root"),
    ],
)  # fmt: skip
def test_known_failures(message: str, reason: str, remedy: str) -> None:
    cause = find_cause(log(f"ERROR    conf - ../src/lxc/conf.c:lxc_spawn:42 - {message}", *ECHO))
    assert cause is not None
    assert reason in cause.reason
    assert remedy in (cause.remedy or "")
    assert cause.lines == (message,), "LXC's own words are shown, without what follows from them"


def test_an_unknown_failure_is_told_in_lxcs_words() -> None:
    cause = find_cause(log("ERROR    conf - ../src/lxc/conf.c:frob:1 - The frobnicator is bent", *ECHO))
    assert cause is not None
    assert (cause.reason, cause.remedy) == ("LXC says: The frobnicator is bent", None)


def test_the_warning_right_before_may_hold_the_reason() -> None:
    cause = find_cause(
        log(
            "WARN     conf - ../src/lxc/conf.c:lxc_map_ids:3628 - newuidmap binary is missing",
            "WARN     cgfsng - ../src/lxc/cgroups/cgfsng.c:__cgroup_tree_create:748 - File exists - Creating the final "
            "cgroup 9(jailkit/box/main) failed",
            "WARN     cgfsng - ../src/lxc/cgroups/cgfsng.c:cgroup_tree_create:808 - File exists - Failed to create",
            "ERROR    cgfsng - ../src/lxc/cgroups/cgfsng.c:cgfsng_payload_create:1492 - Numerical result out of range",
        )
    )
    assert cause is not None
    assert cause.reason == "a cgroup of its name is there already"


def test_a_missing_newuidmap_is_no_reason_for_another_failure() -> None:
    cause = find_cause(
        log(
            "WARN     conf - ../src/lxc/conf.c:lxc_map_ids:3628 - newuidmap binary is missing",
            'ERROR    conf - ../src/lxc/conf.c:mount_entry:2446 - No such file or directory - Failed to mount "none"',
        )
    )
    assert cause is not None
    assert "no file or folder" in cause.reason


def test_when_all_are_echoes_they_are_shown() -> None:
    cause = find_cause(log(*ECHO))
    assert cause is not None
    assert cause.reason.startswith("LXC says: An error occurred in another process")


@pytest.mark.parametrize("text", ["", "nonsense\n", log("WARN     conf - ../src/lxc/conf.c:frob:1 - Well")])
def test_a_log_without_an_error_has_no_cause(text: str) -> None:
    assert find_cause(text) is None


def test_lines_are_taken_apart() -> None:
    text = log('NOTICE   start - ../src/lxc/start.c:start:2194 - Exec\'ing "/dev/.jailkit-init"') + "broken line\n"
    assert read_log(text) == [Entry("NOTICE", "start", 'Exec\'ing "/dev/.jailkit-init"')]
