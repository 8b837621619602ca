"""Who runs in a jail, by the jail's own list of accounts. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from jailkit.errors import UsageError
from jailkit.plan.settings import Account

if TYPE_CHECKING:
    from jailkit.store import Jail

_MAX_ID: Final = 2**32 - 2  # (uid_t) -1 means "leave as it is" to setresuid(2)


def find_account(jail: Jail, user: str | None) -> Account:
    """Give the account of a name or uid, None being the jail's own user.

    A uid that the jail does not list is good too; its group is that of the same number.

    Raises:
        UsageError: there is no such user.
    """
    wanted = jail.runtime.user if user is None else user
    for account in jail.runtime.accounts:
        if wanted in (account.name, str(account.uid)):
            return account
    if wanted.isascii() and wanted.isdigit() and int(wanted) <= _MAX_ID:
        return Account(wanted, int(wanted), int(wanted), "/", "/bin/sh")
    raise UsageError(
        f"cannot run as {wanted} in jail {jail.name}: it has no such user",
        resolution=f"one of {', '.join(account.name for account in jail.runtime.accounts)}, or a uid",
    )
