"""The table of `jailkit stats`."""

from __future__ import annotations

import pytest

from jailkit.cli.stats import Sample, cells, share
from jailkit.linux.figures import Stats


def sample(cpu_time: float | None, moment: float = 0.0) -> Sample:
    return Sample("box", "running", Stats(cpu_time=cpu_time), moment)


@pytest.mark.parametrize(
    ("now", "before", "expected"),
    [
        (sample(1.0), None, "-"),
        (sample(None, 1.0), sample(None), "-"),
        (sample(1.5, 1.0), sample(1.0), "50%"),
        (sample(4.0, 2.0), sample(1.0), "150%"),
        (sample(0.5, 1.0), sample(1.0), "0%"),  # It was started anew.
        (sample(1.0), sample(1.0), "0%"),
    ],
)
def test_the_share_of_the_cpus(now: Sample, before: Sample | None, expected: str) -> None:
    assert share(now, before) == expected


def test_what_is_unknown_is_a_dash() -> None:
    assert cells(Sample("box", "stopped", Stats(), 0.0), None) == ("box", "stopped", *["-"] * 8)


def test_what_is_known_has_a_unit() -> None:
    stats = Stats(cpu_time=61.239, memory=1 << 20, memory_peak=3 << 20, pids=2, read_bytes=10, oom_kills=0)
    assert cells(Sample("box", "frozen", stats, 0.0), None) == (
        "box", "frozen", "-", "61.24 s", "1.0 MiB", "3.0 MiB", "2", "10 B", "-", "0",
    )  # fmt: skip
