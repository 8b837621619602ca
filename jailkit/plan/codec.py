"""Plain data for JSON and back, with the standard library only: entering a jail must not pay for pydantic."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from functools import cache
from types import NoneType
from typing import Any

from jailkit.linux.capabilities import capability_mask
from jailkit.linux.devices import DEVICES
from jailkit.plan.settings import Account, Destination, IoLimit, Isolation, Limits, Mount, Port, Runtime, Smoke

_TOO_MUCH = 2**63
_PROTOCOLS = ("tcp", "udp")
_NOBODY = 2**32 - 1  # (uid_t) -1, which stands for no user (chown(2))

# The annotations of what JSON holds as it is; modules postpone their evaluation, so they are text here.
_PLAIN: dict[str, tuple[type, ...]] = {
    "str": (str,), "int": (int,), "float": (int, float), "bool": (bool,),
    "str | None": (str, NoneType), "int | None": (int, NoneType), "float | None": (int, float, NoneType),
    "bool | None": (bool, NoneType),
}  # fmt: skip


def parse_object(text: str) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ValueError, TypeError: the text is none.
    """
    try:
        data = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(data, dict):
        raise TypeError(f"expected an object, found {type(data).__name__}")
    return data


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def checked(kind: type, data: dict[str, Any]) -> dict[str, Any]:
    """Return `data` if its texts, numbers and booleans are what the fields of the dataclass `kind` say.

    Raises:
        TypeError: one is not, or `data` is no dictionary.
    """
    if not isinstance(data, dict):
        raise TypeError(f"expected an object, found {type(data).__name__}")
    types = _plain_fields(kind)
    for name, value in data.items():
        if name in types and not (isinstance(value, types[name]) and _is_sane(value)):
            raise TypeError(f"{name} cannot be {str(value)[:80]!r}")
    return data


def _is_sane(value: object) -> bool:
    """Tell whether a number is one that jailkit can have written: no uid, size, time or count is negative or huge."""
    return not isinstance(value, int | float) or 0 <= value < _TOO_MUCH


@cache
def _plain_fields(kind: type) -> dict[str, tuple[type, ...]]:
    return {field.name: _PLAIN[field.type] for field in fields(kind) if field.type in _PLAIN}


def texts(data: object) -> tuple[str, ...]:
    """Turn a list of texts back into a tuple.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(data, list) or not all(isinstance(item, str) for item in data):
        raise TypeError(f"expected a list of texts, found {str(data)[:80]!r}")
    return tuple(data)


def runtime_to_data(runtime: Runtime) -> dict[str, Any]:
    """Turn a runtime into dictionaries and lists."""
    return asdict(runtime)


def runtime_from_data(data: dict[str, Any]) -> Runtime:
    """Turn `runtime_to_data`'s result back. What records of earlier versions do not have takes its default.

    Raises:
        KeyError, TypeError, ValueError: the data does not have that shape.
    """
    return Runtime(
        **{
            **checked(Runtime, data),
            "accounts": tuple(_account(account) for account in data["accounts"]),
            "environment": tuple((name, value) for name, value in map(texts, data["environment"])),
            "command": texts(data["command"]),
            "limits": _limits(data["limits"]),
            "isolation": _isolation(data["isolation"]),
            "mounts": tuple(Mount(**checked(Mount, mount)) for mount in data["mounts"]),
            "smoke": tuple(_smoke(smoke) for smoke in data["smoke"]),
            "devices": _devices(data.get("devices", list(DEVICES))),
            "volumes": texts(data.get("volumes", [])),
        }
    )


def _devices(data: object) -> tuple[str, ...]:
    names = texts(data)
    if not set(names) <= DEVICES.keys():
        raise ValueError(f"there are other devices in {', '.join(names)[:80]!r} than a jail may have")
    return names


def _account(data: dict[str, Any]) -> Account:
    account = Account(**{**checked(Account, data), "groups": tuple(int(group) for group in data["groups"])})
    if not all(0 <= number < _NOBODY for number in (account.uid, account.gid, *account.groups)):
        raise ValueError(f"the ids of {account.name} are none that a user can have")
    return account


def _limits(data: dict[str, Any]) -> Limits:
    io = tuple(IoLimit(**checked(IoLimit, limit)) for limit in data["io"])
    return Limits(**{**checked(Limits, data), "io": io})


def _isolation(data: dict[str, Any]) -> Isolation:
    namespaces, allow = data["namespaces"], data.get("allow")
    return Isolation(
        **{
            **checked(Isolation, data),
            "namespaces": None if namespaces is None else texts(namespaces),
            "capabilities": _capabilities(data["capabilities"]),
            "ports": tuple(map(_port, data.get("ports", []))),
            "allow": None if allow is None else tuple(map(_destination, allow)),
        }
    )


def _port(data: dict[str, Any]) -> Port:
    port = Port(**checked(Port, data))
    if port.protocol not in _PROTOCOLS:
        raise ValueError(f"{str(port.protocol)[:80]!r} is no protocol")
    return port


def _destination(data: dict[str, Any]) -> Destination:
    destination = Destination(**checked(Destination, data))
    if destination.protocol not in ((None,) if destination.port is None else _PROTOCOLS):
        raise ValueError(f"{str(destination.protocol)[:80]!r} is no protocol of port {destination.port}")
    return destination


def _capabilities(data: object) -> tuple[str, ...]:
    names = texts(data)
    capability_mask(names)
    return names


def _smoke(data: dict[str, Any]) -> Smoke:
    return Smoke(**{**checked(Smoke, data), "command": texts(data["command"])})
