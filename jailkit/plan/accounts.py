"""The users of a jail: who runs in it, and the passwd, group and home directories that go with them."""

from __future__ import annotations

from jailkit.errors import PlanError
from jailkit.host import Host
from jailkit.plan.guard import is_system, system_places
from jailkit.plan.model import Account, Directory, Entry, Reason, Text
from jailkit.profile.model import Profile, User

ROOT = Account("root", 0, 0, "/root", "/bin/sh")
NOBODY = Account("nobody", 65534, 65534, "/nonexistent", "/usr/sbin/nologin")

# A plain chroot shares the host's processes, and a uid may signal itself: so the built-in account has a uid that
# distributions leave alone (60578-61183 is unassigned in systemd's UIDS-GIDS list; adduser ends at 59999).
DEFAULT_NAME = "jail"
DEFAULT_ID = 60999


def make_accounts(profile: Profile, host: Host, default_shell: str) -> tuple[Account, ...]:
    """Give the profile's users, or the built-in one, with root first and nobody last.

    Raises:
        PlanError: a user without a uid is no account of this host, or a path would not fit into passwd(5).
    """
    accounts = [_account(user, host, default_shell) for user in profile.users]
    if not accounts:
        accounts = [Account(DEFAULT_NAME, DEFAULT_ID, DEFAULT_ID, f"/home/{DEFAULT_NAME}", default_shell)]
    have = {account.name for account in accounts}
    first = [] if "root" in have else [ROOT]
    last = [] if "nobody" in have else [NOBODY]
    return (*first, *accounts, *last)


def _account(user: User, host: Host, default_shell: str) -> Account:
    if user.uid is None:
        known = host.account(user.name)
        if known is None:
            raise PlanError(
                f"cannot add user {user.name}: the profile gives no uid and this host has no such account",
                resolution=f"give users: {user.name} a uid",
            )
        uid, gid, home, shell = known.uid, known.gid, known.home, known.shell
    else:
        uid, gid, home, shell = user.uid, user.uid, f"/home/{user.name}", default_shell
    home, shell = user.home or home, user.shell or shell
    if ":" in home + shell:
        raise PlanError(f"cannot add user {user.name}: passwd(5) has no place for a colon in {home} or {shell}")
    groups = tuple(_gid(group, user.name, host) for group in user.groups)
    return Account(user.name, uid, gid if user.gid is None else user.gid, home, shell, groups)


def _gid(group: str | int, user: str, host: Host) -> int:
    gid = int(group) if str(group).isdigit() else host.group(str(group))
    if gid is None:
        raise PlanError(
            f"cannot put user {user} into group {group}: this host has no such group",
            resolution="write the number of the group instead",
        )
    return gid


def running_user(profile: Profile, accounts: tuple[Account, ...]) -> str:
    """Name the user that commands run as: the profile's choice, else its first user.

    Raises:
        PlanError: the profile chose a name that is none of its users.
    """
    wanted = profile.isolation.user
    if wanted is None:
        return profile.users[0].name if profile.users else DEFAULT_NAME
    if not wanted.isdigit() and wanted not in (account.name for account in accounts):
        raise PlanError(
            f"cannot run as {wanted}: the profile has no such user",
            resolution=f"one of {', '.join(account.name for account in accounts)}, or a uid",
        )
    return wanted


def account_entries(accounts: tuple[Account, ...]) -> list[Entry]:
    """Give passwd(5) and group(5) with these accounts only, never a shadow file, and the home directories."""
    base = Reason("base", "base")
    passwd = "".join(f"{a.name}:x:{a.uid}:{a.gid}::{a.home}:{a.shell}\n" for a in accounts)
    groups: dict[int, str] = {}
    for account in accounts:
        groups.setdefault(account.gid, account.name if account is not NOBODY else "nogroup")
        for extra in account.groups:
            groups.setdefault(extra, f"group{extra}")
    members = {gid: ",".join(a.name for a in accounts if gid in a.groups) for gid in groups}
    group = "".join(f"{name}:x:{gid}:{members[gid]}\n" for gid, name in groups.items())
    homes = [_home(account) for account in accounts if account.home not in ("/", NOBODY.home)]
    return [Text("/etc/passwd", passwd, base), Text("/etc/group", group, base), *homes]


def _home(account: Account) -> Directory:
    """Give a home directory. One that is the system's, such as daemon's /usr/sbin, stays root's."""
    reason = Reason(f"users: {account.name}", "account")
    if is_system(account.home, system_places({})):
        return Directory(account.home, reason)
    return Directory(account.home, reason, 0o700, account.uid, account.gid)
