"""Being born in a user namespace of the caller's own, for a caller who has no rights outside of it.

A process needs CAP_SYS_ADMIN where it is, too, to have its children born in another pid namespace (setns(2)), and one
with several threads can enter no user namespace. So a process in between does both; it ends at once.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import NoReturn

from jailkit.linux.libc import CLONE_NEWUSER, clone_sibling, setns


def fork_between(outer: int, enter: Callable[[], None] | None, become: Callable[[], NoReturn]) -> int:
    """Fork a child of this process in the user namespace `outer`, and give its pid.

    Args:
        outer: a descriptor.
        enter: taken there by the process in between, before it forks.
        become: what the child does.

    Raises:
        ChildProcessError: this process ignores SIGCHLD.
        OSError: no process is to be had, or the namespaces are not to be entered.
    """
    read, write = os.pipe()
    between = os.fork()
    if between == 0:
        _stand_between(outer, enter, become, write)
    os.close(write)
    try:
        # The child has the other end too, until execve(2): so not until the end of the file.
        answer = int(os.read(read, 16) or -errno.EIO)
    finally:
        os.close(read)
        os.waitpid(between, 0)
    if answer < 0:
        raise OSError(-answer, os.strerror(-answer), "a user namespace")
    return answer


def _stand_between(
    outer: int, enter: Callable[[], None] | None, become: Callable[[], NoReturn], report: int
) -> NoReturn:
    answer = -errno.EIO
    try:
        setns(outer, CLONE_NEWUSER)
        if enter:
            enter()
        answer = clone_sibling()
        if answer == 0:
            become()
    except OSError as error:
        answer = -(error.errno or errno.EIO)
    finally:
        if answer:
            os.write(report, b"%d" % answer)
        os._exit(0)
