"""An error as a record that goes from one process to another."""

from __future__ import annotations

from typing import TypedDict

from jailkit.errors import BackendError


class Record(TypedDict):
    """The parts of a BackendError, as JSON can have them."""

    brief: str
    details: list[str]
    resolution: str | None


def to_record(error: BackendError) -> Record:
    """Take an error apart."""
    return {"brief": error.brief, "details": list(error.details), "resolution": error.resolution}


def to_error(record: Record) -> BackendError:
    """Put an error together again."""
    return BackendError(record["brief"], details=record["details"], resolution=record["resolution"])
