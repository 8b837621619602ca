"""Images: one tree for all jails that are made alike and never write to it.

Whoever reads an image through `image_for` holds its lock until the record that names it is written.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import NamedTuple

from jailkit.host import Host
from jailkit.levels import LEVELS
from jailkit.lifecycle.drift import changed_source
from jailkit.linux.paths import Tree
from jailkit.linux.walk import walk_tree
from jailkit.manifest import Manifest
from jailkit.plan.model import Plan
from jailkit.realize import Progress, realize
from jailkit.store import Image, Jail, Store, write_text
from jailkit.store.images import read_image


class Standing(NamedTuple):
    """An image that is locked, and its manifest."""

    image: Image
    manifest: Manifest


def shares(jail: Jail) -> bool:
    """Tell whether a jail stands on an image: where its root is mounted read-only, nobody can tell the difference.

    One whose files belong to its own ids cannot.
    """
    return LEVELS[jail.level].mount_namespace and jail.runtime.read_only_root and not jail.shifted


def plan_digest(plan: Plan) -> str:
    """Name what decides about a tree, apart from the content of the host's files."""
    return hashlib.sha256(repr((plan.entries, plan.owners, plan.packages)).encode()).hexdigest()


@contextlib.contextmanager
def image_for(plan: Plan, profile: str, store: Store, progress: Progress) -> Iterator[Standing]:
    """Give an image with the tree of a plan: one that there is, or a new one, which keeps `profile` beside it.

    Raises:
        RealizeError: a new one could not be written.
    """
    with contextlib.ExitStack() as stack:
        found = _find(plan, store, stack)
        if found is None:
            yield _make(plan, profile, store, progress, stack)
            return
        for record in found.manifest.records.values():
            progress(record)
        yield found


def _find(plan: Plan, store: Store, stack: contextlib.ExitStack) -> Standing | None:
    """Give an image that was made from an equal plan, if neither it nor the host has changed since."""
    digest, host = plan_digest(plan), Host()
    for name in store.images():
        known = read_image(f"{store.home}/images/{name}")
        if known is None or known.plan != digest:
            continue  # Not locked only to be looked at: somebody may hold it for long.
        with contextlib.ExitStack() as held:
            image = held.enter_context(store.held_image(name))
            manifest = whole_manifest(image) if image else None
            if image and manifest and is_sound(image, manifest) and _is_current(manifest, host):
                stack.enter_context(held.pop_all())
                return Standing(image, manifest)
    return None


def whole_manifest(image: Image) -> Manifest | None:
    """Read the manifest of an image; None unless it is the one that the image is named by."""
    try:
        with open(image.manifest, encoding="utf-8") as file:
            text = file.read()
        return Manifest.loads(text) if _digest(text, image.number) == image.digest else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_sound(image: Image, manifest: Manifest) -> bool:
    """Tell whether nobody has changed the tree since it was complete: no change leaves the ctime alone (inode(7))."""
    try:
        latest, paths = _survey(image.rootfs)
    except OSError:
        return False
    return latest <= image.sealed and paths == manifest.records.keys()


def _survey(root: str) -> tuple[int, set[str]]:
    """Give the latest ctime in a tree, in nanoseconds, and all its paths."""
    with Tree(root) as tree:
        latest, paths = os.fstat(tree.fd).st_ctime_ns, {"/"}
        for path, status, unread in walk_tree(tree):
            if unread is not None:
                raise OSError(unread)
            latest = max(latest, status.st_ctime_ns)
            paths.add(path)
    return latest, paths


def _is_current(manifest: Manifest, host: Host) -> bool:
    for record in manifest.records.values():
        if record.source is None:
            continue
        status = host.lstat(record.source) if record.privileged else None
        # File capabilities are not in the manifest, so that only the ctime tells that they are the same.
        if record.privileged and (status is None or status.st_ctime_ns != record.source_ctime_ns):
            return False
        if changed_source(record.source, record, host) is not None:
            return False
    return True


def _make(plan: Plan, profile: str, store: Store, progress: Progress, stack: contextlib.ExitStack) -> Standing:
    """Make an image in a draft of its own."""
    draft = stack.enter_context(store.draft(f"image-{os.urandom(8).hex()}"))
    manifest = Manifest.of(realize(plan, f"{draft}/rootfs", progress), plan.packages)
    write_text(f"{draft}/manifest.json", manifest.parts())
    write_text(f"{draft}/profile.json", [profile])
    sealed, _ = _survey(f"{draft}/rootfs")
    made = Image(draft, plan_digest(plan), 0, sealed)
    return Standing(_publish(made, manifest, store, stack), manifest)


def _publish(made: Image, manifest: Manifest, store: Store, stack: contextlib.ExitStack) -> Image:
    """Give a new image its name, or the image that has it already, because it was made elsewhere at this moment.

    One of that name that somebody has damaged stays for those who stand on it; this one gets another number.
    """
    text = manifest.dumps()
    for number in count():
        numbered, digest = replace(made, number=number), _digest(text, number)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{made.directory}/image.json")
        write_text(f"{made.directory}/image.json", [numbered.dumps()])
        if store.publish_image(made.directory, digest):
            return replace(numbered, directory=f"{store.home}/images/{digest}")
        with contextlib.ExitStack() as held:
            other = held.enter_context(store.held_image(digest))
            if other is not None and whole_manifest(other) is not None and is_sound(other, manifest):
                stack.enter_context(held.pop_all())
                return other
    raise AssertionError("there is always another number")


def _digest(manifest: str, number: int) -> str:
    return hashlib.sha256(f"{number}\n{manifest}".encode()).hexdigest()
