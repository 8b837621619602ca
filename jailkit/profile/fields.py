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
from jailkit.profile import addresses, names, paths, units

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


def matching(parse: Callable[[object], Any], pattern: str, write: Callable[[Any], Any] | None = None) -> Parsed:
    """Make a field that takes a string of a pattern."""
    return Parsed(parse, {"type": "string", "pattern": pattern}, write)


def number_or(
    parse: Callable[[object], Any], bare: Json, pattern: str, write: Callable[[Any], Any] | None = None
) -> Parsed:
    """Make a field that takes a bare number, or a string of a pattern such as one with a unit."""
    return Parsed(parse, {"anyOf": [bare, {"type": "string", "pattern": pattern}]}, write)


# What follows repeats the parse functions as far as a pattern can say it, for editors: the functions decide.
# Every pattern takes time by the length of its text and no more, because a profile is hostile in an editor too.
_UNSEEN = r"\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"  # as paths._CONTROL
_TEXT: Json = {"type": ["string", "integer"]}
_LINE: Json = {**_TEXT, "pattern": rf"^[^{_UNSEEN}]*$"}
# A path below the root that is not in /proc or /sys and has no `.`, `..` or empty component.
_ENTRY = rf"(?!/(proc|sys)(/|$))(/(?!\.{{1,2}}(/|$))[^/{_UNSEEN}]+)+"
_NOT_DEV = r"(?!/dev(/|$))"
# No `..`, and once `//` and `/.` are read as the kernel does, neither the whole root nor in a tree of the kernel's.
_SOURCE = rf"(?!(.*/)?\.\.(/|$))(?!(/\.?)+$)(?!(/\.?)*/(proc|sys|dev)(/|$))[^{_UNSEEN}]+"
_REFERENCE: Json = {"type": "string", "pattern": rf"^(?!/)(?!(.*/)?\.\.(/|$))[^{_UNSEEN}]+$"}
_ID: Json = number(0, names.MAX_ID).json
_USER = names.USER_PATTERN.strip("^$")
_USER_OR_ID = rf"([0-9]{{1,32}}|{_USER})"
_ABOVE_ZERO = r"^(?=.*[1-9])"
# Sticky with any bits, or without write permission for others.
_MODE = r"^(0o)?(0?1[0-7]{3}|0{0,2}[0-7]{0,2}[0145])$"

Flag = Annotated[bool, Parsed(names.true_or_false, {"type": "boolean"})]
ProfileName = Annotated[str, matching(names.profile_name, r"^(?!.*\.\.)" + names.PROFILE_PATTERN)]
UserName = Annotated[str, matching(names.user_name, names.USER_PATTERN)]
UserOrId = Annotated[str, number_or(names.user_or_id, _ID, f"^{_USER_OR_ID}$")]
Identity = Annotated[int, number(0, names.MAX_ID)]
Group = Annotated[str | int, number_or(names.group, _ID, names.USER_PATTERN)]
Owner = Annotated[str, number_or(names.owner, _ID, f"^{_USER_OR_ID}(:{_USER_OR_ID})?$")]
Package = Annotated[str, matching(names.package_name, names.PACKAGE_PATTERN)]
Variable = Annotated[str, matching(names.variable_name, names.VARIABLE_PATTERN)]
Policy = Annotated[str, matching(names.policy_name, names.POLICY_PATTERN)]
NameOrPath = Annotated[str, matching(names.name_or_path, rf"^((?=/){_SOURCE}|(?!\.{{1,2}}$)[^/{_UNSEEN}]+)$")]
Capability = Annotated[str, matching(names.capability, r"^[A-Za-z_]+$")]
LevelField = Annotated[str, one_of(*(name for name in LEVELS if name != "host"))]
Namespace = Annotated[str, one_of(*names.NAMESPACES)]
DeviceName = Annotated[str, Parsed(names.device, {"enum": [*names.DEVICES, None]})]
Network = Annotated[Literal["none", "host", "bridge"], one_of("none", "host", "bridge")]
Port = Annotated[addresses.Port, matching(addresses.parse_port, addresses.PORT_PATTERN, addresses.written_port)]
Destination = Annotated[
    addresses.Destination,
    matching(addresses.parse_destination, addresses.DESTINATION_PATTERN, addresses.written_destination),
]
Signal = Annotated[
    str,
    Parsed(names.signal_name, {"enum": [*names.SIGNALS, *(name.removeprefix("SIG") for name in names.SIGNALS)]}),
]
MountType = Annotated[Literal["bind", "tmpfs"], one_of("bind", "tmpfs")]

TextField = Annotated[str, Parsed(names.text, _TEXT)]
Extends = Annotated[
    tuple[str, ...],
    Parsed(
        names.profile_references,
        {"anyOf": [_REFERENCE, {"type": "array", "items": _REFERENCE}]},
    ),
]
GapKey = Annotated[str, Parsed(names.text, {"type": "string"})]
Prose = Annotated[str, Parsed(names.prose, {**_TEXT, "pattern": rf"^([^{_UNSEEN}]|[\t\n])*$"})]
Line = Annotated[str, Parsed(names.line, _LINE)]
Expression = Annotated[str, Parsed(names.expression, {**_TEXT, "maxLength": names.MAX_PATTERN})]
Words = Annotated[
    tuple[str, ...],
    Parsed(
        names.command_words,
        {
            "anyOf": [
                {"type": "string", "pattern": r"\S", "maxLength": names.MAX_LINE},
                {"type": "array", "minItems": 1, "prefixItems": [{**_TEXT, "minLength": 1}], "items": _TEXT},
            ]
        },
    ),
]

EntryPath = Annotated[str, matching(paths.jail_path, f"^{_ENTRY}$")]
ContentPath = Annotated[str, matching(paths.content_path, f"^{_NOT_DEV}{_ENTRY}$")]
LinkPath = Annotated[str, matching(paths.link_path, f"^(?!/dev$){_ENTRY}$")]
TargetPath = Annotated[str, matching(paths.target_path, f"^{_NOT_DEV}{_ENTRY}/?$")]
FolderPath = Annotated[str, matching(paths.folder_path, f"^{_ENTRY}/?$")]
HomePath = Annotated[str, matching(paths.home_path, f"^(/|{_ENTRY}/?)$")]
LinkTarget = Annotated[str, matching(paths.link_target, rf"^[^{_UNSEEN}]+$")]
Source = Annotated[str, matching(paths.source_path, f"^{_SOURCE}$")]

Size = Annotated[
    int, number_or(units.parse_size, {"type": "number", "minimum": 0, "maximum": units.MAX_SIZE}, units.SIZE_PATTERN)
]
PositiveSize = Annotated[
    int,
    number_or(
        units.parse_positive_size,
        {"type": "number", "minimum": 1, "maximum": units.MAX_SIZE},
        _ABOVE_ZERO + units.SIZE_PATTERN,
    ),
]
Duration = Annotated[
    float,
    number_or(
        units.parse_duration,
        {"type": "number", "exclusiveMinimum": 0, "maximum": units.MAX_SECONDS},
        f"{_ABOVE_ZERO}({units.NUMBER_PATTERN}|{units.DURATION_PATTERN})",
        units.written_duration,
    ),
]
Cpus = Annotated[
    float,
    number_or(
        units.parse_cpus,
        {"type": "number", "exclusiveMinimum": 0, "maximum": units.MAX_CPU + 1},
        _ABOVE_ZERO + units.CPUS_PATTERN,
        units.written_number,
    ),
]
Cpuset = Annotated[str, number_or(units.parse_cpuset, number(0, units.MAX_CPU).json, units.CPUSET_PATTERN)]
# Written back as text, because a number is read by its decimal digits. A bare one is bounded and no more.
Mode = Annotated[int, number_or(units.parse_mode, number(0, 1777).json, _MODE, "{:04o}".format)]
