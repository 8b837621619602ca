"""The guard against leftovers sees what it is there for."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from support import leftovers

pytestmark = pytest.mark.needs("root", "chroot")

TESTS = Path(__file__).parents[1]


def test_a_process_in_a_jail_is_seen(tmp_path: Path) -> None:
    before = leftovers.Host.now()
    code = "import os, sys; os.chroot(sys.argv[1]); print('in', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "in\n"
        (found,) = before.leftovers(str(tmp_path))
        assert found.startswith(f"process {child.pid} ")
        child.communicate(timeout=60)
    assert before.leftovers(str(tmp_path)) == []


@pytest.mark.needs("loop")
def test_a_loop_device_is_seen(tmp_path: Path) -> None:
    before = leftovers.Host.now()
    image = tmp_path / "image"
    image.write_bytes(bytes(1 << 20))
    device = subprocess.check_output(["losetup", "--find", "--show", image], text=True).strip()
    try:
        assert before.leftovers(str(tmp_path)) == [f"loop device {Path(device).name} still holds {image}"]
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)
    assert before.settled_leftovers(str(tmp_path)) == []


@pytest.mark.needs("mount-namespace")
def test_a_mount_is_taken_away_before_its_folder_is_deleted(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    suite = tmp_path / "suite"
    suite.mkdir()
    conftest = TESTS / "conftest.py"
    suite.joinpath("conftest.py").write_text(f"exec(compile(open({str(conftest)!r}).read(), 'conftest', 'exec'))\n")
    suite.joinpath("pytest.ini").write_text("[pytest]\nmarkers =\n    needs(*capabilities): as elsewhere\n")
    suite.joinpath("test_leak.py").write_text(
        textwrap.dedent(f"""
        import subprocess

        def test_leak(tmp_path):
            (tmp_path / "point").mkdir()
            subprocess.run(["mount", "--bind", {str(precious)!r}, tmp_path / "point"], check=True)
        """)
    )
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--basetemp", tmp_path / "base"]
    retention = ["-o", "tmp_path_retention_policy=failed"]
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", *command, *retention, suite],
        cwd=suite, env={**os.environ, "PYTHONPATH": str(TESTS)}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout
    assert "the test left mounts: " in done.stdout
    assert (precious / "file").exists()
    assert not (tmp_path / "base" / "test_leak0").exists()
