"""Images, and what images and volumes are still needed for.

Jails that were made alike stand on one image: a tree that nobody writes to, so that no jail need own it. Which image
a jail stands on is in its record, so an image is needed as long as some record names it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from jailkit.errors import JailkitError
from jailkit.linux.mountinfo import mounts_below
from jailkit.plan.codec import checked, parse_object
from jailkit.store.jail import is_marked, read_jail

FORMAT = 1
_STANDING = ("jails", "previous", "drafts", "trash")


@dataclass(frozen=True, slots=True)
class Image:
    """A tree with its manifest. The folder is named by a sha256 over `number` and the manifest.

    Attributes:
        plan: the digest of the plan it was made from.
        number: 0, and one more for each image of the same manifest that was damaged when this was made.
        sealed: the latest ctime in the tree when it was complete, in nanoseconds since the epoch (inode(7)).
    """

    directory: str
    plan: str
    number: int
    sealed: int

    @property
    def digest(self) -> str:
        """Its name."""
        return os.path.basename(self.directory)

    @property
    def rootfs(self) -> str:
        """The path of its tree."""
        return f"{self.directory}/rootfs"

    @property
    def manifest(self) -> str:
        """The path of its manifest."""
        return f"{self.directory}/manifest.json"

    def dumps(self) -> str:
        """Write image.json."""
        data = asdict(self) | {"format": FORMAT}
        del data["directory"]
        return json.dumps(data, indent=1)


def read_image(directory: str) -> Image | None:
    """Read image.json; None where there is none that can be used."""
    try:
        with open(f"{directory}/image.json", encoding="utf-8") as file:
            data = checked(Image, parse_object(file.read()))
        if data.pop("format") != FORMAT or not is_marked(directory):
            return None
        return Image(**data, directory=directory)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def needless(home: str) -> list[str]:
    """Give the folders in images/ that no record names, and those in volumes/ that belong to no jail.

    While the record of a jail cannot be read, every image may be the one that it names.
    """
    found = [*(f"{home}/images/{digest}" for digest in _needless_images(home)), *_needless_volumes(home)]
    return [path for path in found if is_marked(path) and _is_free(path)]


def _needless_images(home: str) -> set[str]:
    """Give the digests of the images that no record names; none where a jail's record cannot be read."""
    left = set(_names(f"{home}/images"))
    for folder in _STANDING:
        for name in _names(f"{home}/{folder}"):
            if not left:
                return left
            try:
                left.discard(read_jail(f"{home}/{folder}/{name}").image or "")
            except JailkitError:
                # A draft has no whole record while it is built, and what is in trash/ is no jail any more.
                if folder in ("jails", "previous"):
                    return set()
    return left


def _needless_volumes(home: str) -> Iterator[str]:
    for name in _names(f"{home}/volumes"):
        if not any(os.path.lexists(f"{home}/{folder}/{name}") for folder in ("jails", "drafts")):
            yield f"{home}/volumes/{name}"


def _is_free(path: str) -> bool:
    """Tell whether nothing is mounted below a folder: it might be somebody's data."""
    try:
        return not mounts_below(path)
    except OSError:  # No /proc here.
        return False


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []
