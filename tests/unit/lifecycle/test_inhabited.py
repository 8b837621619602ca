"""Which differences are data of the jail's own user, and which are damage."""

from __future__ import annotations

import pytest

from jailkit.lifecycle.drift import Drift, by_inhabitant
from jailkit.manifest import Manifest, Record
from jailkit.plan.guard import is_open, is_system, system_places
from jailkit.plan.model import Reason

WHY = Reason("base", "base")


def record(path: str, kind: str, mode: int, owner: int = 0, group: int = 0) -> Record:
    return Record(path, kind, mode, owner, group, WHY)  # type: ignore[arg-type]


MANIFEST = Manifest.of(
    [
        record("/", "directory", 0o755),
        record("/etc", "directory", 0o755),
        record("/etc/motd", "file", 0o644),
        record("/etc/app.conf", "file", 0o644, 1000),
        record("/etc/group.conf", "file", 0o664, 0, 1000),
        record("/bin", "symlink", 0o777),
        record("/dev/null", "device", 0o666),
        record("/tmp", "directory", 0o1777),
        record("/tmp/roots", "file", 0o644),
        record("/tmp/own", "file", 0o444, 1000),
        record("/home/me", "directory", 0o700, 1000, 1000),
        record("/home/me/.profile", "file", 0o644),
        record("/home/me/link", "symlink", 0o777),
        record("/home/me/closed", "directory", 0o755),
        record("/home/me/read-only", "directory", 0o500, 1000),
        record("/spool", "directory", 0o1755, 1000),
        record("/spool/roots", "file", 0o600),
        record("/team", "directory", 0o775, 0, 1000),
    ]
)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", ""), ("/etc", ""), ("/etc/new", ""), ("/etc/motd", ""), ("/new", ""), ("/bin", ""), ("/dev/null", ""),
        ("/etc/app.conf", "content mode"), ("/etc/group.conf", "content"), ("/tmp", "content"),
        ("/tmp/new", "extra"), ("/tmp/new/deep/er", "extra"), ("/tmp/roots", ""), ("/tmp/own", "all"),
        ("/home/me", "content mode"), ("/home/me/new", "extra"), ("/home/me/.profile", "all"),
        ("/home/me/link", "all"), ("/home/me/closed", "all"), ("/home/me/closed/new", ""),
        ("/home/me/read-only/x", "extra"), ("/home/me-too", ""), ("/spool/new", "extra"), ("/spool/roots", "all"),
        ("/team", "content"), ("/team/new", "extra"), ("/etc/motd/below-a-file", ""),
    ],
)  # fmt: skip
def test_what_an_inhabitant_could_have_done(path: str, expected: str) -> None:
    known = path in MANIFEST.records
    kinds = ("content", "mode", "owner", "type", "missing") if known else ("extra",)
    done = [kind for kind in kinds if by_inhabitant(Drift(path, kind, ""), MANIFEST)]  # type: ignore[arg-type]
    assert done == (list(kinds) if expected == "all" else expected.split())


@pytest.mark.parametrize(
    ("mode", "owner", "group", "expected"),
    [
        (0o755, 0, 0, False), (0o755, 1, 0, True), (0o555, 1, 1, True), (0o555, 0, 1, False), (0o775, 0, 0, False),
        (0o775, 0, 1, True), (0o757, 0, 0, True), (0o1777, 0, 0, True), (0o4755, 0, 0, False),
    ],
)  # fmt: skip
def test_open(mode: int, owner: int, group: int, expected: bool) -> None:
    assert is_open(record("/x", "directory", mode, owner, group)) is expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", True), ("/etc", True), ("/etc/x/y", True), ("/etcetera", False), ("/usr/local", True), ("/dev", True),
        ("/dev/shm", False), ("/dev/shm/x", False), ("/dev/shmoo", True), ("/home", False), ("/var/lib", False),
        ("/lib64/x", True), ("/opt", True), ("/opt/lib", True), ("/opt/lib/deep", True), ("/opt/other", False),
    ],
)  # fmt: skip
def test_the_directories_of_the_system(path: str, expected: bool) -> None:
    places = system_places({"/lib32": "opt/lib", "/bin": "usr/bin"})
    assert is_system(path, places) is expected
