"""How a field of a profile is refused: in plain words, with the value as it was written, and a suggestion."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from itertools import islice

SHOWN_LENGTH = 60
MAX_CANDIDATES = 200  # difflib takes some 20 microseconds for each

Suggestion = str | Callable[[], str | None] | None


class Refusal(ValueError):  # noqa: N818 - pydantic collects it; nobody catches it as an error
    """A value that a field does not take. A suggestion may be a function, which is called for faults that are shown."""

    def __init__(self, message: str, suggestion: Suggestion = None) -> None:
        super().__init__(message)
        self.message = message
        self._suggestion = suggestion

    @property
    def suggestion(self) -> str | None:
        """What was probably meant."""
        return self._suggestion() if callable(self._suggestion) else self._suggestion


def shown(value: object) -> str:
    """Give a value for a message: short, on one line, and harmless on a terminal."""
    if isinstance(value, str):
        cut = value if len(value) <= SHOWN_LENGTH else value[:SHOWN_LENGTH] + "..."
        return repr(cut)
    if value is None:
        return "nothing"
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    return "a list" if isinstance(value, list | tuple) else "a mapping"


def quote_hint(value: object) -> str:
    """Give the advice for a value that YAML reads as something else than text, such as a binary named `true`."""
    return "; put it in quotes" if isinstance(value, bool | int | float) else ""


def closest(word: object, known: Iterable[str]) -> str | None:
    """Give the known word that `word` was probably meant to be, if one is near enough and they are not too many."""
    # Imported here: only a profile with a fault pays for it.
    from difflib import get_close_matches

    candidates = list(islice(known, MAX_CANDIDATES + 1))
    if not isinstance(word, str) or len(word) > SHOWN_LENGTH or len(candidates) > MAX_CANDIDATES:
        return None
    spelt = word.lower().replace("_", "-")
    begun = [candidate for candidate in candidates if len(spelt) > 2 and candidate.startswith(spelt)]
    matches = begun or get_close_matches(spelt, candidates, n=1, cutoff=0.6)
    return matches[0] if matches else None
