"""The mark `needs(*capabilities)`, fixtures for every test, and the guard that the host stays as it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from support import capabilities, leftovers

CONSOLE = Path(sys.executable).with_name("jailkit")
NEEDED = pytest.StashKey[frozenset[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Read JAILKIT_REQUIRE once, and refuse a name in it that is no capability."""
    # What a shell in the background, nohup(1) or a careful user hands down, and so would all that the tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    os.umask(0o022)
    try:
        config.stash[NEEDED] = capabilities.required()
    except ValueError as error:
        raise pytest.UsageError(str(error)) from error


def _needs(item: pytest.Item) -> list[str]:
    return list(dict.fromkeys(name for mark in item.iter_markers("needs") for name in mark.args))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a mark that names no capability: a misspelt one would skip for ever."""
    for item in items:
        if wrong := capabilities.unknown(_needs(item)):
            raise pytest.UsageError(f"{item.nodeid} needs {', '.join(wrong)}, which is no capability")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test for which the machine lacks something, or fail it where that must be there."""
    for name in _needs(item):
        if reason := capabilities.missing(name):
            if name in item.config.stash[NEEDED]:
                pytest.fail(f"JAILKIT_REQUIRE asks for {name}: {reason}", pytrace=False)
            pytest.skip(f"{name}: {reason}")


@pytest.fixture(scope="session", autouse=True)
def _host_stays_as_it_was(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    base = str(tmp_path_factory.getbasetemp())
    before = leftovers.Host.now()
    with pytest.MonkeyPatch.context() as patch:
        # A test that forgets the `home` fixture must not find the machine's own jails.
        patch.setenv("JAILKIT_HOME", f"{base}/forgotten-home")
        yield
    if found := before.settled_leftovers(base):
        pytest.fail("the tests left something behind:\n" + "\n".join(found), pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    """Take a mount away before pytest deletes the folder below which it lies, and with it what is mounted."""
    factory: pytest.TempPathFactory = item.config._tmp_path_factory  # type: ignore[attr-defined]
    left = leftovers.mounts_within(str(factory.getbasetemp()))
    for point in left:
        subprocess.run(["umount", "--lazy", point], check=True)
    yield
    if left:
        pytest.fail(f"the test left mounts: {', '.join(left)}", pytrace=False)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a place for jails that does not exist yet, and make it JAILKIT_HOME."""
    folder = tmp_path / "jailkit-home"
    monkeypatch.setenv("JAILKIT_HOME", str(folder))
    return folder


@pytest.fixture
def public() -> Iterator[Path]:
    """Give a folder that every user may enter; pytest's own are the caller's alone."""
    with tempfile.TemporaryDirectory(prefix="jailkit-public-") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


Jailkit = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def jailkit(home: Path) -> Jailkit:  # noqa: ARG001 - sets JAILKIT_HOME
    """Give a function that runs the real console command in `home`; options go to subprocess.run.

    `prefix=AS_NOBODY` (support.nobody) runs it as a user who may nothing.
    """

    def run(
        *arguments: str | os.PathLike[str], prefix: Sequence[str] = (), **options: Any
    ) -> subprocess.CompletedProcess[str]:
        defaults: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 120.0, "check": False}
        if "input" not in options:
            defaults["stdin"] = subprocess.DEVNULL
        return subprocess.run([*prefix, CONSOLE, *arguments], **(defaults | options))

    return run
