"""Where jailkit's own options end and the command of the jail begins."""

from __future__ import annotations

import click
import pytest

from jailkit.cli.enter import split_options

VALUED = {"--user", "-u"}


@pytest.mark.parametrize(
    ("args", "options", "rest"),
    [
        ([], [], []),
        (["box"], [], ["box"]),
        (["--user", "root", "box", "--json"], ["--user", "root"], ["box", "--json"]),
        (["--user=root", "box"], ["--user=root"], ["box"]),
        (["-uroot", "box"], ["-uroot"], ["box"]),
        (["--json", "--", "--user", "x"], ["--json"], ["--user", "x"]),
        (["--", "--", "x"], [], ["--", "x"]),
        (["-", "x"], [], ["-", "x"]),
        (["--user", "--", "ls"], ["--user", "--"], ["ls"]),
    ],
)
def test_split(args: list[str], options: list[str], rest: list[str]) -> None:
    assert split_options(args, VALUED) == (options, rest)


def test_an_option_without_its_value() -> None:
    with pytest.raises(click.BadOptionUsage, match="requires an argument"):
        split_options(["--json", "--user"], VALUED)
