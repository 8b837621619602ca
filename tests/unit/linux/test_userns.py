"""How long descriptors of user namespaces live."""

from __future__ import annotations

import errno
import os

import pytest

from jailkit.linux import userns
from jailkit.linux.userns import IdMap, Owners, make_owners


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def two() -> tuple[int, int]:
    return os.open("/dev/null", os.O_RDONLY), os.open("/dev/null", os.O_RDONLY)


def test_they_close_with_their_holder() -> None:
    """A program that works with many jails keeps those of the last ones only."""
    first, second = two()
    owners = Owners(first, second)
    assert is_open(owners.everyone)
    assert is_open(owners.all_but_root)
    del owners
    assert not is_open(first)
    assert not is_open(second)


def test_one_for_both_is_closed_once() -> None:
    first, second = two()
    del_me = Owners(first, first)
    del del_me
    assert not is_open(first)
    assert is_open(second)
    os.close(second)


def test_the_first_closes_when_there_is_no_second(monkeypatch: pytest.MonkeyPatch) -> None:
    first, spare = two()
    os.close(spare)

    def make(maps: list[IdMap]) -> int:
        if maps[0].inside == 0:
            return first
        raise OSError(errno.ENOSPC, "no more")

    monkeypatch.setattr(userns, "make_userns", make)
    with pytest.raises(OSError, match="no more"):
        make_owners(1_000_000, 65536)
    assert not is_open(first)
