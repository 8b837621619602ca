"""The keys of the model: which exist at a place, and what a misspelt one was meant to be."""

from __future__ import annotations

import typing

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from jailkit.profile.model import Isolation, Limits, Profile
from jailkit.profile.nodes import Loc
from jailkit.profile.refusal import closest

# The mappings of a profile that hold settings of their own.
SECTIONS: dict[str, type[BaseModel]] = {"isolation": Isolation, "limits": Limits}

# Settings besides those of `isolation` and `limits` that a level or a host may be unable to enforce.
_GAPS = ("devices", "keep-privileges", "mounts", "read-only-root", "users")


def keys_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Give a model's fields by the keys that profiles use."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def gap_keys() -> tuple[str, ...]:
    """Give what `accept-gaps` may list."""
    nested = [f"{top}.{key}" for top, model in SECTIONS.items() for key in keys_of(model)]
    return (*nested, *_GAPS)


def suggest_key(loc: Loc) -> str | None:
    """Give the key that an unknown one at `loc` was meant to be, also when it belongs one level down."""
    model = _model_at(loc[:-1])
    key = str(loc[-1])
    if model is None:
        return None
    if model is Profile:
        for section, part in SECTIONS.items():
            if key.replace("_", "-") in keys_of(part):
                return f"{section}.{key.replace('_', '-')}"
    return closest(key, keys_of(model))


def _model_at(loc: Loc) -> type[BaseModel] | None:
    model: type[BaseModel] | None = Profile
    for step in loc:
        if isinstance(step, int) or model is None:
            continue
        field = keys_of(model).get(step)
        # A step that is no field of the model is a key of a free mapping, such as a path under `text`.
        model = _model_in(field.annotation) if field else model
    return model


def _model_in(annotation: object) -> type[BaseModel] | None:
    """Find the model within an annotation such as tuple[Annotated[Binary, ...], ...] | None."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_in(part) for part in typing.get_args(annotation) if not isinstance(part, str))
    return next((model for model in found if model is not None), None)
