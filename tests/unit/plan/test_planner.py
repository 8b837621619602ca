"""Planning on a small host in a folder: no ELF file, no root, nothing executed and nothing written."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.handmade import NEEDED, Image
from support.profiles import write_profile
from support.trees import dump, plant

from jailkit.errors import PlanError
from jailkit.host import Host
from jailkit.plan.gather import env_program
from jailkit.plan.model import Copy, Destination, Device, Directory, Entry, Plan, Port, Symlink, Text
from jailkit.plan.planner import make_plan
from jailkit.profile import load_profile

PROGRAM = "#!"  # executable, no ELF file, and without an interpreter
HOST: dict[str, str | None] = {
    "/bin": "-> usr/bin", "/lib": "-> usr/lib", "/usr/bin/dash": PROGRAM, "/usr/bin/sh": "-> dash",
    "/usr/bin/env": PROGRAM, "/usr/bin/python3.11": PROGRAM, "/usr/bin/python3": "-> python3.11",
    "/usr/bin/perl": PROGRAM, "/usr/bin/plain": "#!/bin/sh -e\n", "/usr/bin/by-env": "#!/usr/bin/env python3\n",
    "/usr/bin/by-split": "#!/usr/bin/env -S FOO=1 perl -w\n", "/usr/bin/orphan": "#!/usr/bin/ruby\n",
    "/usr/bin/env-orphan": "#!/usr/bin/env node\n", "/usr/bin/nested": "#!/usr/bin/plain\n",
    "/usr/lib/x": None, "/etc/passwd": "root:x:0:0:r:/root:/bin/bash\nweb:x:33:34::/srv/web:/bin/zsh\n"
    "daemon:x:1:1::/usr/sbin:/usr/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    "/etc/group": "root:x:0:\nweb:x:34:\naudio:x:29:\n", "/etc/shadow": "root:secret:1:::::\n",
    "/etc/resolv.conf": "-> ../run/resolv.conf", "/run/resolv.conf": "nameserver 127.0.0.53\n",
    "/usr/share/zoneinfo/Etc/UTC": "TZif", "/etc/localtime": "-> /usr/share/zoneinfo/Etc/UTC",
    "/etc/ld.so.conf": "include /etc/ld.so.conf.d/*.conf\n", "/etc/ld.so.conf.d/x.conf": "/usr/lib/x\n",
    "/srv/site/index.html": "<p>", "/srv/site/run.sh": "#!/bin/sh\n", "/srv/site/deep/file": "x",
    "/srv/site/deep/up": "-> ../index.html", "/srv/site/out": "-> /etc/shadow", "/srv/site/broken": "-> nothing",
    "/srv/site/outside": "-> ../other", "/srv/other": "o", "/srv/site-evil/file": "evil",
    "/var/lib/dpkg/info/tool.list": "/.\n/usr\n/usr/bin\n/usr/bin/plain\n/usr/share/tool\n/usr/share/tool/data\n"
    "/usr/share/tool/link\n/usr/share/tool/gone\n", "/usr/share/tool/data": "d", "/usr/share/tool/link": "-> data",
    "/var/lib/dpkg/info/dash.list": "/.\n/bin/dash\n/bin/sh\n",
    "/var/lib/dpkg/status": "Package: tool\nStatus: install ok installed\nVersion: 1.0\n\n"
    "Package: dash\nStatus: install ok installed\nVersion: 2.0\n",
}  # fmt: skip

# What every jail has on this host; the tests below show what is more.
BASE = {
    "/bin": "link usr/bin", "/dev": "dir 0755", "/dev/full": "char 0666 1,7", "/dev/null": "char 0666 1,3",
    "/dev/random": "char 0666 1,8", "/dev/tty": "char 0666 5,0", "/dev/urandom": "char 0666 1,9",
    "/dev/zero": "char 0666 1,5", "/etc": "dir 0755", "/etc/group": "text 0644", "/etc/hosts": "text 0644",
    "/etc/ld.so.conf": "copy 0644", "/etc/ld.so.conf.d": "dir 0755", "/etc/ld.so.conf.d/x.conf": "copy 0644",
    "/etc/localtime": "link /usr/share/zoneinfo/Etc/UTC", "/etc/nsswitch.conf": "text 0644",
    "/etc/passwd": "text 0644", "/etc/resolv.conf": "copy 0644 /run/resolv.conf", "/home": "dir 0755",
    "/home/jail": "dir 0700 60999:60999", "/lib": "link usr/lib", "/proc": "dir 0755", "/root": "dir 0700",
    "/run": "dir 0755", "/sys": "dir 0755", "/tmp": "dir 1777", "/usr": "dir 0755", "/usr/bin": "dir 0755",
    "/usr/lib": "dir 0755", "/usr/share": "dir 0755", "/usr/share/zoneinfo": "dir 0755",
    "/usr/share/zoneinfo/Etc": "dir 0755", "/usr/share/zoneinfo/Etc/UTC": "copy 0644", "/var": "dir 0755",
    "/var/tmp": "dir 1777",
}  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return plant(tmp_path / "host", HOST)


MakePlan = Callable[..., Plan]


@pytest.fixture
def plan(root: Path, tmp_path: Path) -> MakePlan:
    def make(**keys: Any) -> Plan:
        return make_plan(load_profile(str(write_profile(tmp_path, **keys))), "chroot", Host(str(root)))

    return make


def line(entry: Entry) -> str:
    match entry:
        case Directory():
            words = f"dir {entry.mode:04o}"
        case Copy():
            words = f"copy {entry.mode:04o}" + (f" {entry.source}" if entry.source != entry.path else "")
            words += " kept" * entry.keep_privileges
        case Text():
            words = f"text {entry.mode:04o}"
        case Symlink():
            return f"link {entry.target}"
        case Device():
            words = f"char {entry.mode:04o} {entry.major},{entry.minor}"
    return words if entry.uid == entry.gid == 0 else f"{words} {entry.uid}:{entry.gid}"


def table(plan: Plan) -> dict[str, str]:
    assert [entry.path for entry in plan.entries] == sorted(
        (entry.path for entry in plan.entries), key=lambda path: path.split("/")
    )
    return {entry.path: line(entry) for entry in plan.entries}


def more(plan: Plan) -> dict[str, str]:
    """Give what a plan has that not every jail has."""
    found = table(plan)
    assert {path: found.get(path) for path in BASE} == BASE
    return {path: text for path, text in found.items() if path not in BASE}


def text(plan: Plan, path: str) -> str:
    (entry,) = (entry for entry in plan.entries if entry.path == path)
    assert isinstance(entry, Text)
    return entry.content


def notes(plan: Plan) -> dict[str, str]:
    return {omission.key: omission.message for omission in plan.omissions}


def problems(plan: MakePlan, **keys: Any) -> list[str]:
    with pytest.raises(PlanError) as caught:
        plan(**keys)
    assert caught.value.resolution
    return list(caught.value.details)


def test_what_every_jail_has(plan: MakePlan) -> None:
    assert more(plan()) == {}


SH = {"/usr/bin/dash": "copy 0755", "/usr/bin/sh": "link dash"}
DASH = {"/usr/bin/dash": "copy 0755"}


@pytest.mark.parametrize(
    ("binaries", "expected"),
    [
        (["sh"], SH),
        (["/bin/sh"], SH),
        (["dash", "/usr/bin/dash"], DASH),
        (["plain"], SH | {"/usr/bin/plain": "copy 0755"}),
        (["nested"], SH | {"/usr/bin/plain": "copy 0755", "/usr/bin/nested": "copy 0755"}),
        (
            ["by-env"],
            {"/usr/bin/by-env": "copy 0755", "/usr/bin/env": "copy 0755", "/usr/bin/python3": "link python3.11",
             "/usr/bin/python3.11": "copy 0755"},
        ),
        (["by-split"], {"/usr/bin/by-split": "copy 0755", "/usr/bin/env": "copy 0755", "/usr/bin/perl": "copy 0755"}),
    ],
)  # fmt: skip
def test_programs_bring_what_runs_them(plan: MakePlan, binaries: list[str], expected: dict[str, str]) -> None:
    assert more(plan(binaries=binaries)) == expected


@pytest.mark.parametrize(
    ("content", "mode", "expected"),
    [
        ("#!/bin/sh\n", 0o755, SH),
        ("#!/usr/bin/env -S FOO=1 perl -w\n", 0o755, {"/usr/bin/env": "copy 0755", "/usr/bin/perl": "copy 0755"}),
        ("#!/usr/bin/plain\n", 0o750, SH | {"/usr/bin/plain": "copy 0755"}),
        ("#!/bin/sh\n", 0o644, {}),
        ("echo\n", 0o755, {}),
    ],
)
def test_scripts_in_the_profile_bring_what_runs_them(
    plan: MakePlan, content: str, mode: int, expected: dict[str, str]
) -> None:
    made = plan(text={"/srv/script": {"content": content, "mode": oct(mode)}})
    assert more(made) == {"/srv": "dir 0755", "/srv/script": f"text {mode:04o}"} | expected
    assert not made.omissions


def test_a_script_in_the_profile_whose_interpreter_the_host_lacks(plan: MakePlan) -> None:
    made = plan(text={"/srv/script": {"content": "#!/opt/own/ruby\n", "mode": "0755"}})
    assert [(omission.key, omission.message) for omission in made.omissions] == [
        ("text: /srv/script", "/opt/own/ruby does not exist on this host, the interpreter of /srv/script")
    ]


@pytest.mark.parametrize(
    ("argument", "program"),
    [
        ("python3", "python3"),
        ("-S python3 -u", "python3"),
        ("-Spython3 -u", "python3"),
        ("--split-string=python3 -u", "python3"),
        ("-iS A=1 B=2 perl -w", "perl"),
        ("-S -u HOME perl", "perl"),
        ("-S -C /tmp /opt/x", "/opt/x"),
        ("-i", None),
        ("A=1", None),
        ("", None),
    ],
)
def test_what_env_runs(argument: str, program: str | None) -> None:
    assert env_program(argument) == program


def test_all_that_is_missing_is_named_at_once(plan: MakePlan) -> None:
    assert problems(
        plan,
        binaries=["nowhere", "/opt/none", "orphan", "env-orphan", "/etc/passwd"],
        packages=["ghost"],
        libraries=["libghost.so.1", "/usr/lib/libnone.so"],
        files=["/etc/nothing", {"source": "/etc/*.none", "target": "/x"}],
    ) == [
        "binaries: nowhere: nowhere is not on this host's PATH",
        "binaries: /opt/none: /opt/none does not exist on this host",
        "binaries: orphan: /usr/bin/ruby does not exist on this host, the interpreter of /usr/bin/orphan",
        "binaries: env-orphan: node is not on this host's PATH, wanted by /usr/bin/env-orphan",
        "binaries: /etc/passwd: /etc/passwd is not an executable file on this host",
        "packages: ghost: package ghost is not installed on this host",
        "libraries: libghost.so.1: library libghost.so.1 is not on this host",
        "libraries: /usr/lib/libnone.so: /usr/lib/libnone.so does not exist on this host",
        "files: /etc/nothing: /etc/nothing does not exist on this host",
        "files: /etc/*.none: nothing on this host matches /etc/*.none (past wildcards no link is followed)",
    ]


def test_an_optional_entry_is_there_whole_or_not_at_all(plan: MakePlan) -> None:
    made = plan(
        binaries=[{"name": name, "optional": True} for name in ("nowhere", "orphan", "env-orphan", "sh")],
        packages=[{"name": "ghost", "optional": True}],
        libraries=[{"name": "libghost.so.1", "optional": True}],
        files=[
            {"source": "/etc/nothing", "optional": True},
            {"source": "/nowhere/**", "target": "/x", "optional": True},
            {"source": "/bin/orphan", "target": "/opt/orphan", "optional": True},
        ],
    )
    assert more(made) == SH
    assert notes(made) == {
        "binaries: nowhere": "nowhere is not on this host's PATH: left out",
        "binaries: orphan": "/usr/bin/ruby does not exist on this host, the interpreter of /usr/bin/orphan: left out",
        "binaries: env-orphan": "node is not on this host's PATH, wanted by /usr/bin/env-orphan: left out",
        "packages: ghost": "package ghost is not installed on this host: left out",
        "libraries: libghost.so.1": "library libghost.so.1 is not on this host: left out",
        "files: /etc/nothing": "/etc/nothing does not exist on this host: left out",
        "files: /nowhere/**": "nothing on this host matches /nowhere/** (past wildcards no link is followed): left out",
        "files: /bin/orphan": "/usr/bin/ruby does not exist on this host, the interpreter of /opt/orphan: left out",
    }


def test_a_loop_of_links_is_one_problem_among_others(plan: MakePlan, root: Path) -> None:
    plant(root, {"/loop": "-> loop"})
    assert problems(plan, files=["/loop", "/etc/nothing"]) == [
        "files: /loop: cannot follow /loop: too many symbolic links",
        "files: /etc/nothing: /etc/nothing does not exist on this host",
    ]
    made = plan(files=[{"source": "/loop", "optional": True}], binaries=[{"name": "/loop", "optional": True}])
    assert set(notes(made)) == {"files: /loop", "binaries: /loop"}


def test_the_same_input_gives_the_same_plan(plan: MakePlan) -> None:
    keys = {"binaries": ["by-env", "plain", "sh"], "files": ["/srv/site"], "packages": ["tool"]}
    assert plan(**keys) == plan(**keys)


def test_planning_changes_nothing(plan: MakePlan, root: Path) -> None:
    before = dump(root, owners=True, times=True)
    plan(binaries=["by-env"], files=["/srv/site"], packages=["tool"])
    assert dump(root, owners=True, times=True) == before


def test_a_tree_under_another_name(plan: MakePlan) -> None:
    made = plan(files=[{"source": "/srv/site", "target": "/var/www"}])
    assert more(made) == SH | {
        "/var/www": "dir 0755", "/var/www/deep": "dir 0755", "/var/www/deep/file": "copy 0644 /srv/site/deep/file",
        "/var/www/deep/up": "link ../index.html", "/var/www/index.html": "copy 0644 /srv/site/index.html",
        "/var/www/run.sh": "copy 0755 /srv/site/run.sh",
    }  # fmt: skip
    assert sorted(omission.message for omission in made.omissions) == [
        "/srv/site/broken points to /srv/site/nothing, which is not on this host: left out",
        "/var/www/out points to /etc/shadow, which is not in the jail: left out",
        "/var/www/outside points to ../other, which is not in the jail: left out",
    ]


def test_a_tree_in_its_own_place_brings_what_its_links_lead_to(plan: MakePlan, root: Path) -> None:
    (root / "srv/site/out").unlink()
    made = plan(files=["/srv/site"])
    assert more(made) == SH | {
        "/srv": "dir 0755", "/srv/other": "copy 0644", "/srv/site": "dir 0755", "/srv/site/deep": "dir 0755",
        "/srv/site/deep/file": "copy 0644", "/srv/site/deep/up": "link ../index.html",
        "/srv/site/index.html": "copy 0644", "/srv/site/outside": "link ../other", "/srv/site/run.sh": "copy 0755",
    }  # fmt: skip


def test_the_owner_and_mode_of_a_tree(plan: MakePlan, root: Path) -> None:
    (root / "srv/site/out").unlink()
    (root / "srv/site").chmod(0o750)
    made = more(plan(files=[{"source": "/srv/site", "target": "/srv/s6", "owner": "jail", "mode": "0640"},
                            {"source": "/srv/site-evil", "target": "/srv/s6-evil"}]))  # fmt: skip
    assert {path: text for path, text in made.items() if path.startswith("/srv/")} == {
        "/srv/s6": "dir 0750 60999:60999", "/srv/s6/deep": "dir 0755 60999:60999",
        "/srv/s6/deep/file": "copy 0640 /srv/site/deep/file 60999:60999", "/srv/s6/deep/up": "link ../index.html",
        "/srv/s6/index.html": "copy 0640 /srv/site/index.html 60999:60999",
        "/srv/s6/run.sh": "copy 0640 /srv/site/run.sh 60999:60999", "/srv/s6-evil": "dir 0755",
        "/srv/s6-evil/file": "copy 0644 /srv/site-evil/file",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("/run/resolv.conf", {"/run/resolv.conf": "copy 0644"}),
        ({"source": "/run/resolv.conf", "target": "/etc/r"}, {"/etc/r": "copy 0644 /run/resolv.conf"}),
        (
            {"source": "/run/resolv.conf", "mode": "0600", "owner": "7:8"},
            {"/run/resolv.conf": "copy 0600 7:8"},
        ),
        (
            {"source": "/srv/site/*.html", "target": "/www"},
            {"/www": "dir 0755", "/www/index.html": "copy 0644 /srv/site/index.html"},
        ),
        (
            {"source": "/etc/resolv.conf", "target": "/etc/dns"},
            {"/etc/dns": "copy 0644 /run/resolv.conf"},
        ),
    ],
)
def test_single_files_and_patterns(plan: MakePlan, item: Any, expected: dict[str, str]) -> None:
    assert more(plan(files=[item])) == expected


LINKS: dict[str, str | None] = {
    "/m/real": "r", "/m/same": "-> real", "/m/out": "-> /etc/shadow", "/m/up": "-> ../etc/shadow", "/m/etc": "-> /etc",
    "/m/none": "-> nothing", "/m/deep/in": "-> ../real", "/m/deep/out": "-> /srv/other",
}  # fmt: skip


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (
            {"source": "/m/*", "target": "/x"},
            {"/x": "dir 0755", "/x/deep": "dir 0755", "/x/deep/in": "link ../real", "/x/real": "copy 0644 /m/real",
             "/x/same": "link real", "/x/etc": "link /etc"},
        ),
        (
            {"source": "/m/*", "target": "/x", "mode": "0640"},
            {"/x": "dir 0755", "/x/deep": "dir 0755", "/x/deep/in": "link ../real", "/x/real": "copy 0640 /m/real",
             "/x/same": "link real", "/x/etc": "link /etc"},
        ),
        ({"source": "/m/**/*out", "target": "/x"}, {"/x": "dir 0755"}),
        ({"source": "/m/[us]*", "mode": "0644", "target": "/y"}, {"/y": "dir 0755"}),
        (
            {"source": "/m/*e", "mode": "0600"},
            {"/m": "dir 0755", "/m/same": "link real", "/m/real": "copy 0644"},
        ),
        ({"source": "/m/deep/o*"}, {"/m": "dir 0755", "/m/deep": "dir 0755", "/m/deep/out": "link /srv/other",
                                    "/srv": "dir 0755", "/srv/other": "copy 0644"}),
        ({"source": "/m/same*", "owner": "7:8"}, {"/m": "dir 0755", "/m/same": "link real", "/m/real": "copy 0644"}),
        ({"source": "/m/same", "target": "/x"}, {"/x": "copy 0644 /m/real"}),
    ],
)  # fmt: skip
def test_matches_that_are_links_are_never_content_of_other_files(
    plan: MakePlan, root: Path, item: Any, expected: dict[str, str]
) -> None:
    """Whoever owns a directory could put a link to /etc/shadow into it, or to /etc."""
    plant(root, LINKS)
    assert more(plan(files=[item])) == expected


def test_a_match_that_leads_nowhere_is_noted(plan: MakePlan, root: Path) -> None:
    plant(root, LINKS)
    assert notes(plan(files=[{"source": "/m/no*", "target": "/x"}])) == {
        "files: /m/no*": "/m/none points to /m/nothing, which is not on this host: left out"
    }
    assert notes(plan(files=[{"source": "/m/u*", "target": "/x"}])) == {
        "files: /m/u*": "/x/up points to ../etc/shadow, which is not in the jail: left out"
    }


def test_a_link_of_the_profile_that_leads_nowhere_is_made_and_noted(plan: MakePlan) -> None:
    made = plan(binaries=["dash"], symlinks={"/srv/later": "/run/later", "/bin/l": "../gone", "/srv/sh": "/bin/dash"})
    assert more(made) == DASH | {
        "/srv": "dir 0755", "/srv/later": "link /run/later", "/srv/sh": "link /bin/dash", "/usr/bin/l": "link ../gone",
    }  # fmt: skip
    assert notes(made) == {
        "symlinks: /srv/later": "points to /run/later, which is not in the jail",
        "symlinks: /bin/l": "points to ../gone, which is not in the jail",
    }


def test_object_files_and_programs_of_other_machines_in_a_tree_are_data(plan: MakePlan, root: Path) -> None:
    """A compiler's folder is full of them, and a jail that lacks the libraries of none is no news."""
    (root / "usr/bin/dash").write_bytes(Image(machine=62).build())
    needs = [(NEEDED, b"libgone.so.1")]
    files = {"crt1.o": Image(kind=1), "arm.so": Image(machine=183, dynamic=needs), "own.so": Image(dynamic=needs),
             "half.so": Image(kind=7)}  # fmt: skip
    (root / "opt").mkdir()
    for name, image in files.items():
        (root / "opt" / name).write_bytes(image.build())
    (root / "opt/cut.so").write_bytes(Image().build()[:60])
    made = plan(files=["/opt"])
    assert sorted(omission.message for omission in made.omissions) == [
        "cannot list the libraries of /opt/cut.so: it is too short for an ELF file",
        "cannot list the libraries of /opt/half.so: it is an object file or a core dump, not a program or a library",
        "library libgone.so.1 is not on this host, wanted by /opt/own.so",
    ]
    assert set(files) <= {os.path.basename(path) for path in table(made)}
    assert problems(plan, binaries=[{"name": "/opt/crt1.o"}], libraries=["/opt/crt1.o"])


def test_what_is_neither_file_nor_directory(plan: MakePlan, root: Path) -> None:
    os.mkfifo(root / "srv/site/fifo")
    assert problems(plan, files=["/srv/site/fifo"]) == [
        "files: /srv/site/fifo: /srv/site/fifo is neither a file nor a directory"
    ]
    made = plan(files=[{"source": "/srv/site", "target": "/x"}])
    assert "/x/fifo" not in table(made)
    assert "/srv/site/fifo is neither file, directory nor link: left out" in [o.message for o in made.omissions]


def test_a_package_brings_its_files_and_what_they_need(plan: MakePlan) -> None:
    made = plan(packages=["tool"])
    assert more(made) == SH | {
        "/usr/bin/plain": "copy 0755", "/usr/share/tool": "dir 0755", "/usr/share/tool/data": "copy 0644",
        "/usr/share/tool/link": "link data",
    }  # fmt: skip
    assert notes(made) == {"packages: tool": "1 of the files of package tool are not on this host"}


def test_owners_and_versions_of_what_is_copied(plan: MakePlan) -> None:
    made = plan(binaries=["sh"], packages=["tool"])
    assert dict(made.owners) == {
        "/usr/bin/dash": "dash", "/usr/bin/plain": "tool", "/usr/share/tool/data": "tool",
    }  # fmt: skip
    assert dict(made.packages) == {"dash": "2.0", "tool": "1.0"}


def test_what_the_profile_writes(plan: MakePlan) -> None:
    made = plan(
        directories=[{"path": "/data", "mode": "1777"}, {"path": "/srv/own", "owner": "jail"}, "/opt/a/b"],
        text={"/etc/hosts": "mine\n", "/etc/motd": {"content": "hi", "mode": "0600", "owner": "jail:root"}},
        symlinks={"/opt/link": "a", "/later": "/made/later"},
        devices=["null"],
    )
    found = table(made)
    assert [path for path in found if path.startswith("/dev/")] == ["/dev/null"]
    assert {path: text for path, text in found.items() if path not in BASE} == {
        "/data": "dir 1777", "/etc/motd": "text 0600 60999:0", "/later": "link /made/later", "/opt": "dir 0755",
        "/opt/a": "dir 0755", "/opt/a/b": "dir 0755", "/opt/link": "link a", "/srv": "dir 0755",
        "/srv/own": "dir 0755 60999:60999",
    }  # fmt: skip
    assert text(made, "/etc/hosts") == "mine\n"


def test_modes_of_copies_lose_what_is_dangerous(plan: MakePlan, root: Path) -> None:
    for name, mode in {"set": 0o6755, "open": 0o666, "sticky": 0o1644}.items():
        plant(root, {f"/opt/{name}": "x"})
        (root / "opt" / name).chmod(mode)
    (root / "opt").chmod(0o2777)
    found = table(plan(files=["/opt"]))
    assert {path: text for path, text in found.items() if path.startswith("/opt")} == {
        "/opt": "dir 0755", "/opt/open": "copy 0664", "/opt/set": "copy 0755", "/opt/sticky": "copy 1644",
    }  # fmt: skip


@pytest.mark.needs("root")
def test_keeping_privileges_keeps_whose_they_are(plan: MakePlan, root: Path) -> None:
    os.chown(root / "usr/bin/dash", 0, 42)
    (root / "usr/bin/dash").chmod(0o2757)
    made = plan(binaries=["sh", "perl"], keep_privileges=["/bin/sh", "/usr/bin/gone"])
    assert more(made) == {
        "/usr/bin/dash": "copy 2755 kept 0:42", "/usr/bin/sh": "link dash", "/usr/bin/perl": "copy 0755",
    }  # fmt: skip
    assert notes(made) == {"keep-privileges: /usr/bin/gone": "no file is copied there"}


def test_reasons_lead_back_to_the_profile(plan: MakePlan) -> None:
    made = plan(binaries=["by-env"], files=["/srv/site/run.sh"])
    reasons = {entry.path: (entry.reason.key, entry.reason.because, entry.reason.via) for entry in made.entries}
    assert {path: reasons[path] for path in reasons if path in more(made)} == {
        "/srv": ("files: /srv/site/run.sh", "parent", "/srv/site"),
        "/srv/site": ("files: /srv/site/run.sh", "parent", "/srv/site/run.sh"),
        "/srv/site/run.sh": ("files: /srv/site/run.sh", "named", None),
        "/usr/bin/by-env": ("binaries: by-env", "named", None),
        "/usr/bin/dash": ("files: /srv/site/run.sh", "link", "/usr/bin/sh"),
        "/usr/bin/env": ("binaries: by-env", "script-interpreter", "/usr/bin/by-env"),
        "/usr/bin/python3": ("binaries: by-env", "script-interpreter", "/usr/bin/by-env"),
        "/usr/bin/python3.11": ("binaries: by-env", "link", "/usr/bin/python3"),
        "/usr/bin/sh": ("files: /srv/site/run.sh", "script-interpreter", "/srv/site/run.sh"),
    }


def test_accounts_are_filtered_and_never_shadow(plan: MakePlan) -> None:
    made = plan(users=[{"name": "me", "uid": 1000, "groups": ["audio", 50]}, {"name": "web"}])
    assert text(made, "/etc/passwd") == (
        "root:x:0:0::/root:/bin/sh\nme:x:1000:1000::/home/me:/bin/sh\nweb:x:33:34::/srv/web:/bin/zsh\n"
        "nobody:x:65534:65534::/nonexistent:/usr/sbin/nologin\n"
    )
    assert text(made, "/etc/group") == (
        "root:x:0:\nme:x:1000:\ngroup29:x:29:me\ngroup50:x:50:me\nweb:x:34:\nnogroup:x:65534:\n"
    )
    found = table(made)
    assert "/home/jail" not in found
    assert (found["/home/me"], found["/srv/web"]) == ("dir 0700 1000:1000", "dir 0700 33:34")
    assert not any("shadow" in path for path in found)
    assert made.runtime.user == "me"
    assert made.runtime.workdir is None


def test_the_built_in_account(plan: MakePlan) -> None:
    made = plan(binaries=["sh"])
    assert text(made, "/etc/passwd") == (
        "root:x:0:0::/root:/bin/sh\njail:x:60999:60999::/home/jail:/bin/sh\n"
        "nobody:x:65534:65534::/nonexistent:/usr/sbin/nologin\n"
    )
    assert (made.runtime.user, made.runtime.workdir, made.runtime.command) == ("jail", None, ("/bin/sh",))


def test_bash_is_the_shell_where_there_is_one(plan: MakePlan, root: Path) -> None:
    plant(root, {"/usr/bin/bash": PROGRAM})
    assert plan(binaries=["sh", {"name": "bash", "optional": True}]).runtime.command == ("/bin/bash",)


@pytest.mark.parametrize(
    ("users", "user"),
    [
        ([{"name": "nobody"}], "nobody"),
        ([{"name": "root", "uid": 0, "home": "/root", "shell": "/bin/sh"}], "root"),
        ([{"name": "daemon"}], "daemon"),
    ],
)
def test_a_profile_whose_only_user_is_a_usual_one(plan: MakePlan, users: list[Any], user: str) -> None:
    made = plan(users=users)
    assert made.runtime.user == user
    assert {path: text for path, text in table(made).items() if path.startswith("/usr/")} == {
        "/usr/bin": "dir 0755", "/usr/lib": "dir 0755", "/usr/share": "dir 0755", "/usr/share/zoneinfo": "dir 0755",
        "/usr/share/zoneinfo/Etc": "dir 0755", "/usr/share/zoneinfo/Etc/UTC": "copy 0644",
    } | ({"/usr/sbin": "dir 0755"} if user == "daemon" else {})  # fmt: skip


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"users": [{"name": "ghost"}]}, "this host has no such account"),
        ({"users": [{"name": "me", "uid": 5, "groups": ["ghosts"]}]}, "this host has no such group"),
        ({"users": [{"name": "me", "uid": 5, "home": "/a:b"}]}, "no place for a colon"),
        ({"users": [{"name": "me", "uid": 5}], "isolation": {"user": "jail"}}, "cannot run as jail"),
        (
            {"users": [{"name": "me", "uid": 5}], "files": [{"source": "/x", "owner": "jail", "optional": True}]},
            "cannot give files to jail",
        ),
        ({"directories": [{"path": "/etc/app", "owner": "jail"}]}, "directories of the system"),
        ({"directories": [{"path": "/usr", "mode": "1777"}]}, "directories of the system"),
        ({"directories": [{"path": "/bin", "owner": "0:5", "mode": "0775"}]}, "directories of the system"),
        ({"files": [{"source": "/srv/site", "target": "/usr/site", "owner": "jail"}]}, "directories of the system"),
        ({"symlinks": {"/lib64": "/srv/own"}, "directories": [{"path": "/srv/own", "owner": "jail"}]}, "of the system"),
        ({"symlinks": {"/lib64": "srv/x/y"}, "directories": [{"path": "/srv/x", "owner": "jail"}]}, "of the system"),
        ({"text": {"/opt": "x"}, "directories": ["/opt/below"]}, "/opt is a text for text: /opt"),
        ({"text": {"/usr/bin": "x"}}, "wanted as a directory"),
    ],
)  # fmt: skip
def test_profiles_that_this_host_cannot_have(plan: MakePlan, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(PlanError) as caught:
        plan(**keys)
    assert message in str(caught.value)


def test_places_that_a_user_may_have(plan: MakePlan) -> None:
    found = table(plan(directories=[{"path": path, "owner": "jail"} for path in ("/srv/x", "/var/lib/x", "/opt/etc")]
                       + [{"path": "/dev/shm", "mode": "1777"}, {"path": "/etc/app"}]))  # fmt: skip
    assert found["/dev/shm"] == "dir 1777"
    assert found["/var/lib/x"] == "dir 0755 60999:60999"


def test_a_host_that_has_nothing(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    made = make_plan(load_profile(str(write_profile(tmp_path))), "chroot", Host(str(empty)))
    assert "/bin" not in table(made)
    assert made.omissions == made.owners == made.packages == ()


@pytest.mark.parametrize("level", ["chroot", "chroot-root"])
def test_the_level_and_what_is_run(root: Path, tmp_path: Path, level: Any) -> None:
    path = write_profile(
        tmp_path,
        description="d",
        environment={"B": "2", "A": 1},
        command=["sh", "-l"],
        workdir="/srv",
        limits={"memory": "1M", "wall-time": "2s", "io": [{"path": "/", "read-bps": 5}]},
        isolation={"capabilities": ["NET_RAW"], "user": 7, "network": "none"},
        accept_gaps=["limits.memory"],
        mounts=[{"type": "tmpfs", "target": "/mnt", "size": 4096}],
        smoke=[{"command": "sh -c 'exit 3'", "exit-code": 3, "stdout": "x", "timeout": "1s", "user": "root"}],
    )
    made = make_plan(load_profile(str(path)), level, Host(str(root)))
    runtime = made.runtime
    assert (made.level, made.profile, made.description, made.accept_gaps) == (level, "small", "d", ("limits.memory",))
    assert (runtime.environment, runtime.command, runtime.workdir, runtime.user) == (
        (("A", "1"), ("B", "2")), ("sh", "-l"), "/srv", "7",
    )  # fmt: skip
    assert (runtime.limits.memory, runtime.limits.wall_time, runtime.limits.io[0].read_bps) == (1 << 20, 2.0, 5)
    assert (runtime.isolation.capabilities, runtime.isolation.network) == (("CAP_NET_RAW",), "none")
    assert (runtime.mounts[0].target, runtime.mounts[0].size) == ("/mnt", 4096)
    (smoke,) = runtime.smoke
    assert (smoke.command, smoke.exit_code, smoke.stdout_equals, smoke.timeout, smoke.user) == (
        ("sh", "-c", "exit 3"), 3, "x", 1.0, "root",
    )  # fmt: skip


def test_what_is_new_at_levels_that_mount(root: Path, tmp_path: Path) -> None:
    path = write_profile(
        tmp_path,
        command="sh",
        devices=["null", "null"],
        stop_signal="HUP",
        stop_timeout="3s",
        read_only_root=True,
        limits={"cpu-weight": 7},
        isolation={"network": "bridge", "ports": ["80:8080"], "allow": ["192.0.2.7:53/udp"]},
        symlinks={"/usr/lib/masked": "/dev/null"},
        mounts=[
            {"type": "tmpfs", "target": "/run/app"},
            {"type": "bind", "source": "/srv/site", "target": "/srv/www"},
            {"type": "bind", "source": "/etc/localtime", "target": "/etc/time"},
        ],
    )
    made = make_plan(load_profile(str(path)), "lxc", Host(str(root)))
    runtime = made.runtime
    assert (runtime.serves, runtime.devices, runtime.read_only_root) == (True, ("null",), True)
    assert (runtime.stop_signal, runtime.stop_timeout, runtime.limits.cpu_weight) == (1, 3.0, 7)
    assert runtime.isolation.ports == (Port("127.0.0.1", 80, 8080, "tcp"),)
    assert runtime.isolation.allow == (Destination("192.0.2.7/32", 53, "udp"),)
    found = table(made)
    assert [path for path in found if path.startswith("/dev")] == ["/dev"]
    assert found["/usr/lib/masked"] == "link /dev/null"
    assert notes(made) == {}
    assert (found["/run/app"], found["/srv/www"], found["/etc/time"]) == ("dir 0755", "dir 0755", "text 0644")


def test_mounts_are_nothing_to_levels_that_do_not_mount(plan: MakePlan) -> None:
    made = plan(mounts=[{"type": "bind", "source": "/nothing", "target": "/srv/www"}])
    assert more(made) == {}
    assert (made.runtime.serves, len(made.runtime.devices)) == (False, 6)


def test_a_mount_of_what_the_host_does_not_have(root: Path, tmp_path: Path) -> None:
    path = write_profile(tmp_path, mounts=[{"type": "bind", "source": "/nothing", "target": "/srv/www"}])
    with pytest.raises(PlanError, match="this host lacks 1 thing") as caught:
        make_plan(load_profile(str(path)), "lxc", Host(str(root)))
    assert caught.value.details == ("mounts: /srv/www: /nothing does not exist on this host",)


def test_volumes_are_the_user_s_unless_something_else_makes_them(plan: MakePlan) -> None:
    made = plan(
        users=[{"name": "me", "uid": 5, "gid": 6}],
        isolation={"user": 5},
        directories=[{"path": "/srv/own", "owner": "7:8", "mode": "0750"}],
        volumes=["/srv/data", "/srv/own", "/home/me", "/etc/app", "/var"],
    )
    found = table(made)
    assert {path: found[path] for path in made.runtime.volumes} == {
        "/etc/app": "dir 0755", "/home/me": "dir 0700 5:6", "/srv/data": "dir 0755 5:6", "/srv/own": "dir 0750 7:8",
        "/var": "dir 0755",
    }  # fmt: skip
    reasons = {entry.path: (entry.reason.key, entry.reason.because) for entry in made.entries}
    assert reasons["/srv/data"] == ("volumes: /srv/data", "volume")


def test_volumes_are_where_the_links_lead(plan: MakePlan) -> None:
    assert plan(volumes=["/lib/state", "/usr/lib/other"]).runtime.volumes == ("/usr/lib/other", "/usr/lib/state")
    assert plan(symlinks={"/a": "/srv/b"}, volumes=["/a"]).runtime.volumes == ("/srv/b",)


@pytest.mark.parametrize(
    ("links", "volumes", "message"),
    [
        ({"/a": "/"}, ["/a"], "cannot place the volume /a: a link leads to /"),
        ({"/a": "/dev"}, ["/a"], "cannot place the volume /a: a link leads to /dev"),
        ({}, ["/lib/state", "/usr/lib"], "cannot place the volume /lib/state: a link leads to /usr/lib/state"),
        ({}, ["/lib/state", "/usr/lib/state"], "a link leads to /usr/lib/state"),
        ({"/a": "b"}, ["/a"], "wanted as a text"),
    ],
)
def test_volumes_that_cannot_be(plan: MakePlan, links: dict[str, str], volumes: list[str], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        plan(symlinks=links, volumes=volumes, text={"/b": "x"})
