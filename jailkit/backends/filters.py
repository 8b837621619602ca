"""The filter of system calls that a jail's commands get: compiled when the jail is made, read when one is started."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING, Final

from jailkit.errors import StateError
from jailkit.linux.libc import SeccompFilter, seccomp_set_mode_filter

if TYPE_CHECKING:
    from jailkit.store import Jail

_KEPT: Final = 8  # filters that a process keeps at hand
_POLICIES: Final = {"lxc-privileged": "privileged"}


def compile_filter(jail: Jail) -> None:
    """Write the filter into the jail's folder, for us and for LXC; nothing where the profile wants none.

    Raises:
        JailkitError: the policy is wrong, or cannot be compiled here.
    """
    from jailkit.seccomp import load_policy, to_bpf, to_lxc  # Only who makes a jail pays for it.

    policy = _policy_of(jail)
    if policy != "none":
        loaded = load_policy(policy)
        for name, content in (("seccomp.bpf", to_bpf(loaded)), ("seccomp.lxc", to_lxc(loaded).encode())):
            with open(f"{jail.directory}/{name}", "xb") as file:
                file.write(content)


def filter_of(jail: Jail) -> partial[None] | None:
    """Give what loads the filter into a child; None where the profile wants none.

    Raises:
        StateError: it is not there.
    """
    if _policy_of(jail) == "none":
        return None
    try:
        with open(f"{jail.directory}/seccomp.bpf", "rb", buffering=0) as file:
            return partial(seccomp_set_mode_filter, _filter(file.read()))
    except OSError as error:
        raise StateError(
            f"cannot enter jail {jail.name}: its filter of system calls: {error.strerror}",
            resolution=jail.renewal,
        ) from error


@lru_cache(maxsize=_KEPT)
def _filter(bpf: bytes) -> SeccompFilter:
    return SeccompFilter(bpf)


def _policy_of(jail: Jail) -> str:
    return jail.runtime.isolation.seccomp or _POLICIES.get(jail.level, "default")
