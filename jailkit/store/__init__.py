"""Jails on disk: one folder each, written as a draft and made real by one rename.

    HOME/lock             held for the moments in which folders appear, move or vanish
    HOME/jails/NAME/      .jailkit (the marker), jail.json, manifest.json, profile.json, rootfs/
    HOME/previous/NAME/   the tree before the last update
    HOME/drafts/NAME/     being built; whoever builds it holds a lock on the folder
    HOME/trash/           being deleted

A folder in drafts or trash whose lock nobody holds belonged to a command that died: the next command sweeps it.
The lock of a jail is flock(2) on its folder, so that there is no lock file to leave behind.
"""

from jailkit.store.home import Store, default_home, exists
from jailkit.store.jail import MARKER, Jail, check_name, is_marked, read_jail, write_text

__all__ = [
    "MARKER", "Jail", "Store", "check_name", "default_home", "exists", "is_marked", "read_jail", "write_text",
]  # fmt: skip
