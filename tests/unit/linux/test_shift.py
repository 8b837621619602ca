"""Whose a jail's files are on disk where no mount maps ids."""

from __future__ import annotations

import errno

import pytest

from jailkit.linux.shift import UNSHIFTED, Shift
from jailkit.store import Jail
from jailkit.store.privilege import _distinct
from jailkit.store.subids import IdRange


@pytest.mark.parametrize(
    ("shift", "inside", "outside"),
    [
        (UNSHIFTED, (0, 1000), (0, 1000)),
        (Shift(100000, 65536), (0, 65535), (100000, 165535)),
        (Shift(0, 1), (0, 1000), (0, 0)),
    ],
)
def test_owners(shift: Shift, inside: tuple[int, int], outside: tuple[int, int]) -> None:
    assert shift.owner(*inside) == outside


@pytest.mark.parametrize("number", [65536, -1])
def test_an_id_that_the_jail_does_not_have(number: int) -> None:
    with pytest.raises(OSError, match="only 0 to 65535") as caught:
        Shift(100000, 65536).owner(0, number)
    assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize(
    ("fields", "shift"),
    [
        ({}, UNSHIFTED),
        ({"ids": (100000, 65536)}, UNSHIFTED),
        ({"ids": (100000, 65536), "shifted": True}, Shift(100000, 65536)),
        # Where the files of an ordinary user are made, that user is 0.
        ({"ids": (1000, 1), "shifted": True}, Shift(0, 1)),
    ],
)
def test_that_of_a_jail(fields: dict[str, object], shift: Shift) -> None:
    jail = Jail("box", "p", "/p", "", "lxc", 0.0, 1, None, "/d", **fields)  # type: ignore[arg-type]
    assert jail.shift == shift


@pytest.mark.parametrize(
    ("ranges", "found"),
    [
        ([], []),
        ([(100000, 65536), (200000, 65536)], [(100000, 65536), (200000, 65536)]),
        ([(100000, 65536), (100000, 65536), (150000, 10)], [(100000, 65536)]),
        # No id may be mapped twice, and 0 is the caller there.
        ([(0, 65536), (500, 1000), (2000, 5)], [(2000, 5)]),
    ],
)
def test_ranges_that_can_be_in_one_map(ranges: list[tuple[int, int]], found: list[tuple[int, int]]) -> None:
    assert _distinct([IdRange(*ids) for ids in ranges], 1000) == found
