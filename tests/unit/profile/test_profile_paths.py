"""Paths in the jail, sources on the host, and targets of links."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from jailkit.profile import paths
from jailkit.profile.refusal import Refusal

Check = Callable[[object], str]


@pytest.mark.parametrize(
    ("check", "written", "path"),
    [
        (paths.jail_path, "/etc/motd", "/etc/motd"),
        (paths.jail_path, "/a..b/...", "/a..b/..."),
        (paths.jail_path, "/procedure", "/procedure"),
        (paths.jail_path, "/" + "n" * 255, "/" + "n" * 255),
        (paths.jail_path, "/Grüße", "/Grüße"),
        (paths.folder_path, "/var/www/", "/var/www"),
        (paths.folder_path, "/dev/shm", "/dev/shm"),
        (paths.home_path, "/", "/"),
        (paths.home_path, "/home/jail/", "/home/jail"),
        (paths.target_path, "/srv/", "/srv"),
        (paths.link_path, "/dev/log", "/dev/log"),
        (paths.source_path, "/etc/./ssl//certs", "/etc/ssl/certs"),
        (paths.source_path, "//etc/hosts", "/etc/hosts"),
        (paths.source_path, "/usr/lib/**/*.so", "/usr/lib/**/*.so"),
        (paths.link_target, "../lib/x", "../lib/x"),
    ],
)
def test_taken(check: Check, written: str, path: str) -> None:
    assert check(written) == path


EVERYWHERE: list[tuple[object, str]] = [
    ("", "must not be empty"),
    (None, "expected text, got nothing"),
    (5, "expected text, got 5"),
    (["/etc"], "expected text, got a list"),
    ("etc/motd", "expected an absolute path"),
    ("../x", r"absolute path|must not contain `\.\.`"),
    ("/etc/../root", r"must not contain `\.\.`"),
    ("/etc/..", r"must not contain `\.\.`"),
    ("/a\nb", "control character"),
    ("/a\x00b", "control character"),
    ("/a\x1b[31mb", "control character"),
    ("/a\x9bb", "control character"),
    ("/a\u202eb", "control character"),
    ("/" + "n" * 256, "more than 255 bytes"),
    ("/" + "ü" * 128, "more than 255 bytes"),
    ("/a" * 2048, "more than 4095 bytes"),
    ("/proc", "belongs to the kernel"),
    ("/proc/self/root/etc/shadow", "belongs to the kernel"),
    ("/sys/fs/cgroup", "belongs to the kernel"),
]
IN_JAIL: list[tuple[object, str]] = [("/etc/./x", r"must not contain `\.`"), ("/etc//x", "must not contain `//`")]


@pytest.mark.parametrize("check", [paths.jail_path, paths.content_path, paths.folder_path, paths.target_path])
@pytest.mark.parametrize(("written", "message"), [*EVERYWHERE, *IN_JAIL, ("/", "root itself")])
def test_refused_in_the_jail(check: Check, written: object, message: str) -> None:
    with pytest.raises(Refusal, match=message):
        check(written)


@pytest.mark.parametrize(
    ("written", "message"),
    [*EVERYWHERE, ("/dev/sda", "belongs to the kernel"), ("/", "whole root"), ("/.", "whole root")],
)
def test_refused_as_source(written: object, message: str) -> None:
    with pytest.raises(Refusal, match=message):
        paths.source_path(written)


@pytest.mark.parametrize(
    ("check", "written", "message"),
    [
        (paths.content_path, "/dev/null", "only what `devices` lists"),
        (paths.content_path, "/dev", "only what `devices` lists"),
        (paths.jail_path, "/etc/motd/", "must not end in a slash"),
        (paths.folder_path, "/var//", "must not end in a slash|`//`"),
        (paths.link_path, "/dev", "cannot be a link"),
        (paths.link_path, "/sys", "belongs to the kernel"),
        (paths.link_target, "", "must not be empty"),
        (paths.link_target, "/proc/self/environ", "belongs to the kernel"),
        (paths.link_target, "//proc/self", "belongs to the kernel"),
        (paths.link_target, "a\nb", "control character"),
        (paths.link_target, "x/" * 2048, "more than 4095 bytes"),
        (paths.link_target, "n" * 256, "more than 255 bytes"),
    ],
)
def test_refused_here(check: Check, written: object, message: str) -> None:
    with pytest.raises(Refusal, match=message):
        check(written)


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/bin", "usr/bin"),
        ("/usr/local/lib", "../lib"),
        ("/a/b/c", "../../x"),
        ("/etc/localtime", "/usr/share/zoneinfo/UTC"),
        ("/a/b", "./../x/.."),
    ],
)
def test_links_within(path: str, target: str) -> None:
    paths.check_link(path, target)


@pytest.mark.parametrize(
    ("path", "target", "message"),
    [
        ("/bin", "..", "climbs above"),
        ("/a/b", "../../x", "climbs above"),
        ("/a/b", "x/../../../y", "climbs above"),
        ("/a", "/..", "climbs above"),
        ("/a", "/x/../../etc", "climbs above"),
        ("/a/b", "../proc/self", "belongs to the kernel"),
    ],
)
def test_links_that_leave(path: str, target: str, message: str) -> None:
    with pytest.raises(Refusal, match=message):
        paths.check_link(path, target)
