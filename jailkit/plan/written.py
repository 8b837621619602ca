"""What a profile spells out itself: directories, text, links, volumes, and where its mounts go."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping

from jailkit.errors import PlanError
from jailkit.host import Host
from jailkit.plan.guard import is_system, system_places
from jailkit.plan.model import Account, Directory, Entry, Reason, Symlink, Text
from jailkit.plan.tidy import canonical
from jailkit.profile.model import Profile

OWN_LINK = "symlinks: "  # the beginning of the key of a link that the profile spells out


def written(profile: Profile, accounts: tuple[Account, ...]) -> Iterator[Entry]:
    """Give the entries that stand in the profile with all that they are.

    Raises:
        PlanError: one is to be owned by somebody whom the jail does not have.
    """
    for directory in profile.directories:
        uid, gid = owner_ids(directory.owner, accounts)
        reason = Reason(f"directories: {directory.path}", "named")
        yield Directory(directory.path, reason, directory.mode, uid, gid)
    for path, text in profile.text.items():
        uid, gid = owner_ids(text.owner, accounts)
        yield Text(path, text.content, Reason(f"text: {path}", "named"), text.mode, uid, gid)
    for path, target in profile.symlinks.items():
        yield Symlink(path, target, Reason(f"{OWN_LINK}{path}", "named"))


def owner_ids(owner: str | None, accounts: tuple[Account, ...]) -> tuple[int, int]:
    """Turn `user`, `user:group` or `uid:gid` into numbers; None is root.

    Raises:
        PlanError: the jail has no such user.
    """
    if owner is None:
        return 0, 0
    user, _, group = owner.partition(":")
    by_name = {account.name: account for account in accounts}
    try:
        uid = int(user) if user.isdigit() else by_name[user].uid
        if group:
            gid = int(group) if group.isdigit() else by_name[group].gid
        else:
            gid = by_name[user].gid if user in by_name else uid
    except KeyError as error:
        raise PlanError(
            f"cannot give files to {owner}: the profile has no user {error.args[0]}",
            resolution="add the user under `users`, or write numbers as uid:gid",
        ) from error
    return uid, gid


def volume_folders(profile: Profile, accounts: tuple[Account, ...], user: str) -> Iterator[Entry]:
    """Give a directory for each volume. One that anything else makes stays as that makes it (`tidy`).

    It is the user's that commands run as, except in the directories of the system, which stay root's.
    """
    account = next((account for account in accounts if user in (account.name, str(account.uid))), None)
    uid, gid = (account.uid, account.gid) if account else owner_ids(user, accounts)
    for path in profile.volumes:
        reason = Reason(f"volumes: {path}", "volume")
        own = is_system(path, system_places({}))
        yield Directory(path, reason) if own else Directory(path, reason, uid=uid, gid=gid)


def place_volumes(profile: Profile, links: Mapping[str, str]) -> tuple[str, ...]:
    """Give the volumes with the links of the plan resolved, because no mount goes through one; sorted.

    Raises:
        PlanError: a link leads one of them to where no volume can be, or into another.
    """
    places = sorted((f"{canonical(path, dict(links), follow_last=True)}/", path) for path in profile.volumes)
    above = ""
    for place, path in places:
        if place == "//" or place.startswith(("/dev/", above or "/dev/")):
            raise PlanError(
                f"cannot place the volume {path}: a link leads to {place.rstrip('/') or '/'}",
                resolution="name a directory that no link leads to, or leave it out of `volumes`",
            )
        above = place
    return tuple(place.removesuffix("/") for place, _ in places)


def mount_points(profile: Profile, host: Host) -> Iterator[tuple[Entry, str | None]]:
    """Give what each mount of the profile covers, with what the host lacks for it; an image has no room for more."""
    for mount in profile.mounts:
        reason = Reason(f"mounts: {mount.target}", "mount")
        status = host.lstat(host.walk(mount.source).real) if mount.source else None
        lacking = f"{mount.source} does not exist on this host" if mount.source and status is None else None
        is_folder = status is None or stat.S_ISDIR(status.st_mode)
        yield Directory(mount.target, reason) if is_folder else Text(mount.target, "", reason), lacking
