"""Comparing paths with a pattern, one component after the other, so that no pattern can take long. Pure.

What is kept on the way is the set of places in the pattern's components that the next name is compared with: `**`,
which stands for any number of directories, makes it more than one. A path matches when the place behind the last is in
it.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase


def begin(words: Sequence[str]) -> set[int]:
    """Give the places that the first name is compared with."""
    return _past_stars({0}, words)


def advance(reached: set[int], words: Sequence[str], name: str) -> set[int]:
    """Give the places that are next once a name was compared with those in `reached`."""
    after = set()
    for place in reached:
        if place < len(words) and fnmatchcase(name, words[place]):
            after.add(place if words[place] == "**" else place + 1)
    return _past_stars(after, words) if after else after


def _past_stars(reached: set[int], words: Sequence[str]) -> set[int]:
    """Add the places behind `**`, which may stand for no directory at all."""
    for place, word in enumerate(words):
        if word == "**" and place in reached:
            reached.add(place + 1)
    return reached
