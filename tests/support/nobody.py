"""Running a command as a user without any privilege, wherever the checkout lies."""

from __future__ import annotations

from pathlib import Path

REPOSITORY = Path(__file__).parents[2]

# Nobody may enter /root, where a clone may well be. In a mount namespace of its own the outermost folder that is
# closed gives way to an empty one, in which only the checkout can be seen.
_SCRIPT = """
set -eu
checkout=$1; shift
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
exec setpriv --reuid 65534 --regid 65534 --clear-groups "$@"
"""

AS_NOBODY = ("unshare", "--mount", "--propagation", "private", "sh", "-c", _SCRIPT, "sh", str(REPOSITORY))
