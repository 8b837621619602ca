"""The figures as Markdown: a table for each question, and the bars, met or missed."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.measure import Series

BEGIN, END = "<!-- bench -->", "<!-- /bench -->"


@dataclass(frozen=True, slots=True)
class Bar:
    """Something that must not be more than `limit`; both are in `unit`."""

    what: str
    value: float
    limit: float
    unit: str

    @property
    def met(self) -> bool:
        return self.value <= self.limit

    @property
    def row(self) -> tuple[str, ...]:
        shown, limit = (quantity(number, self.unit) for number in (self.value, self.limit))
        return (self.what, shown, limit, "met" if self.met else "**missed**")


@dataclass(frozen=True, slots=True)
class Section:
    """The answer to one question. `notes` say what was compared; the first series is jailkit's."""

    title: str
    notes: str
    series: Sequence[Series]
    bars: Sequence[Bar] = field(default=())


def quantity(number: float, unit: str) -> str:
    if unit == "s":
        return f"{number * 1000:.1f} ms" if number < 0.1 else f"{number:.2f} s"
    if unit == "MB":
        return f"{number:.1f} MB"
    return f"{number:.2f} {unit}"


def table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def section_text(section: Section) -> str:
    first = section.series[0]
    rows = [
        (
            series.name,
            quantity(series.wall, "s"),
            " to ".join(quantity(end, "s") for end in series.spread),
            quantity(series.cpu, "s"),
            *([f"{series.peak / 1e6:.1f} MB"] if first.peak else []),
            f"{series.wall / first.wall:.2f}",
        )
        for series in section.series
    ]
    header = ("", "median", "spread", "CPU", *(["memory"] if first.peak else []), "ratio")
    return f"### {section.title}\n\n{section.notes}\n\n{table(header, rows)}\n"


def bars_text(sections: Iterable[Section]) -> str:
    rows = [bar.row for section in sections for bar in section.bars]
    return f"{machine()}\n\n{table(('what', 'measured', 'at most', ''), rows)}\n"


def machine() -> str:
    """Say on what it was measured."""
    cpus = len(os.sched_getaffinity(0))
    model = next(
        (line.partition(": ")[2] for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    system = platform.freedesktop_os_release()["PRETTY_NAME"]
    return f"{system}, Python {platform.python_version()}, Linux {platform.release()}, {cpus} CPUs ({model})."


def write_into(path: Path, text: str) -> None:
    """Replace what stands between the two markers of a document.

    Raises:
        SystemExit: it does not have them.
    """
    before, begin, rest = path.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"bench: {path} has no {BEGIN} ... {END}")
    path.write_text(f"{before}{BEGIN}\n{text.strip()}\n{END}{after}")
