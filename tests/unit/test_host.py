"""What planning asks of a host, answered below a root that is not this machine's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.children import NOBODY, in_child
from support.trees import plant

from jailkit.errors import PlanError
from jailkit.host import Host, HostAccount
from jailkit.linux.remove import remove_tree

TREE: dict[str, str | None] = {
    "/usr/bin/dash": "#!x", "/usr/bin/sh": "-> dash", "/bin": "-> usr/bin", "/usr/lib/x/libc.so": "elf",
    "/lib": "-> usr/lib", "/usr/lib/x/libc.so.6": "-> libc.so", "/usr/bin/abs": "-> /usr/bin/sh",
    "/usr/bin/up": "-> ../../../../usr/bin/sh", "/loop": "-> loop", "/one": "-> two", "/two": "-> /one/x",
    "/dangling": "-> /nowhere/at/all", "/etc/alternatives/awk": "-> /usr/bin/mawk", "/usr/bin/awk":
    "-> /etc/alternatives/awk", "/usr/bin/mawk": "#!m", "/dots": "-> ./usr/./bin//sh", "/dir": None,
    "/empty/.hidden/deep": "", "/empty/a.txt": "", "/empty/b.txt": "", "/empty/[x].txt": "",
}  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return plant(tmp_path / "root", TREE)


@pytest.fixture
def host(root: Path) -> Host:
    return Host(str(root))


@pytest.mark.parametrize(
    ("path", "links", "real"),
    [
        ("/", [], "/"),
        ("/usr/bin/dash", [], "/usr/bin/dash"),
        ("//usr/./bin//dash/", [], "/usr/bin/dash"),
        ("/bin/dash", ["/bin -> usr/bin"], "/usr/bin/dash"),
        ("/bin", ["/bin -> usr/bin last"], "/usr/bin"),
        ("/bin/sh", ["/bin -> usr/bin", "/usr/bin/sh -> dash last"], "/usr/bin/dash"),
        ("/usr/bin/abs", ["/usr/bin/abs -> /usr/bin/sh last", "/usr/bin/sh -> dash last"], "/usr/bin/dash"),
        ("/usr/bin/up", ["/usr/bin/up -> ../../../../usr/bin/sh last", "/usr/bin/sh -> dash last"], "/usr/bin/dash"),
        ("/dots", ["/dots -> ./usr/./bin//sh last", "/usr/bin/sh -> dash last"], "/usr/bin/dash"),
        ("/lib/x/libc.so.6", ["/lib -> usr/lib", "/usr/lib/x/libc.so.6 -> libc.so last"], "/usr/lib/x/libc.so"),
        ("/bin/../lib/x", ["/bin -> usr/bin"], "/usr/lib/x"),
        ("/../../etc", [], "/etc"),
        ("/dangling", ["/dangling -> /nowhere/at/all last"], "/nowhere/at/all"),
        ("/nowhere/x", [], "/nowhere/x"),
        (
            "/bin/awk",
            ["/bin -> usr/bin", "/usr/bin/awk -> /etc/alternatives/awk last",
             "/etc/alternatives/awk -> /usr/bin/mawk last"],
            "/usr/bin/mawk",
        ),
    ],
)  # fmt: skip
def test_walk(host: Host, path: str, links: list[str], real: str) -> None:
    walk = host.walk(path)
    assert ([f"{link.path} -> {link.target}{' last' * link.last}" for link in walk.links], walk.real) == (links, real)


@pytest.mark.parametrize("path", ["/loop", "/loop/x", "/one", "/two"])
def test_walking_in_circles_ends(host: Host, path: str) -> None:
    with pytest.raises(PlanError, match="too many symbolic links"):
        host.walk(path)
    assert not host.is_program(path)
    assert host.read_text(path) is None
    assert host.shebang(path) is None


def test_forty_links_are_followed_and_one_more_is_not(root: Path) -> None:
    for number in range(1, 42):
        (root / f"l{number}").symlink_to(f"l{number - 1}" if number > 1 else "dir")
    host = Host(str(root))
    assert host.walk("/l40").real == "/dir"
    with pytest.raises(PlanError):
        host.walk("/l41")


def test_lstat_does_not_follow(host: Host) -> None:
    assert host.lstat("/nowhere") is None
    status = host.lstat("/usr/bin/sh")
    assert status is not None
    assert status.st_mode & 0o170000 == 0o120000


def test_programs_are_looked_up_on_the_system_path_in_order(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(
        root, {"/usr/local/bin/dash": "not executable", "/usr/sbin/mawk": "#!", "/usr/bin/folder": None, "/opt/x": "#!"}
    )
    (root / "usr/bin/link-out").symlink_to("/etc/shadow")
    monkeypatch.setenv("PATH", "/opt")
    host = Host(str(root))
    assert [host.which(name) for name in ("dash", "mawk", "sh", "awk", "x", "folder", "link-out", "nothing")] == [
        "/usr/bin/dash", "/usr/sbin/mawk", "/usr/bin/sh", "/usr/bin/awk", None, None, None, None,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("/empty/*.txt", ["/empty/[x].txt", "/empty/a.txt", "/empty/b.txt"]),
        ("/empty/*", ["/empty/.hidden", "/empty/[x].txt", "/empty/a.txt", "/empty/b.txt"]),
        ("/empty/[ab].txt", ["/empty/a.txt", "/empty/b.txt"]),
        ("/empty/[!a].txt", ["/empty/b.txt"]),
        ("/empty/?.txt", ["/empty/a.txt", "/empty/b.txt"]),
        ("/*/a.txt", ["/empty/a.txt"]),
        ("/bin/d*", ["/bin/dash"]),
        ("/empty/**", ["/empty/.hidden", "/empty/.hidden/deep", "/empty/[x].txt", "/empty/a.txt", "/empty/b.txt"]),
        ("/empty/**/deep", ["/empty/.hidden/deep"]),
        ("/empty/**/*.txt", ["/empty/[x].txt", "/empty/a.txt", "/empty/b.txt"]),
        ("/**/deep", ["/empty/.hidden/deep"]),
        ("/empty/**/[!a].txt", ["/empty/b.txt"]),
        ("/empty/**/a.txt", ["/empty/a.txt"]),
        ("/empty/nothing*", []),
        ("/nowhere/*", []),
        ("/nowhere/**", []),
        ("/empty/a.txt/**", []),
        ("/usr/bin/sh*", ["/usr/bin/sh"]),
    ],
)
def test_glob(host: Host, pattern: str, expected: list[str]) -> None:
    assert host.glob(pattern) == expected


def test_double_stars_follow_no_link(root: Path) -> None:
    plant(root, {"/t/real/x": "", "/t/to-real": "-> real", "/t/loop": "-> .", "/t/root": "-> /"})
    assert Host(str(root)).glob("/t/**") == ["/t/loop", "/t/real", "/t/real/x", "/t/root", "/t/to-real"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("/bin/*", ["/bin/x"]),
        ("/bin/**", ["/bin/x"]),
        ("/usr/*/x", ["/usr/bin/x"]),
        ("/*/x", ["/t/x"]),
        ("/t/*/x", []),
        ("/t/*/*", ["/t/real/y"]),
        ("/t/loo?/real/y", []),
        ("/t/*/root/*", []),
        ("/t/r[eo]*", ["/t/real", "/t/root"]),
        ("/absolute/*", ["/absolute/x"]),
        ("/kernel/*", []),
        ("/proc/*", []),
        ("/*/1", []),
        ("/*/shm/*", []),
        ("/**/1", []),
    ],
)
def test_links_are_followed_before_the_first_wildcard_only(root: Path, pattern: str, expected: list[str]) -> None:
    host = plant(
        root / "host",
        {"/usr/bin/x": "", "/bin": "-> usr/bin", "/absolute": "-> /usr/bin", "/t/real/y": "", "/t/x": "",
         "/t/loop": "-> .", "/t/root": "-> /", "/proc/1": "", "/dev/shm/f": "", "/kernel": "-> proc"},
    )  # fmt: skip
    assert Host(str(host)).glob(pattern) == expected


def test_a_pattern_without_end_is_refused(host: Host, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(root, {f"/many/{number}/{number}": "" for number in range(30)})
    monkeypatch.setattr("jailkit.host._MAX_MATCHES", 30)
    assert len(host.glob("/many/*/*")) == 30
    with pytest.raises(PlanError, match=r"cannot expand /many/\*\*: more than 30 paths match"):
        host.glob("/many/**")
    monkeypatch.setattr("jailkit.host._MAX_COMPARED", 59)
    with pytest.raises(PlanError, match=r"cannot expand /many/\*/\*: more than 59 names") as caught:
        host.glob("/many/*/*")
    assert caught.value.resolution


def test_a_root_with_wildcards_in_its_name(tmp_path: Path) -> None:
    plant(tmp_path / "[a]*", {"/x/1": "", "/x/2": ""})
    assert Host(str(tmp_path / "[a]*")).glob("/x/*") == ["/x/1", "/x/2"]


def test_listing_a_tree(root: Path) -> None:
    plant(root, {"/t/b/1": "", "/t/a": "", "/t/c": "-> /etc"})
    assert [path for path, _ in Host(str(root)).list_tree("/t")] == ["/t/a", "/t/b", "/t/b/1", "/t/c"]
    with pytest.raises(PlanError, match="cannot read /nowhere"):
        list(Host(str(root)).list_tree("/nowhere"))


def test_listing_a_very_deep_tree(root: Path) -> None:
    before = os.getcwd()
    (root / "t").mkdir()
    try:
        os.chdir(root / "t")
        for _ in range(1200):
            os.mkdir("d")
            os.chdir("d")
        assert len(list(Host(str(root)).list_tree("/t"))) == 1200
    finally:
        os.chdir(before)
        remove_tree(str(root / "t"))


@pytest.mark.needs("root")
def test_a_folder_that_may_not_be_read_is_named(public: Path) -> None:
    plant(public, {"/secret/x": ""})
    (public / "secret").chmod(0o700)

    def look() -> str:
        with pytest.raises(PlanError) as caught:
            list(Host(str(public)).list_tree("/secret"))
        return str(caught.value)

    assert "cannot read /secret: Permission denied" in in_child(look, uid=NOBODY)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"#!/bin/sh\n", ("/bin/sh",)),
        (b"#!/bin/sh", ("/bin/sh",)),
        (b"#! \t /bin/sh \t\n", ("/bin/sh",)),
        (b"#!/bin/sh -e -u\nrest", ("/bin/sh", "-e -u")),
        (b"#!/usr/bin/env python3\n", ("/usr/bin/env", "python3")),
        (b"#!/usr/bin/env -S perl -w\n", ("/usr/bin/env", "-S perl -w")),
        (b"#!\n", ()),
        (b"#!", ()),
        (b"# !/bin/sh\n", None),
        (b"", None),
        (b"#", None),
        (b"\x7fELF", None),
        (b"#!/bin/\xff\n", ("/bin/\udcff",)),
        (b"#!/" + b"x" * 400 + b" arg\n", ("/" + "x" * 253,)),
    ],
)
def test_shebang(root: Path, head: bytes, words: tuple[str, ...] | None) -> None:
    (root / "script").write_bytes(head)
    assert Host(str(root)).shebang("/script") == words


def test_a_shebang_is_read_from_files_of_this_root_only(root: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("#!/secret\n")
    (root / "out").symlink_to(tmp_path / "outside")
    (root / "folder").symlink_to(tmp_path)
    (root / "inside").symlink_to("/script")
    (root / "script").write_text("#!/bin/sh\n")
    os.mkfifo(root / "fifo")
    host = Host(str(root))
    assert [host.shebang(path) for path in ("/out", "/folder/outside", "/inside", "/fifo", "/dir", "/nowhere")] == [
        None, None, ("/bin/sh",), None, None, None,
    ]  # fmt: skip


def test_reading_text(root: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("secret")
    (root / "out").symlink_to(tmp_path / "outside")
    (root / "bytes").write_bytes(b"a\xffb")
    os.mkfifo(root / "fifo")
    host = Host(str(root))
    assert host.read_text("/bytes") == "a\ufffdb"
    assert host.read_text("/bytes", limit=1) == "a"
    assert host.read_text("/bin/sh") == "#!x"
    assert [host.read_text(path) for path in ("/out", "/fifo", "/dir", "/nowhere")] == [None] * 4


def test_accounts_and_groups(root: Path) -> None:
    plant(
        root,
        {
            "/etc/passwd": "root:x:0:0:root:/root:/bin/bash\nbroken:x:1\nodd:x:a:b::/:/x\n"
            "liar:x:7:7:\u2028planted:x:0:0::/:/x:/:/x\nweb:x:33:34:,,,:/var/www:/bin/sh\nweb:x:99:99::/second:/x\n",
            "/etc/group": "root:x:0:\nwww:x:34:a,b\nodd:x:y:\nshort:x\n",
        },
    )
    host = Host(str(root))
    assert host.account("web") == HostAccount("web", 33, 34, "/var/www", "/bin/sh")
    assert [host.account(name) for name in ("broken", "odd", "nobody", "planted", "")] == [None] * 5
    assert [host.group(name) for name in ("root", "www", "odd", "short", "none")] == [0, 34, None, None, None]
    assert Host(str(root / "empty")).account("root") is None


INFO = "/var/lib/dpkg/info"
STATUS = """Package: dash
Status: install ok installed
Version: 0.5.12-2

Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.36-9
Description: no
 Version: 9.9

Package: libc6
Status: install ok installed
Architecture: i386
Version: 2.36-9

Package: empty
Status: hold ok installed
Version: 1

Package: gone
Status: deinstall ok config-files
Version: 1
"""


@pytest.fixture
def debian(tmp_path: Path) -> Host:
    root = plant(
        tmp_path / "debian",
        {
            f"{INFO}/dash.list": "/.\n/bin\n/bin/dash\n/bin/sh\n/usr/share/doc/dash\n",
            f"{INFO}/libc6:amd64.list": "/.\n/lib/x/libc.so.6\n/usr/lib/x/gconv\n",
            f"{INFO}/libc6:i386.list": "/.\n/lib/i/libc.so.6\n",
            f"{INFO}/empty.list": "/.\n",
            f"{INFO}/gone.list": "/.\n/etc/gone.conf\n",
            f"{INFO}/dash.md5sums": "/bin/other\n",
            "/var/lib/dpkg/status": STATUS,
        },
    )
    return Host(str(root))


def test_the_files_of_a_package(debian: Host) -> None:
    assert debian.package_files("dash") == ["/bin", "/bin/dash", "/bin/sh", "/usr/share/doc/dash"]
    assert debian.package_files("libc6") == ["/lib/x/libc.so.6", "/usr/lib/x/gconv"]
    assert debian.package_files("libc6:i386") == ["/lib/i/libc.so.6"]
    assert debian.package_files("empty") == []
    assert [debian.package_files(name) for name in ("gone", "lib", "*")] == [None] * 3


def test_who_owns_a_file_however_its_path_is_spelled(debian: Host) -> None:
    paths = ["/usr/bin/dash", "/usr/lib/x/libc.so.6", "/usr/lib/x/gconv", "/usr/share/doc/dash", "/bin/sh", "/opt/own"]
    assert debian.owners(paths) == {
        "/usr/bin/dash": "dash", "/usr/lib/x/libc.so.6": "libc6", "/usr/lib/x/gconv": "libc6",
        "/usr/share/doc/dash": "dash", "/bin/sh": "dash",
    }  # fmt: skip
    assert debian.owners([]) == {}


def test_the_versions_of_packages(debian: Host) -> None:
    assert debian.package_versions(["dash", "libc6", "unknown"]) == {"dash": "0.5.12-2", "libc6": "2.36-9"}
    assert debian.package_versions(["gone"]) == debian.package_versions([]) == {}


def test_a_host_without_dpkg(host: Host) -> None:
    assert (host.package_files("dash"), host.owners(["/bin/sh"]), host.package_versions(["dash"])) == (None, {}, {})


def test_answers_are_of_one_moment(root: Path) -> None:
    """A plan sees one state of the host, even where a link is changed while it is made."""
    host = Host(str(root))
    before = host.walk("/bin/sh")
    (root / "usr/bin/sh").unlink()
    (root / "usr/bin/sh").symlink_to("mawk")
    assert host.walk("/bin/sh") == before
    assert Host(str(root)).walk("/bin/sh").real == "/usr/bin/mawk"
