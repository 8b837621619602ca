"""One stored jail: its name, its record, its marker."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jailkit.errors import PrivilegeError, RealizeError, StateError, UsageError
from jailkit.levels import LEVELS, LevelName
from jailkit.linux.shift import UNSHIFTED, Shift
from jailkit.plan.codec import checked, parse_object, runtime_from_data, runtime_to_data, texts
from jailkit.plan.settings import Runtime

FORMAT = 1
_KEPT = 16  # records that a process keeps at hand
_LARGEST = 4 << 20  # bytes of a record, which holds the smoke commands of a profile of at most 1 MiB
_LAST = 253402300799  # 9999-12-31: what a date can be
MARKER = ".jailkit"
SUDO = "; jails that root made are seen with sudo"
DIGEST = re.compile(r"[0-9a-f]{64}")
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


@dataclass(frozen=True, slots=True)
class Jail:
    """A stored jail, as jail.json tells it: all that entering it needs.

    Attributes:
        profile: the profile's name; `source` is the file it came from.
        created: seconds since the epoch when this tree was built.
        generation: 1 for the tree that create made, one more for each update.
        directory: the jail's folder.
        ids: base and size of the range of the host's ids that is the jail's own; None at levels that share the host's.
            A size of 1 means that there is but the caller's own id, which the jail's user has.
        shifted: the files of the tree and of the volumes belong to those ids, as seen where the caller is as root
            (`store.privilege`); else they have the ids that the jail sees, and its mounts map them.
        accepted: keys of the profile that were accepted not to hold.
        image: the digest of the image that the jail stands on; None for one with a tree of its own.
    """

    name: str
    profile: str
    source: str
    description: str
    level: LevelName
    created: float
    generation: int
    runtime: Runtime
    directory: str
    ids: tuple[int, int] | None = None
    accepted: tuple[str, ...] = ()
    image: str | None = None
    shifted: bool = False

    @property
    def rootfs(self) -> str:
        """The path of the jail's root on the host. That of an image is not the jail's to change."""
        return f"{self._tree}/rootfs"

    @property
    def manifest(self) -> str:
        """The path of what was recorded of the tree."""
        return f"{self._tree}/manifest.json"

    @property
    def volumes(self) -> str:
        """The folder of the jail's volumes. It outlasts updates and rollbacks, so it is not in the jail's own."""
        return f"{self._home}/volumes/{self.name}"

    def volume(self, path: str) -> str:
        """Give where the volume at a path of the jail is kept.

        One name each and never one below another: whoever lives in the jail decides what is in a volume.
        """
        name = path.removeprefix("/").replace("%", "%25").replace("/", "%2F")
        return f"{self.volumes}/{'%2E' + name[1:] if name.startswith('.') else name}"

    @property
    def has_one_id(self) -> bool:
        """Tell whether the jail's own user is the only one that there can be."""
        return self.ids is not None and self.ids[1] == 1

    @property
    def shift(self) -> Shift:
        """Where the ids of its files are on disk."""
        if not self.shifted or self.ids is None:
            return UNSHIFTED
        return Shift(0, 1) if self.has_one_id else Shift(*self.ids)  # The caller is 0 there.

    @property
    def _tree(self) -> str:
        return self.directory if self.image is None else f"{self._home}/images/{self.image}"

    @property
    def _home(self) -> str:
        return os.path.dirname(os.path.dirname(self.directory))

    @property
    def renewal(self) -> str:
        """What brings a changed profile into the jail, for a remedy. One made for a single run is gone by then."""
        stored = os.path.basename(os.path.dirname(self.directory)) == "jails"
        return f"jailkit update {self.name}" if stored else "run it again"

    def dumps(self) -> str:
        """Write jail.json."""
        data: dict[str, Any] = {"format": FORMAT}
        for name in ("name", "profile", "source", "description", "level", "created", "generation", "image", "shifted"):
            data[name] = getattr(self, name)
        data |= {"ids": self.ids, "accepted": self.accepted, "runtime": runtime_to_data(self.runtime)}
        return json.dumps(data, indent=1)

    @classmethod
    def loads(cls, text: str, directory: str) -> Jail:
        """Read jail.json.

        Raises:
            ValueError, KeyError, TypeError: it is not a jail.json of this format.
        """
        data = checked(cls, parse_object(text))
        if data.pop("format") != FORMAT:
            raise ValueError("written by another version of jailkit")
        if data["created"] > _LAST:
            raise ValueError(f"it was not created at {data['created']}")
        if data.get("image") is not None and not DIGEST.fullmatch(data["image"]):
            raise ValueError(f"no image can be {data['image'][:80]!r}")
        if not isinstance(data["level"], str) or data["level"] not in LEVELS:
            raise ValueError(f"there is no level {data['level']!r}")
        made = {
            "runtime": runtime_from_data(data["runtime"]),
            "ids": _read_ids(data.get("ids")),
            "accepted": texts(data.get("accepted", [])),
        }
        return cls(**{**data, **made}, directory=directory)


def _read_ids(data: object) -> tuple[int, int] | None:
    if data is None:
        return None
    if not isinstance(data, list) or len(data) != 2 or not all(type(number) is int for number in data):
        raise TypeError(f"the ids {str(data)[:80]!r} are no range")
    base, size = data
    if not (base > 0 and size > 0 and base + size < 2**32):
        raise ValueError(f"{size} ids from {base} on are no range")
    return base, size


def check_name(name: str) -> str:
    """Return `name` if it can name a jail.

    Raises:
        UsageError: it cannot.
    """
    if not NAME.fullmatch(name):
        raise UsageError(
            f"cannot use {name!r} as the name of a jail",
            resolution="1 to 63 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit",
        )
    return name


def read_jail(directory: str) -> Jail:
    """Read the jail that lives in `directory`.

    Raises:
        StateError: there is none, or its record is gone or damaged.
        PrivilegeError: it is not readable by this user.
    """
    name = os.path.basename(directory)
    remedy = f"jailkit destroy --force {name}"
    try:
        return _parsed(_read_record(f"{directory}/jail.json"), directory)
    except PermissionError as error:
        raise unreadable(name, error) from error
    except (FileNotFoundError, NotADirectoryError) as error:
        if not os.path.isdir(directory):
            raise missing(directory) from error
        raise StateError(f"cannot use jail {name}: its record jail.json is gone", resolution=remedy) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StateError(f"cannot read the record of jail {name}: {error}", resolution=remedy) from error


@lru_cache(maxsize=_KEPT)
def _parsed(text: str, directory: str) -> Jail:
    """As Jail.loads, for whoever reads the same again and again."""
    return Jail.loads(text, directory)


def _read_record(path: str) -> str:
    """Read a record; whatever somebody put in its place, this neither waits nor fills the memory."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC)
    with open(descriptor, encoding="utf-8") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST:
            raise ValueError("it is no regular file, or larger than any record")
        return file.read()


def missing(directory: str) -> StateError:
    """Give the error for a jail that there is not."""
    home, name = os.path.dirname(os.path.dirname(directory)), os.path.basename(directory)
    return StateError(
        f"cannot find jail {name} in {home}",
        resolution=f"jailkit list shows the jails there are; jailkit create makes one{SUDO if os.geteuid() else ''}",
    )


def unreadable(name: str, error: OSError) -> PrivilegeError:
    """Give the error for a jail of another user's."""
    return PrivilegeError(f"cannot read jail {name}: {error.strerror}", resolution="run as root, for example with sudo")


def is_marked(path: str) -> bool:
    """Tell whether a folder is one that jailkit made: a real folder with a regular marker file in it."""
    return os.path.isfile(f"{path}/{MARKER}") and not os.path.islink(path) and not os.path.islink(f"{path}/{MARKER}")


def write_text(path: str, parts: Iterable[str]) -> None:
    """Write a new file and flush it to the disk, so that the rename that follows cannot overtake it.

    Raises:
        RealizeError: it could not be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(descriptor)
    except OSError as error:
        raise RealizeError.because(f"cannot write {path}", error) from error
