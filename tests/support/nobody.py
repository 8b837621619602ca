"""Running a command as a user without any privilege, wherever the checkout lies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
ORDINARY = 61234  # a uid that is no account of the host
FIRST = 300_000_000  # of the ids that an ordinary user of a test is given, far from anybody's
BLOCKS = 64  # so many that those of processes nobody has waited for yet do not matter

# Nobody may enter /root, where a clone may well be. In a mount namespace of its own the outermost folder that is
# closed gives way to an empty one, in which only the checkout can be seen.
_SCRIPT = """
set -eu
checkout=$1 user=$2 ids=$3 groups=$4; shift 4
closed=; folder=$checkout
until [ "$folder" = / ]; do
    folder=$(dirname "$folder")
    [ $(( $(stat -c %a "$folder") % 2 )) = 1 ] || closed=$folder
done
if [ -n "$closed" ]; then
    exec 9<"$checkout"
    mount -t tmpfs -o mode=755 tmpfs "$closed"
    mkdir -p "$checkout"
    mount --no-canonicalize --bind /proc/self/fd/9 "$checkout"
    exec 9<&-
    cd /
fi
if [ "$user" != 65534 ]; then
    mount -t tmpfs -o mode=755 tmpfs /mnt
    cp /etc/passwd /etc/subuid /etc/subgid /mnt
    echo "ordinary:x:$user:$user::/:/bin/sh" >> /mnt/passwd
    [ -z "$ids" ] || echo "ordinary:$ids" | tee -a /mnt/subuid >> /mnt/subgid
    for file in passwd subuid subgid; do mount --bind "/mnt/$file" "/etc/$file"; done
    umount --lazy /mnt
fi
for group in $groups; do echo $$ > "$group/cgroup.procs"; done
exec setpriv --reuid "$user" --regid "$user" --clear-groups "$@"
"""


def _prefix(user: int, ids: str = "", groups: Sequence[str] = ()) -> tuple[str, ...]:
    script = ("sh", "-c", _SCRIPT, "sh", str(REPOSITORY), str(user), ids, " ".join(groups))
    return ("unshare", "--mount", "--propagation", "private", *script)


AS_NOBODY = _prefix(65534)


def as_ordinary(*, subids: bool = True, groups: Sequence[str] = ()) -> tuple[str, ...]:
    """Give what runs a command as a user with an account and, if wanted, subordinate ids; in these control groups.

    Neither are the host's: its files about users are covered in a mount namespace.
    """
    return _prefix(ORDINARY, f"{FIRST}:{BLOCKS * 65536}" if subids else "", groups)
