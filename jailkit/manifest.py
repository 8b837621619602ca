"""The manifest: what was made in a jail, path by path, and why each path is there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from posixpath import normpath
from typing import Any, Literal, get_args

from jailkit.plan.codec import checked, parse_object
from jailkit.plan.model import Because, Reason

Kind = Literal["directory", "file", "symlink", "device"]
FORMAT = 1
_KINDS, _BECAUSES = get_args(Kind), get_args(Because)


@dataclass(frozen=True, slots=True)
class Record:
    """One path of a realized tree.

    Attributes:
        mode: permission bits with setuid, setgid and sticky; 0o777 for a symbolic link.
        size, sha256: of a regular file's content.
        target: of a symbolic link.
        device: major and minor number of a device node.
        source: the host file that was copied; `source_size` and `source_ctime_ns` are its stat(2) then.
        package: the Debian package that owns `source`.
        privileged: setuid, setgid and file capabilities were kept because the profile lists the file.
    """

    path: str
    kind: Kind
    mode: int
    uid: int
    gid: int
    reason: Reason
    size: int = 0
    sha256: str | None = None
    target: str | None = None
    device: tuple[int, int] | None = None
    source: str | None = None
    source_size: int = 0
    source_ctime_ns: int = 0
    package: str | None = None
    privileged: bool = False


@dataclass(frozen=True, slots=True)
class Manifest:
    """All records of a tree, by path, and the versions of the packages that files were copied from."""

    records: dict[str, Record]
    packages: dict[str, str]

    @classmethod
    def of(cls, records: Iterable[Record], packages: Iterable[tuple[str, str]] = ()) -> Manifest:
        """Build a manifest from records in any order."""
        return cls({record.path: record for record in sorted(records, key=lambda r: r.path)}, dict(packages))

    def chain(self, path: str) -> list[Record]:
        """Give the record of `path` and then, one after the other, those that wanted it.

        Raises:
            KeyError: no record has that path.
        """
        chain = [self.records[path]]
        seen = {path}
        while (via := chain[-1].reason.via) is not None and via in self.records and via not in seen:
            seen.add(via)
            chain.append(self.records[via])
        return chain

    def dumps(self) -> str:
        """Write the manifest as JSON, without the fields that are at their default."""
        return "".join(self.parts())

    def parts(self) -> Iterator[str]:
        """Give the same piece by piece, so that a large one is never in memory as a whole."""
        yield _encode({"format": FORMAT, "packages": self.packages, "records": []}).removesuffix("]}")
        records, comma = iter(self.records.values()), ""
        while batch := [_compact(record) for record in islice(records, _BATCH)]:
            yield comma + _encode(batch)[1:-1]
            comma = ","
        yield "]}"

    @classmethod
    def loads(cls, text: str) -> Manifest:
        """Read what `dumps` wrote.

        Raises:
            ValueError, KeyError, TypeError: it is not a manifest of this format.
        """
        data = parse_object(text)
        if data["format"] != FORMAT:
            raise ValueError(f"manifest format {data['format']} is not {FORMAT}")
        manifest = cls.of(map(_record, data["records"]), _packages(data["packages"]))
        if "/" not in manifest.records:
            raise ValueError("it has no record of the root")
        for path in manifest.records:
            if not _is_canonical(path):
                raise ValueError(f"{path[:80]!r} is no path of a jail")
        return manifest


_BATCH = 1000
_encode = json.JSONEncoder(separators=(",", ":")).encode

_DEFAULTS = {"size": 0, "sha256": None, "target": None, "device": None, "source": None, "source_size": 0,
             "source_ctime_ns": 0, "package": None, "privileged": False}  # fmt: skip


def _is_canonical(path: str) -> bool:
    """Tell whether a path is absolute, without empty components, `.` and `..`."""
    return path.startswith("/") and normpath(path) == path and not path.startswith("//")


def _compact(record: Record) -> dict[str, Any]:
    data = {name: getattr(record, name) for name in ("path", "kind", "mode", "uid", "gid")}
    data["reason"] = [record.reason.key, record.reason.because, record.reason.via]
    for name, default in _DEFAULTS.items():
        value = getattr(record, name)
        if value != default:
            data[name] = value
    return data


def _record(data: dict[str, Any]) -> Record:
    device = checked(Record, data).get("device")
    key, because, via = data["reason"]
    if because not in _BECAUSES or data["kind"] not in _KINDS:
        raise ValueError(f"the record of {data['path']} has another reason or kind than there are")
    return Record(**{**data, "reason": Reason(key, because, via), "device": None if device is None else tuple(device)})


def _packages(data: object) -> Iterator[tuple[str, str]]:
    if not isinstance(data, dict):
        raise TypeError("the packages are no object")
    return iter(data.items())


def record_to_data(record: Record) -> dict[str, Any]:
    """Give one record in full, for `--json`."""
    return asdict(record)
