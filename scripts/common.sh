# shellcheck shell=bash disable=SC2034
# Sourced by the other scripts: where the checkout is, and to whom its files belong.

checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
venv=$checkout/.venv

# What is made here is for every user of the machine, and tests hand files to users of jails.
umask 022

say() { printf '%s\n' "$*"; }

fail() {
    printf '%s: %s\n' "${0##*/}" "$1" >&2
    shift
    if (($#)); then printf '  %s\n' "$@" >&2; fi
    exit 1
}

# Under sudo, what root made in the checkout would get in its owner's way: give it back.
give_back() {
    local owner
    owner=$(stat -c %u:%g "$checkout")
    if ((EUID == 0)) && [[ $owner != 0:* ]]; then
        find "$checkout" -xdev -user 0 -exec chown --no-dereference "$owner" {} +
    fi
}
