"""Checks across fields. Each gives pairs of location and refusal; none looks at the host."""

from __future__ import annotations

from collections.abc import Iterator

from jailkit.profile.model import Profile
from jailkit.profile.names import DEVICES
from jailkit.profile.nodes import Loc
from jailkit.profile.paths import check_link, is_pattern
from jailkit.profile.refusal import Refusal, closest, shown

Finding = tuple[Loc, Refusal]

# The accounts that a jail has besides those of the profile.
_BUILT_IN = ("root", "nobody", "jail")


def check(profile: Profile, faulty: frozenset[str]) -> Iterator[Finding]:
    """Run all checks. `faulty` are top-level keys with faults of their own, whose content is not complete here."""
    yield from _duplicate_targets(profile)
    yield from _below_links(profile)
    yield from _links(profile)
    yield from _accounts(profile)
    if "users" not in faulty:
        yield from _unknown_users(profile)
    yield from _gaps(profile)
    yield from _mounts(profile)
    yield from _io(profile)
    yield from _outputs(profile)


def _placed(profile: Profile) -> Iterator[tuple[str, Loc]]:
    """Give every path that an entry of the profile makes by itself, and where that is said."""
    for number, file in enumerate(profile.files):
        if file.target is not None and not is_pattern(file.source):
            yield file.target, ("files", number, "target")
    for number, folder in enumerate(profile.directories):
        yield folder.path, ("directories", number, "path")
    for path in profile.symlinks:
        yield path, ("symlinks", path)
    for path in profile.text:
        yield path, ("text", path)


def _duplicate_targets(profile: Profile) -> Iterator[Finding]:
    devices = DEVICES if profile.devices is None else profile.devices
    claimed: dict[str, Loc] = {f"/dev/{name}": ("devices",) for name in devices}
    for path, loc in _placed(profile):
        if path in claimed:
            yield loc, Refusal(f"{shown(path)} is claimed by `{claimed[path][0]}` already")
        claimed.setdefault(path, loc)


def _below_links(profile: Profile) -> Iterator[Finding]:
    """Refuse an entry whose path goes through a link of the profile: it would land somewhere else."""
    for path, loc in _placed(profile):
        parts = path.split("/")
        parents = ("/".join(parts[:length]) for length in range(2, len(parts)))
        link = next((parent for parent in parents if parent in profile.symlinks), None)
        if link is not None:
            yield loc, Refusal(f"{shown(path)} is below {shown(link)}, which `symlinks` makes a link")


def _links(profile: Profile) -> Iterator[Finding]:
    for path, target in profile.symlinks.items():
        try:
            check_link(path, target)
        except Refusal as refusal:
            yield ("symlinks", path), refusal


def _accounts(profile: Profile) -> Iterator[Finding]:
    names: set[str] = set()
    uids: dict[int, str] = {}
    for number, user in enumerate(profile.users):
        if user.name in names:
            yield ("users", number, "name"), Refusal(f"user {user.name} is given twice")
        names.add(user.name)
        if user.uid is None:
            continue
        if (user.uid == 0) != (user.name == "root"):
            yield ("users", number, "uid"), Refusal("uid 0 is root's, and root has no other")
        elif user.uid in uids:
            yield ("users", number, "uid"), Refusal(f"uid {user.uid} is {uids[user.uid]}'s already")
        uids.setdefault(user.uid, user.name)


def _unknown_users(profile: Profile) -> Iterator[Finding]:
    known = [*(user.name for user in profile.users), *_BUILT_IN]
    for name, loc in _mentioned_users(profile):
        if not name.isdigit() and name not in known:
            yield loc, Refusal(f"there is no user {shown(name)} among `users`", closest(name, known))


def _mentioned_users(profile: Profile) -> Iterator[tuple[str, Loc]]:
    if profile.isolation.user is not None:
        yield profile.isolation.user, ("isolation", "user")
    for number, smoke in enumerate(profile.smoke):
        if smoke.user is not None:
            yield smoke.user, ("smoke", number, "user")
    for owner, loc in _owners(profile):
        for name in owner.split(":"):
            yield name, loc


def _owners(profile: Profile) -> Iterator[tuple[str, Loc]]:
    for number, file in enumerate(profile.files):
        if file.owner:
            yield file.owner, ("files", number, "owner")
    for number, folder in enumerate(profile.directories):
        if folder.owner:
            yield folder.owner, ("directories", number, "owner")
    for path, text in profile.text.items():
        if text.owner:
            yield text.owner, ("text", path, "owner")


def _gaps(profile: Profile) -> Iterator[Finding]:
    if not profile.accept_gaps:
        return
    # Imported here: few profiles list any.
    from jailkit.profile.keys import gap_keys

    known = gap_keys()
    for number, key in enumerate(profile.accept_gaps):
        if key not in known:
            near = next((gap for gap in known if gap.endswith(f".{key}")), None) or closest(key, known)
            yield ("accept-gaps", number), Refusal(f"{shown(key)} is no setting that could be a gap", near)


def _mounts(profile: Profile) -> Iterator[Finding]:
    targets: set[str] = set()
    for number, mount in enumerate(profile.mounts):
        if mount.type == "bind" and mount.source is None:
            yield ("mounts", number, "type"), Refusal("a bind mount needs a `source`")
        if mount.type == "tmpfs" and mount.source is not None:
            yield ("mounts", number, "source"), Refusal("a tmpfs has no source")
        if mount.type == "bind" and mount.size is not None:
            yield ("mounts", number, "size"), Refusal("only a tmpfs has a size")
        if mount.target in targets:
            yield ("mounts", number, "target"), Refusal(f"{shown(mount.target)} is mounted on already")
        targets.add(mount.target)


def _io(profile: Profile) -> Iterator[Finding]:
    for number, io in enumerate(profile.limits.io):
        if io.read_bps is io.write_bps is io.read_iops is io.write_iops is None:
            yield ("limits", "io", number), Refusal("sets no limit")


def _outputs(profile: Profile) -> Iterator[Finding]:
    for number, smoke in enumerate(profile.smoke):
        if smoke.stdout is not None:
            wanted = (smoke.stdout.equals, smoke.stdout.contains, smoke.stdout.matches)
            if sum(value is not None for value in wanted) != 1:
                yield ("smoke", number, "stdout"), Refusal("needs exactly one of equals, contains and matches")
