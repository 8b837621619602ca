"""The last pass of planning: canonical paths, parents, collisions, loops."""

from __future__ import annotations

import pytest

from jailkit.errors import PlanError
from jailkit.plan.model import Because, Copy, Device, Directory, Entry, Reason, Symlink, Text
from jailkit.plan.tidy import canonical, tidy


def why(because: Because = "named", key: str = "key") -> Reason:
    return Reason(key, because)


def folder(path: str, mode: int = 0o755, because: Because = "named") -> Directory:
    return Directory(path, why(because), mode)


def file(path: str, source: str = "/host", because: Because = "named") -> Copy:
    return Copy(path, source, why(because))


def link(path: str, target: str, because: Because = "named") -> Symlink:
    return Symlink(path, target, why(because))


def show(entries: tuple[Entry, ...]) -> dict[str, str]:
    """Write a plan as a table; a path twice would be lost here, so count."""
    lines = {}
    for entry in entries:
        match entry:
            case Directory():
                text = f"dir {entry.mode:04o}"
            case Copy():
                text = f"copy {entry.source}"
            case Symlink():
                text = f"link {entry.target}"
            case Text():
                text = f"text {entry.content}"
            case Device():
                text = f"device {entry.major},{entry.minor}"
        lines[entry.path] = f"{text} {entry.reason.because}"
    assert len(lines) == len(entries)
    return lines


USR_MERGE = [link("/bin", "usr/bin", "base"), link("/lib", "/usr/lib", "base"), folder("/usr/bin", because="base")]


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        pytest.param([], {}, id="nothing"),
        pytest.param(
            [file("/a/b/c")],
            {"/a": "dir 0755 parent", "/a/b": "dir 0755 parent", "/a/b/c": "copy /host named"},
            id="parents are made",
        ),
        pytest.param(
            [folder("/a", 0o700), file("/a/b")],
            {"/a": "dir 0700 named", "/a/b": "copy /host named"},
            id="a wanted parent keeps its mode",
        ),
        pytest.param(
            [*USR_MERGE, file("/bin/sh"), file("/lib/x/libc.so.6")],
            {
                "/bin": "link usr/bin base",
                "/lib": "link /usr/lib base",
                "/usr": "dir 0755 parent",
                "/usr/bin": "dir 0755 base",
                "/usr/bin/sh": "copy /host named",
                "/usr/lib": "dir 0755 parent",
                "/usr/lib/x": "dir 0755 parent",
                "/usr/lib/x/libc.so.6": "copy /host named",
            },
            id="links of a merged /usr",
        ),
        pytest.param(
            [*USR_MERGE, folder("/bin", 0o711)],
            {
                "/bin": "link usr/bin base",
                "/lib": "link /usr/lib base",
                "/usr": "dir 0755 parent",
                "/usr/bin": "dir 0711 named",
            },
            id="a directory entry follows the link in its own place",
        ),
        pytest.param(
            [*USR_MERGE, link("/bin/awk", "/etc/awk"), file("/etc/awk")],
            {
                "/bin": "link usr/bin base",
                "/etc": "dir 0755 parent",
                "/etc/awk": "copy /host named",
                "/lib": "link /usr/lib base",
                "/usr": "dir 0755 parent",
                "/usr/bin": "dir 0755 base",
                "/usr/bin/awk": "link /etc/awk named",
            },
            id="a link below a link",
        ),
        pytest.param(
            [*USR_MERGE, link("/bin/tools", "/opt/tools"), file("/bin/tools/x")],
            {
                "/bin": "link usr/bin base",
                "/lib": "link /usr/lib base",
                "/opt": "dir 0755 parent",
                "/opt/tools": "dir 0755 parent",
                "/opt/tools/x": "copy /host named",
                "/usr": "dir 0755 parent",
                "/usr/bin": "dir 0755 base",
                "/usr/bin/tools": "link /opt/tools named",
            },
            id="through two links, one behind the other",
        ),
        pytest.param(
            [link("/a/up", "../../../b"), file("/a/up/x")],
            {
                "/a": "dir 0755 parent",
                "/a/up": "link ../../../b named",
                "/b": "dir 0755 parent",
                "/b/x": "copy /host named",
            },
            id="dot dot stops at the root",
        ),
        pytest.param(
            [link("/etc/hosts", "other", "hidden"), Text("/etc/hosts", "mine", why())],
            {"/etc": "dir 0755 parent", "/etc/hosts": "text mine named"},
            id="what the profile names replaces what every jail has",
        ),
        pytest.param(
            [Text("/etc/hosts", "mine", why()), file("/etc/hosts", because="package")],
            {"/etc": "dir 0755 parent", "/etc/hosts": "text mine named"},
            id="and is not replaced by what a package brings",
        ),
        pytest.param(
            [folder("/tmp", 0o1777, "base"), folder("/tmp", 0o755, "package"), folder("/tmp", 0o755, "tree")],
            {"/tmp": "dir 1777 base"},
            id="a package does not change a base directory",
        ),
        pytest.param(
            [folder("/tmp", 0o1777, "base"), folder("/tmp", 0o700)],
            {"/tmp": "dir 0700 named"},
            id="the profile does",
        ),
        pytest.param(
            [folder("/usr/sbin", because="base"), folder("/usr/sbin", 0o700, "account")],
            {"/usr": "dir 0755 parent", "/usr/sbin": "dir 0755 base"},
            id="an account's home does not take over a directory that every jail has",
        ),
        pytest.param(
            [file("/lib/a.so", "/first", "library"), file("/lib/a.so", "/second", "library")],
            {"/lib": "dir 0755 parent", "/lib/a.so": "copy /first library"},
            id="the first reason is kept",
        ),
        pytest.param([folder("/", because="base")], {}, id="the root itself is no entry"),
    ],
)
def test_tidy(entries: list[Entry], expected: dict[str, str]) -> None:
    assert show(tidy(entries)) == expected


def test_parents_come_before_children_and_siblings_in_order() -> None:
    entries = tidy([file("/a/b"), file("/a-b/c"), file("/a.d/x"), file("/Z")])
    assert [entry.path for entry in entries] == ["/Z", "/a", "/a/b", "/a-b", "/a-b/c", "/a.d", "/a.d/x"]


def test_the_order_of_unrelated_entries_does_not_matter() -> None:
    entries = [*USR_MERGE, file("/bin/sh"), file("/lib/x"), folder("/tmp", 0o1777)]
    assert show(tidy(entries)) == show(tidy(reversed(entries)))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        pytest.param(
            [folder("/a"), file("/a")], "cannot place /a: it is wanted as a directory", id="directory, then file"
        ),
        pytest.param(
            [file("/a"), folder("/a")], "wanted as a file by key and as a directory", id="file, then directory"
        ),
        pytest.param([file("/a"), file("/a/b")], "cannot place /a/b: /a is a file for key", id="below a file"),
        pytest.param([file("/a"), file("/a/b/c/d")], "cannot place /a/b: /a is a file", id="far below a file"),
        pytest.param([link("/a", "/b"), link("/b", "/a"), file("/a/x")], "a loop of symbolic links", id="loop of two"),
        pytest.param([link("/a", "a"), file("/a/x")], "a loop of symbolic links", id="loop of one"),
        pytest.param([link("/a", "/a/b"), file("/a/x")], "a loop of symbolic links", id="a link below itself"),
        pytest.param([Text("/dev", "x", why()), Device("/dev/null", 1, 3, why())], "/dev is a text for key", id="dev"),
    ],
)
def test_what_cannot_be_placed(entries: list[Entry], message: str) -> None:
    with pytest.raises(PlanError) as caught:
        tidy(entries)
    assert message in caught.value.brief


@pytest.mark.parametrize(
    ("path", "follow_last", "expected"),
    [
        ("/bin/sh", False, "/usr/bin/sh"),
        ("/bin", False, "/bin"),
        ("/bin", True, "/usr/bin"),
        ("/one/sh", False, "/usr/bin/sh"),
        ("/nowhere/x", False, "/nowhere/x"),
        ("/", True, "/"),
        ("/bin/../lib", False, "/usr/lib"),
        ("/up/x", True, "/x"),
    ],
)
def test_canonical(path: str, follow_last: bool, expected: str) -> None:
    links = {"/bin": "usr/bin", "/one": "./bin//", "/up": "../../.."}
    assert canonical(path, links, follow_last=follow_last) == expected
