"""Checks across fields. Each gives pairs of location and refusal; none looks at the host."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from jailkit.profile.addresses import ANY
from jailkit.profile.find import shipped_policies
from jailkit.profile.model import Profile
from jailkit.profile.names import DEVICES, NO_POLICY, pattern
from jailkit.profile.nodes import Loc
from jailkit.profile.paths import MAX_NAME, check_link, is_pattern
from jailkit.profile.refusal import Refusal, closest, shown

Located = tuple[Loc, Refusal]

# Characters of all regular expressions of a profile: compiling the worst of that length takes about a second.
MAX_PATTERNS = 800

# The accounts that a jail has besides those of the profile.
_BUILT_IN = ("root", "nobody", "jail")


def check(profile: Profile, faulty: frozenset[str]) -> Iterator[Located]:
    """Run all checks. `faulty` are top-level keys with faults of their own, whose content is not complete here."""
    yield from _duplicate_targets(profile)
    yield from _below_links(profile)
    yield from _links(profile)
    yield from _accounts(profile)
    if "users" not in faulty:
        yield from _unknown_users(profile)
    yield from _policy(profile)
    yield from _gaps(profile)
    yield from _mounts(profile)
    yield from _volumes(profile)
    if "isolation" not in faulty:
        yield from _bridged(profile)
    yield from _published(profile)
    yield from _io(profile)
    yield from _outputs(profile)
    yield from _expressions(profile)


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


def _duplicate_targets(profile: Profile) -> Iterator[Located]:
    devices = DEVICES if profile.devices is None else profile.devices
    claimed: dict[str, Loc] = {f"/dev/{name}": ("devices",) for name in devices}
    for path, loc in _placed(profile):
        if path in claimed:
            yield loc, Refusal(f"{shown(path)} is claimed by `{claimed[path][0]}` already")
        claimed.setdefault(path, loc)


def _below_links(profile: Profile) -> Iterator[Located]:
    """Refuse an entry whose path goes through a link of the profile: it would land somewhere else."""
    links = _topmost(profile.symlinks)
    volumes = ((path, ("volumes", number)) for number, path in enumerate(profile.volumes))
    for path, loc in chain(_placed(profile), volumes):
        link = _above(path, links)
        if link not in (None, path):
            yield loc, Refusal(f"{shown(path)} is below {shown(link)}, which `symlinks` makes a link")


def _topmost(paths: Iterable[str]) -> list[str]:
    """Give the paths that are not below another of them, in order, each with a slash at its end."""
    found: list[str] = []
    for path in sorted(f"{path}/" for path in paths):
        if not found or not path.startswith(found[-1]):
            found.append(path)
    return found


def _above(path: str, tops: Sequence[str]) -> str | None:
    """Give the one of `tops`, as `_topmost` gives them, that a path is or is below; None if there is none."""
    # None of them begins with another, so that the one before a path in their order is the only one to ask.
    before = bisect(tops, f"{path}/") - 1
    return tops[before].removesuffix("/") if before >= 0 and f"{path}/".startswith(tops[before]) else None


def _links(profile: Profile) -> Iterator[Located]:
    for path, target in profile.symlinks.items():
        try:
            check_link(path, target)
        except Refusal as refusal:
            yield ("symlinks", path), refusal


def _accounts(profile: Profile) -> Iterator[Located]:
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


def _unknown_users(profile: Profile) -> Iterator[Located]:
    known = dict.fromkeys([*(user.name for user in profile.users), *_BUILT_IN])
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


def _policy(profile: Profile) -> Iterator[Located]:
    name = profile.isolation.seccomp
    if name is None or name == NO_POLICY:
        return
    known = [*shipped_policies(), NO_POLICY]
    if name not in known:
        message = f"there is no policy named {shown(name)}, only {', '.join(known)}"
        yield ("isolation", "seccomp"), Refusal(message, closest(name, known))


def _gaps(profile: Profile) -> Iterator[Located]:
    if not profile.accept_gaps:
        return
    # Imported here: few profiles list any.
    from jailkit.profile.keys import gap_keys

    known = gap_keys()
    for number, key in enumerate(profile.accept_gaps):
        if key not in known:
            near = next((gap for gap in known if gap.endswith(f".{key}")), None) or closest(key, known)
            yield ("accept-gaps", number), Refusal(f"{shown(key)} is no setting that could be a gap", near)


def _mounts(profile: Profile) -> Iterator[Located]:
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


def _volumes(profile: Profile) -> Iterator[Located]:
    tops = _topmost(profile.volumes)
    mounts = _topmost(mount.target for mount in profile.mounts)
    seen: set[str] = set()
    for number, volume in enumerate(profile.volumes):
        if (top := _above(volume, tops)) != volume:
            yield ("volumes", number), Refusal(f"{shown(volume)} is in the volume {shown(top)}")
        elif volume in seen:
            yield ("volumes", number), Refusal(f"{shown(volume)} is a volume already")
        elif (mount := _above(volume, mounts)) is not None:
            yield ("volumes", number), Refusal(f"{shown(volume)} is in {shown(mount)}, which is mounted on")
        elif len(volume.encode()) + 2 * (volume.count("/") + volume.count("%")) > MAX_NAME:
            # The place where it is kept has one name, in which these two are written with three characters.
            yield ("volumes", number), Refusal(f"{shown(volume)} is too long for the path of a volume")
        seen.add(volume)


def _bridged(profile: Profile) -> Iterator[Located]:
    """Refuse what only a network of the jail's own, behind a bridge, can hold."""
    isolation = profile.isolation
    if isolation.network == "bridge":
        return
    if isolation.ports:
        yield ("isolation", "ports"), Refusal("only `network: bridge` has ports to publish")
    if isolation.allow is not None:
        yield ("isolation", "allow"), Refusal("only `network: bridge` can be limited to destinations")


def _published(profile: Profile) -> Iterator[Located]:
    taken: dict[tuple[str, int], set[str]] = {}
    for number, port in enumerate(profile.isolation.ports):
        addresses = taken.setdefault((port.protocol, port.host_port), set())
        if addresses & {port.address, ANY} or (addresses and port.address == ANY):
            where = f"{port.address}:{port.host_port}/{port.protocol}"
            yield ("isolation", "ports", number), Refusal(f"{where} is published already")
        addresses.add(port.address)


def _io(profile: Profile) -> Iterator[Located]:
    for number, io in enumerate(profile.limits.io):
        if io.read_bps is io.write_bps is io.read_iops is io.write_iops is None:
            yield ("limits", "io", number), Refusal("sets no limit")


def _outputs(profile: Profile) -> Iterator[Located]:
    for number, smoke in enumerate(profile.smoke):
        if smoke.stdout is not None:
            wanted = (smoke.stdout.equals, smoke.stdout.contains, smoke.stdout.matches)
            if sum(value is not None for value in wanted) != 1:
                yield ("smoke", number, "stdout"), Refusal("needs exactly one of equals, contains and matches")


def _expressions(profile: Profile) -> Iterator[Located]:
    """Compile the expressions until they are too many: `re` may take a millisecond for each character."""
    total = 0
    for number, smoke in enumerate(profile.smoke):
        if smoke.stdout is None or smoke.stdout.matches is None:
            continue
        loc = ("smoke", number, "stdout", "matches")
        total += len(smoke.stdout.matches)
        if total > MAX_PATTERNS:
            yield loc, Refusal(f"the expressions of this profile have more than {MAX_PATTERNS} characters together")
            return
        try:
            pattern(smoke.stdout.matches)
        except Refusal as refusal:
            yield loc, refusal
