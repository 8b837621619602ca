"""Values with units: what they mean, and what is refused."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jailkit.profile import units
from jailkit.profile.refusal import Refusal


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("0", 0), (0, 0), ("1", 1), (4096, 4096), ("512K", 512 << 10), ("512k", 512 << 10), ("512KiB", 512 << 10),
        ("512KB", 512_000), ("64MiB", 64 << 20), ("64mib", 64 << 20), ("64M", 64 << 20), ("64MB", 64_000_000),
        ("1GB", 10**9), ("1GiB", 1 << 30), ("2T", 2 << 40), ("2TB", 2 * 10**12), ("100B", 100), ("1.5K", 1536),
        ("0.5GiB", 1 << 29), (1.0, 1), ("9223372036854775807", 2**63 - 1),
    ],
)  # fmt: skip
def test_size(written: object, size: int) -> None:
    assert units.parse_size(written) == size


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("30s", 30), ("5m", 300), ("1h30m", 5400), ("500ms", 0.5), ("1m500ms", 60.5), ("2d", 172_800), (30, 30),
        (0.25, 0.25), ("1.5h", 5400), ("1d2h3m4s5ms", 93_784.005), ("90", 90),
    ],
)  # fmt: skip
def test_duration(written: object, seconds: float) -> None:
    assert units.parse_duration(written) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("written", "cpus"), [("1.5", 1.5), (1.5, 1.5), (2, 2), ("50%", 0.5), ("150%", 1.5), ("0.1", 0.1)]
)
def test_cpus(written: object, cpus: float) -> None:
    assert units.parse_cpus(written) == pytest.approx(cpus)


@pytest.mark.parametrize("written", ["0", "0-1", "0-1,3", "3,1", "0-8191"])
def test_cpuset(written: str) -> None:
    assert units.parse_cpuset(written) == written


def test_cpuset_of_one_number() -> None:
    assert units.parse_cpuset(3) == "3"


@pytest.mark.parametrize(
    ("written", "mode"),
    [("0755", 0o755), ("755", 0o755), (755, 0o755), ("0o644", 0o644), (0, 0), ("1777", 0o1777), ("00600", 0o600)],
)
def test_mode(written: object, mode: int) -> None:
    assert units.parse_mode(written) == mode


NOT_SIZES = ["", "lots", "64 MiB", "-1", -1, "1XB", "1iB", "1e3", "9" * 20, "8388608T", "1.", ".5", True, None, [], {}]
NOT_DURATIONS = ["", "soon", "0", 0, "-1s", "1m1h", "5mm", "1 m", "1y", "99999999d", True, None, [], "1s1s"]


@pytest.mark.parametrize(
    ("parse", "written", "message"),
    [
        *((units.parse_size, value, "expected a size") for value in NOT_SIZES),
        *((units.parse_duration, value, "expected a duration") for value in NOT_DURATIONS),
        *((units.parse_cpus, value, "CPUs") for value in ["", "all", "0", 0, "-1", "50 %", "1e3", 10**5, None, True]),
        *((units.parse_cpuset, value, "list of CPUs") for value in ["", "a", "0-", "-1", "1,,2", "0 1", None, 1.5]),
        (units.parse_cpuset, "3-1", "the range 3-1 runs backwards"),
        (units.parse_cpuset, "9000", "CPU 9000 is above 8191"),
        (units.parse_cpuset, "1," * 100_000 + "1", "list of CPUs"),
        *((units.parse_mode, value, "octal mode") for value in ["", "rwx", "0888", 8, -1, "0x1ff", None, 0.5, True]),
        (units.parse_mode, "10000", "at most 1777"),
        (units.parse_mode, "4755", "keep-privileges"),
        (units.parse_mode, "02755", "keep-privileges"),
        (units.parse_mode, "0777", "lets every user write"),
        (units.parse_mode, "0002", "lets every user write"),
        (units.parse_positive_size, "0", "above 0"),
    ],
)
def test_refused(parse: Callable[[object], object], written: object, message: str) -> None:
    with pytest.raises(Refusal, match=message):
        parse(written)


@given(st.integers(0, 2**20), st.sampled_from(["", "K", "M", "G", "T"]), st.sampled_from(["", "iB", "B"]))
def test_sizes_multiply(count: int, prefix: str, suffix: str) -> None:
    if suffix == "iB" and not prefix:
        suffix = ""
    base = 1000 if suffix == "B" else 1024
    assert units.parse_size(f"{count}{prefix}{suffix}") == count * base ** " KMGT".index(prefix or " ")


@given(st.integers(0, units.MAX_SIZE))
def test_sizes_round_trip(size: int) -> None:
    assert units.parse_size(size) == units.parse_size(str(size)) == size


@given(st.integers(0, 999), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59), st.integers(1, 999))
def test_durations_add_up(days: int, hours: int, minutes: int, seconds: int, milliseconds: int) -> None:
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds + milliseconds / 1000
    parsed = units.parse_duration(f"{days}d{hours}h{minutes}m{seconds}s{milliseconds}ms")
    assert parsed == pytest.approx(total)
    assert units.parse_duration(parsed) == parsed


@given(st.floats(0.001, 8192))
def test_percent_is_a_hundredth(cpus: float) -> None:
    percent = round(cpus * 100, 3)
    if percent:
        assert units.parse_cpus(f"{percent:.3f}%") == pytest.approx(percent / 100)


@given(st.sampled_from(["d", "h", "m", "s", "ms"]), st.decimals(0, 11_000, places=9))
def test_durations_are_written_back(unit: str, number: Decimal) -> None:
    with contextlib.suppress(Refusal):
        seconds = units.parse_duration(f"{number:f}{unit}")
        assert units.parse_duration(units.written_duration(seconds)) == seconds


@given(st.sampled_from(["", "%"]), st.decimals(0, 8192, places=9))
def test_cpus_are_written_back(unit: str, number: Decimal) -> None:
    with contextlib.suppress(Refusal):
        cpus = units.parse_cpus(f"{number:f}{unit}")
        assert units.parse_cpus(units.written_number(cpus)) == cpus


@pytest.mark.parametrize(
    ("written", "again"),
    [("30s", "30s"), ("1h30m", "5400s"), ("1.1h", "3960s"), ("1ms", "0.001s"), ("0.000000001s", "0.000000001s")],
)
def test_a_duration_as_it_is_written_back(written: str, again: str) -> None:
    assert units.written_duration(units.parse_duration(written)) == again


@given(st.integers(0, 0o1777).filter(lambda mode: not mode & 0o002 or mode & 0o1000))
def test_modes_round_trip(mode: int) -> None:
    for written in (f"{mode:04o}", f"{mode:o}", int(f"{mode:o}")):
        assert units.parse_mode(written) == mode


@given(st.text() | st.integers() | st.floats() | st.none() | st.lists(st.integers()))
def test_anything_is_read_or_refused(value: object) -> None:
    for parse in (units.parse_size, units.parse_duration, units.parse_cpus, units.parse_cpuset, units.parse_mode):
        with contextlib.suppress(Refusal):
            parse(value)
