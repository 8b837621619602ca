"""Jails on disk: one folder each, written as a draft and made real by one rename.

    HOME/lock             held for the moments in which folders appear, move or vanish
    HOME/jails/NAME/      .jailkit (the marker), jail.json, profile.json, logs/; manifest.json and rootfs/, or an image
    HOME/previous/NAME/   the same from before the last update
    HOME/images/DIGEST/   .jailkit, image.json, manifest.json, profile.json, rootfs/: for all jails that name it
    HOME/volumes/NAME/    .jailkit, and the volumes of the jail
    HOME/drafts/NAME/     being built; whoever builds it holds a lock on the folder
    HOME/trash/           being deleted

An image, and the volumes of a jail, go with the last jail that needs them.
A folder in drafts or trash whose lock nobody holds belonged to a command that died: the next command sweeps it.
The lock of a jail is flock(2) on its folder, so that there is no lock file to leave behind.
Whoever starts or stops it holds one on its marker besides.
"""

from jailkit.store.folders import exists
from jailkit.store.home import Store, default_home
from jailkit.store.images import Image
from jailkit.store.jail import MARKER, Jail, check_name, is_marked, read_jail, write_text

__all__ = [
    "MARKER", "Image", "Jail", "Store", "check_name", "default_home", "exists", "is_marked", "read_jail", "write_text",
]  # fmt: skip
