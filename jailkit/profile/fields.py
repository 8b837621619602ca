"""The types of the model's fields: each a parse function and the JSON Schema of what it takes.

A field is one call of a plain function, so that every message is ours, and so that pydantic has little to build.
No `from __future__ import annotations` here or in the model: pydantic would have to evaluate each string.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import core_schema

from jailkit.levels import LEVELS
from jailkit.profile import names, paths, units

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Parsed:
    """A field that one function reads. `write` turns it back into what the function takes, for JSON."""

    parse: Callable[[object], Any]
    json: Json
    write: Callable[[Any], Any] | None = None

    def __get_pydantic_core_schema__(
        self,
        source: object,
        handler: GetCoreSchemaHandler,
    ) -> core_schema.CoreSchema:
        """Use the function alone; the annotated type is for people and for mypy."""
        write = core_schema.plain_serializer_function_ser_schema(self.write) if self.write else None
        return core_schema.no_info_plain_validator_function(self.parse, serialization=write)

    def __get_pydantic_json_schema__(
        self,
        schema: core_schema.CoreSchema,
        handler: GetJsonSchemaHandler,
    ) -> Json:
        """Give the schema of what the function takes."""
        return dict(self.json)


@dataclass(frozen=True, slots=True)
class Short:
    """An entry that may be written as the value of one of its keys: `ls` for `{name: ls}`."""

    key: str

    def __get_pydantic_core_schema__(
        self,
        source: object,
        handler: GetCoreSchemaHandler,
    ) -> core_schema.CoreSchema:
        """Turn the short form into the long one, then validate that."""
        return core_schema.no_info_before_validator_function(self.lengthen, handler(source))

    def lengthen(self, value: object) -> object:
        """Give the long form."""
        return {self.key: value} if isinstance(value, str | int | float) else value

    def __get_pydantic_json_schema__(self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> Json:
        """Give both forms."""
        long = handler(schema)
        short = handler.resolve_ref_schema(long)["properties"][self.key]
        plain = {word: value for word, value in short.items() if word not in ("title", "description")}
        return {"anyOf": [plain, long]}


def one_of(*known: str) -> Parsed:
    """Make a field that takes one of a few words."""
    return Parsed(lambda value: names.choice(value, known), {"type": "string", "enum": list(known)})


def number(least: int, most: int) -> Parsed:
    """Make a field that takes a whole number within bounds."""
    return Parsed(
        lambda value: names.whole_number(value, least, most), {"type": "integer", "minimum": least, "maximum": most}
    )


def matching(parse: Callable[[object], Any], pattern: str) -> Parsed:
    """Make a field that takes a string of a pattern."""
    return Parsed(parse, {"type": "string", "pattern": pattern})


def with_unit(parse: Callable[[object], Any], pattern: str, write: Callable[[Any], Any] | None = None) -> Parsed:
    """Make a field that takes a number, or a string with a unit."""
    json = {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": pattern}]}
    return Parsed(parse, json, write)


_TEXT: Json = {"type": ["string", "integer"]}
_ABSOLUTE = r"^/"
# A path below the root that is not in /proc or /sys and has no `.`, `..` or empty component.
_IN_JAIL = r"^(?!/(proc|sys)(/|$))(/(?!\.{1,2}(/|$))[^/\x00-\x1f\x7f]+)+/?$"
_SOURCE = r"^(?!.*(^|/)\.\.(/|$))(?!/(proc|sys|dev)(/|$))[^\x00-\x1f\x7f]+$"
_NAMED_USER: Json = {"anyOf": [number(0, names.MAX_ID).json, {"type": "string", "pattern": r"^[a-z0-9_][a-z0-9_-]*$"}]}

Flag = Annotated[bool, Parsed(names.true_or_false, {"type": "boolean"})]
ProfileName = Annotated[str, matching(names.profile_name, names.PROFILE_PATTERN)]
UserName = Annotated[str, matching(names.user_name, names.USER_PATTERN)]
UserOrId = Annotated[str, Parsed(names.user_or_id, _NAMED_USER)]
Identity = Annotated[int, number(0, names.MAX_ID)]
Group = Annotated[str | int, Parsed(names.group, _NAMED_USER)]
Owner = Annotated[
    str, Parsed(names.owner, {"anyOf": [{"type": "integer"}, {"type": "string", "pattern": names.OWNER_PATTERN}]})
]
Package = Annotated[str, matching(names.package_name, names.PACKAGE_PATTERN)]
Variable = Annotated[str, matching(names.variable_name, names.VARIABLE_PATTERN)]
Policy = Annotated[str, matching(names.policy_name, names.POLICY_PATTERN)]
NameOrPath = Annotated[str, matching(names.name_or_path, r"^(/.+|[^/]+)$")]
Capability = Annotated[str, matching(names.capability, r"^[A-Za-z_]+$")]
LevelField = Annotated[str, one_of(*(name for name in LEVELS if name != "host"))]
Namespace = Annotated[str, one_of(*names.NAMESPACES)]
DeviceName = Annotated[str, Parsed(names.device, {"enum": [*names.DEVICES, None]})]
Network = Annotated[Literal["none", "host", "bridge"], one_of("none", "host", "bridge")]
MountType = Annotated[Literal["bind", "tmpfs"], one_of("bind", "tmpfs")]

TextField = Annotated[str, Parsed(names.text, _TEXT)]
Extends = Annotated[
    tuple[str, ...],
    Parsed(
        names.profile_references,
        {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
    ),
]
GapKey = Annotated[str, Parsed(names.text, {"type": "string"})]
Prose = Annotated[str, Parsed(names.prose, _TEXT)]
Line = Annotated[str, Parsed(names.line, _TEXT)]
Expression = Annotated[str, Parsed(names.expression, _TEXT)]
Words = Annotated[
    tuple[str, ...],
    Parsed(names.command_words, {"anyOf": [{"type": "string"}, {"type": "array", "minItems": 1, "items": _TEXT}]}),
]

EntryPath = Annotated[str, matching(paths.jail_path, _IN_JAIL)]
ContentPath = Annotated[str, matching(paths.content_path, _IN_JAIL)]
LinkPath = Annotated[str, matching(paths.link_path, _IN_JAIL)]
TargetPath = Annotated[str, matching(paths.target_path, _IN_JAIL)]
FolderPath = Annotated[str, matching(paths.folder_path, _IN_JAIL)]
HomePath = Annotated[str, matching(paths.home_path, _ABSOLUTE)]
LinkTarget = Annotated[str, matching(paths.link_target, r"^[^\x00-\x1f\x7f]+$")]
Source = Annotated[str, matching(paths.source_path, _SOURCE)]

Size = Annotated[int, with_unit(units.parse_size, units.SIZE_PATTERN)]
PositiveSize = Annotated[int, with_unit(units.parse_positive_size, units.SIZE_PATTERN)]
Duration = Annotated[float, with_unit(units.parse_duration, units.DURATION_PATTERN)]
Cpus = Annotated[float, with_unit(units.parse_cpus, units.CPUS_PATTERN)]
Cpuset = Annotated[str, with_unit(units.parse_cpuset, units.CPUSET_PATTERN)]
# Written back as text, because a number is read by its decimal digits.
Mode = Annotated[int, with_unit(units.parse_mode, units.MODE_PATTERN, "{:04o}".format)]
