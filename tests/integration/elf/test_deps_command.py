"""`jailkit deps` as a user runs it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.handmade import FLAGS, NEEDED, RPATH, SONAME, Image

from jailkit.elf import Loader, read_elf

Run = Callable[..., subprocess.CompletedProcess[str]]
INTERPRETER = str(read_elf(sys.executable).interpreter)


def program(path: Path, *dynamic: tuple[int, bytes | int]) -> str:
    path.write_bytes(Image(interpreter=INTERPRETER.encode() + b"\0", dynamic=dynamic).build())
    return str(path)


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_json_is_one_object_a_line(jailkit: Run) -> None:
    done = jailkit("deps", "--json", sys.executable, "/bin/sh")
    assert (done.returncode, done.stderr) == (0, "")
    for file, data in zip((sys.executable, "/bin/sh"), objects(done.stdout), strict=True):
        closure = Loader().closure(file)
        assert data == {
            "file": file,
            "real": os.path.realpath(file),
            "interpreter": INTERPRETER,
            "libraries": [{"name": lib.name, "path": lib.path, "real": lib.real} for lib in closure.libraries],
            "missing": [],
        }


def test_list_for_people(jailkit: Run) -> None:
    done = jailkit("deps", "/bin/sh")
    lines = done.stdout.splitlines()
    assert lines[:2] == ["/bin/sh:", f"  interpreter {INTERPRETER}"]
    assert any(line.startswith("  libc.so.6 => /") for line in lines)


def test_every_fault_is_told_and_the_others_are_listed(jailkit: Run, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("This is a text, and long enough for an ELF header all the same.\n")
    (tmp_path / "script").write_text("#!/bin/sh -e\n")
    os.mkfifo(tmp_path / "fifo")
    lost = program(tmp_path / "lost", (NEEDED, b"libgone.so"), (NEEDED, b"libaway.so"), (NEEDED, b"libgone.so"))
    names = ["text", "script", "fifo", "absent"]
    done = jailkit("deps", "--json", *(tmp_path / name for name in names), lost, "/bin/sh", "/dev/tty", "/etc")
    assert done.returncode == 1
    assert [(data["file"], data["missing"]) for data in objects(done.stdout)] == [
        (lost, ["libgone.so", "libaway.so"]), ("/bin/sh", []),
    ]  # fmt: skip
    assert done.stderr.splitlines() == [
        f"jailkit: cannot list the libraries of {tmp_path}/text: it is not an ELF file",
        f"jailkit: cannot list the libraries of {tmp_path}/script: it is a script, run by /bin/sh",
        "  Try: jailkit deps /bin/sh",
        f"jailkit: cannot list the libraries of {tmp_path}/fifo: it is not a regular file",
        f"jailkit: cannot read {tmp_path}/absent: No such file or directory",
        "jailkit: cannot list the libraries of /dev/tty: it is not a regular file",
        "jailkit: cannot list the libraries of /etc: it is a directory",
    ]


def test_a_name_in_the_place_of_a_path(jailkit: Run, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no ELF file")
    done = jailkit("deps", "sh", "no-such-program", "text", "./sh", cwd=tmp_path)
    assert done.stderr.splitlines() == [
        "jailkit: cannot read sh: No such file or directory",
        f"  Try: jailkit deps {shutil.which('sh')}",
        "jailkit: cannot read no-such-program: No such file or directory",
        "  Try: the path of a file instead of the name no-such-program",
        "jailkit: cannot list the libraries of text: it is too short for an ELF file",
        "jailkit: cannot read ./sh: No such file or directory",
    ]
    assert jailkit("deps", "--root", tmp_path, "sh").stderr.splitlines() == [
        "jailkit: cannot read sh: No such file or directory",
        "  Try: the path of a file instead of the name sh",
    ]


def test_missing_libraries_are_marked(jailkit: Run, tmp_path: Path) -> None:
    lost = program(tmp_path / "lost", (NEEDED, b"libgone.so"))
    done = jailkit("deps", lost)
    assert done.returncode == 1
    assert f"  libgone.so => not found (needed by {lost})" in done.stdout.splitlines()


def test_static_files_are_called_so(jailkit: Run, tmp_path: Path) -> None:
    (tmp_path / "static").write_bytes(Image(kind=2).build())
    done = jailkit("deps", tmp_path / "static")
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}/static:\n  statically linked\n")


def test_another_root(jailkit: Run, tmp_path: Path) -> None:
    (tmp_path / "opt").mkdir()
    (tmp_path / "opt/libx.so").write_bytes(Image(dynamic=[(SONAME, b"libx.so")]).build())
    (tmp_path / "real").mkdir()
    program(tmp_path / "real/prog", (NEEDED, b"libx.so"), (RPATH, b"$ORIGIN/../opt"))
    (tmp_path / "prog").symlink_to("/real/prog")
    for file in ("/prog", "prog"):
        done = jailkit("deps", "--json", "--root", tmp_path, file, cwd="/")
        [data] = objects(done.stdout)
        assert done.returncode == 1  # there is no loader in it
        assert (data["file"], data["real"], data["missing"]) == (file, "/real/prog", [INTERPRETER])
        assert data["libraries"] == [{"name": "libx.so", "path": "/real/../opt/libx.so", "real": "/opt/libx.so"}]


def test_names_that_a_terminal_would_obey(jailkit: Run, tmp_path: Path) -> None:
    name = b"lib\x1b]0;owned\x07\xff.so"
    lost = program(tmp_path / "lost\x1b[2J", (NEEDED, name))
    done = jailkit("deps", lost, str(tmp_path / "no\x1b[2J"))
    assert "\x1b" not in done.stdout + done.stderr
    assert "lib\\x1b]0;owned\\x07\\xff.so => not found" in done.stdout
    [data] = objects(jailkit("deps", "--json", lost).stdout)
    assert [os.fsencode(missing) for missing in data["missing"]] == [name]


def test_file_names_that_are_no_text(jailkit: Run, tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe")
    Path(path).write_bytes(Image(dynamic=[(FLAGS, 0)]).build())
    assert [data["file"] for data in objects(jailkit("deps", "--json", path).stdout)] == [path]
    assert jailkit("deps", path, path + "none").stdout == f"{tmp_path}/\\xff\\xfe:\n  statically linked\n"


@pytest.mark.parametrize("arguments", [(), ("--root", "/nowhere", "x"), ("--what", "x")])
def test_wrong_usage(jailkit: Run, arguments: tuple[str, ...]) -> None:
    assert jailkit("deps", *arguments).returncode == 2


def test_nothing_is_executed() -> None:
    """Python tells an audit hook of every process that is started and every program that is executed."""
    watched = (
        "import sys\n"
        "def hook(event, _):\n"
        "    if event.split('.')[0] == 'subprocess' or event in"
        " ('os.exec', 'os.fork', 'os.forkpty', 'os.posix_spawn', 'os.spawn', 'os.system', 'ctypes.dlopen'):\n"
        "        sys.stderr.write(event + '\\n')\n"
        "sys.argv[0] = 'jailkit'\n"
        "from jailkit.cli import main\n"
        "sys.addaudithook(hook)\n"
        "main()\n"
    )
    files = [str(path) for path in Path("/usr/bin").iterdir() if path.is_file()][:200]
    loader = Loader()
    files = [file for file in files if loader.is_elf(file)]
    command = [sys.executable, "-c", watched, "deps", "--json", *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == len(files) > 20
