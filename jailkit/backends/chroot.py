"""The two plain chroot levels: `chroot-root`, which takes no care, and `chroot`, which takes all that needs no mount.

What only some calls need is imported in them: `jailkit exec` is to cost little more than the command.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

from jailkit.backends.base import ExecRequest, ExecResult, Gap
from jailkit.backends.entering import RunningChild, start_command, translate
from jailkit.backends.rooted import Rooted
from jailkit.errors import PrivilegeError, StateError, UsageError
from jailkit.levels import BackendName
from jailkit.linux.enter import by_chroot
from jailkit.linux.fork import above_streams

if TYPE_CHECKING:
    from jailkit.plan.model import Plan
    from jailkit.store import Jail


class ChrootBackend(Rooted):
    """Enters a tree of copied files with chroot(2)."""

    name: ClassVar[BackendName] = "chroot"

    def gaps(self, plan: Plan | Jail) -> Sequence[Gap]:
        """Name every setting of the plan that the two plain chroot levels cannot enforce."""
        from jailkit.backends.gaps import chroot_gaps

        return chroot_gaps(plan)

    def exec(self, jail: Jail, request: ExecRequest) -> ExecResult:
        """Run one command in the jail and wait for it. Usable from any thread.

        Raises:
            UsageError: there is no such user, or an argument cannot be passed on.
            PrivilegeError: the caller is not root.
            StateError: the jail's tree is gone.
            BackendError: no process could be started.
        """
        return self.spawn(jail, request).wait()

    def spawn(self, jail: Jail, request: ExecRequest) -> RunningChild:
        """Start one command in the jail.

        Raises:
            JailkitError: as `exec`.
        """
        entering = translate(jail, request, os.environ)
        if request.ephemeral:
            raise UsageError(
                f"cannot run in jail {jail.name} and forget what changes: level {jail.level} mounts nothing",
                resolution="leave --ephemeral out, or a level with a mount namespace: jailkit levels",
            )
        if os.geteuid() != 0:
            raise PrivilegeError(f"cannot enter jail {jail.name}: chroot(2) needs root", resolution="run it with sudo")
        with _open_root(jail) as root:
            return start_command(jail, entering, by_chroot(root), request)


@contextlib.contextmanager
def _open_root(jail: Jail) -> Iterator[int]:
    try:
        root = os.open(jail.rootfs, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise StateError(
            f"cannot enter jail {jail.name}: its tree {jail.rootfs}: {error.strerror}",
            resolution=f"jailkit update {jail.name}",
        ) from error
    root = above_streams(root)
    try:
        yield root
    finally:
        os.close(root)
