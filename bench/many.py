"""Living with 200 jails: listing them, and making one more."""

from __future__ import annotations

import shutil
from pathlib import Path

from bench.creating import destroyer
from bench.measure import JAIL, PROFILE, Peer, interleaved, process
from bench.report import Bar, Section
from jailkit.lifecycle.create import create, order
from jailkit.store import Store

_COUNT = 200
_GROWTH = 1.1  # the medians of two equal things differ by less


def many(jailkit: Path, place: Path) -> list[Section]:
    """Measure `list` and `create` with no other jail and with 200."""
    profile = place / f"{JAIL}.yaml"
    profile.write_text(PROFILE)
    crowd, alone = place / "crowd", place / "alone"
    wanted = order(str(profile))
    for number in range(_COUNT):
        create(wanted, Store(str(crowd)), name=f"jail{number}")
    try:
        return [_listing(jailkit, crowd), _one_more(jailkit, crowd, alone, profile)]
    finally:
        shutil.rmtree(crowd)


def _listing(jailkit: Path, crowd: Path) -> Section:
    name = f"jailkit list, {_COUNT} jails"
    series = interleaved([Peer(name, process([jailkit, "--home", crowd, "list"]))], rounds=15)
    return Section("list", "Whole process.", series, [Bar(f"list {_COUNT} jails", series[0].wall, 0.3, "s")])


def _one_more(jailkit: Path, crowd: Path, alone: Path, profile: Path) -> Section:
    peers = [
        Peer(
            f"jailkit create, {others} others",
            process([jailkit, "--home", home, "create", profile]),
            after=destroyer(jailkit, home, JAIL),
        )
        for others, home in ((_COUNT, crowd), (0, alone))
    ]
    series = interleaved(peers, rounds=15)
    ratio = series[0].wall / series[1].wall
    bars = [Bar(f"create beside {_COUNT} jails, against beside none", ratio, _GROWTH, "times")]
    return Section("create beside others", "A jail of /bin/true, whole process.", series, bars)
