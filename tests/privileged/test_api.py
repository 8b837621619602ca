"""The Python API does what the commands do; its example is run as it stands."""

from __future__ import annotations

import os
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
from support.profiles import write_profile

import jailkit
from jailkit import api
from jailkit.errors import BackendError, GapError, PlanError, ProfileError, StateError, UsageError
from jailkit.store import Store

pytestmark = pytest.mark.needs("root", "mknod", "chroot")

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    return write_profile(
        tmp_path,
        "box",
        binaries=["sh", "cat", "sleep", "env", "id"],
        text={"/srv/text": "text"},
        smoke=[{"command": ["cat", "/srv/text"], "stdout": "text"}],
        environment={"FROM": "profile"},
    )


@pytest.fixture
def box(home: Path, profile: Path) -> api.OpenJail:
    return jailkit.create(profile, home=home)


def example(text: str) -> str:
    """Give the first indented block after a line that ends in two colons."""
    match = re.search(r"::\n\n((?:    .*\n|\n)+)", text)
    assert match is not None
    return textwrap.dedent(match[1])


def test_the_example_of_the_module(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(REPOSITORY)
    code = example(api.__doc__ or "")
    assert "jailkit.create(" in code
    exec(compile(code, "example", "exec"), {})
    assert capsys.readouterr().out == "b'60999\\n' exited\n"
    assert os.listdir(home / "jails") == []


def test_the_examples_of_the_readme(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", (REPOSITORY / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    monkeypatch.chdir(REPOSITORY)
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})
    assert not blocks or capsys.readouterr().out
    assert not home.exists() or os.listdir(home / "jails") == []


def test_create_open_run_destroy(home: Path, box: api.OpenJail) -> None:
    assert repr(box) == f"<jail box in {home}>"
    assert jailkit.jails(home=home) == ["box"]
    again = jailkit.open("box", home=home)
    assert again.record == box.record
    assert again.record.level == "chroot"
    result = again.run(["cat", "/srv/text"])
    assert (result.ok, result.reason, result.exit_code, result.stdout, result.stderr) == (
        True, "exited", 0, b"text", b"",
    )  # fmt: skip
    assert result.wall_time > 0
    assert result.peak_memory > 0
    again.destroy()
    assert jailkit.jails(home=home) == []
    for use in (lambda: box.run(["cat"]), lambda: box.record, box.verify, box.update, box.destroy):
        with pytest.raises(StateError, match="cannot find jail box"):
            use()


def test_what_run_takes(box: api.OpenJail) -> None:
    assert box.run(["cat"], input="täxt").stdout == "täxt".encode()
    assert box.run(["cat"], input=b"\x00\xff").stdout == b"\x00\xff"
    assert box.run(["cat"]).stdout == b""
    assert box.run(["sh", "-c", "exit 7"]).exit_code == 7
    assert box.run(["sh", "-c", "pwd"], workdir="/srv").stdout == b"/srv\n"
    assert box.run(["id", "-u"], user="nobody", workdir="/").stdout == b"65534\n"
    assert box.run(["sh", "-c", "echo $FROM $MORE"], environment={"MORE": "caller"}).stdout == b"profile caller\n"
    assert box.run(["sh", "-c", "echo error >&2"]).stderr == b"error\n"
    assert box.run(["nothing"]).reason == "not-found"
    assert box.run(["sleep", "60"], timeout=0.05).reason == "timeout"
    with pytest.raises(UsageError, match="cannot run as ghost"):
        box.run(["id"], user="ghost")


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("cat", {}), (b"cat", {}), ([b"cat"], {}), (["cat"], {"timeout": float("nan")}), (["cat"], {"timeout": 0}),
        (["cat"], {"timeout": -1}), (["cat"], {"timeout": "5"}), (["cat"], {"input": 5}),
    ],
)  # fmt: skip
def test_what_run_refuses(home: Path, profile: Path, box: api.OpenJail, command: Any, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        box.run(command, **options)
    with pytest.raises(UsageError):
        jailkit.run(profile, command, home=home, **options)


def test_verify_and_update(home: Path, box: api.OpenJail, profile: Path) -> None:
    assert box.verify().ok
    Path(box.record.rootfs, "srv/text").write_text("other")
    assert {finding.check for finding in box.verify().findings} == {"content", "smoke"}
    assert {finding.check for finding in box.verify(smoke=False).findings} == {"content"}
    write_profile(profile.parent, "box", binaries=["sh"])
    result = box.update()
    assert (result.generation, result.carried.dropped) == (2, [])
    assert result.carried.kept == ["/srv/text"]
    assert "/usr/bin/cat" in result.removed
    assert jailkit.open("box", home=home).record.generation == 2


def test_run_leaves_no_jail(home: Path, profile: Path) -> None:
    result = jailkit.run(profile, ["cat", "-", "/srv/text"], input="in ", home=home)
    assert result.stdout == b"in text"
    assert jailkit.run(profile, ["sleep", "60"], timeout=0.05, home=home).reason == "timeout"
    with pytest.raises(UsageError):
        jailkit.run(profile, ["a\0b"], home=home)
    assert jailkit.jails(home=home) == []
    assert os.listdir(home / "drafts") == os.listdir(home / "trash") == []


def test_two_levels_and_two_names(home: Path, profile: Path) -> None:
    one = jailkit.create(profile, name="one", level="chroot-root", home=str(home))
    two = jailkit.create(str(profile), name="two", home=home)
    assert one.run(["id", "-u"]).stdout == b"0\n"
    assert two.run(["id", "-u"]).stdout == b"60999\n"
    assert jailkit.jails(home=home) == ["one", "two"]


def test_errors(home: Path, tmp_path: Path, profile: Path) -> None:
    with pytest.raises(ProfileError):
        jailkit.create(tmp_path / "nothing.yaml", home=home)
    with pytest.raises(ProfileError, match="no file and no shipped profile"):
        jailkit.create("nothing", home=home)
    with pytest.raises(PlanError):
        jailkit.create(write_profile(tmp_path, "missing", binaries=["no-such-program"]), home=home)
    with pytest.raises(GapError):
        jailkit.create(write_profile(tmp_path, "limited", limits={"memory": "1M"}), home=home)
    jailkit.create(tmp_path / "limited.yaml", accept_gaps=True, home=home).destroy()
    with pytest.raises(UsageError, match="as the name of a jail"):
        jailkit.create(profile, name="../x", home=home)
    with pytest.raises(StateError, match="cannot find jail box"):
        jailkit.open("box", home=home)
    jailkit.create(profile, home=home)
    with pytest.raises(StateError, match="it exists"):
        jailkit.create(profile, home=home)
    Path(Store(str(home)).load("box").rootfs).rename(tmp_path / "away")
    with pytest.raises((StateError, BackendError), match="cannot enter jail box"):
        jailkit.open("box", home=home).run(["cat"])


def test_public_names() -> None:
    for name in jailkit.__all__:
        assert getattr(jailkit, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        jailkit.nothing  # type: ignore[attr-defined]  # noqa: B018
