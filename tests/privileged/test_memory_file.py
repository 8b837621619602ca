"""Programs in memory, on a host that is careful about them."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from support import children

from jailkit.linux.libc import CLONE_NEWPID, unshare
from jailkit.linux.memory_file import executable_file

pytestmark = pytest.mark.needs("root")


def with_noexec(value: int, job: Callable[[], object]) -> str:
    """Do a job where vm.memfd_noexec, which belongs to the pid namespace (sysctl/vm.rst), has a value."""

    def in_namespace() -> None:
        unshare(CLONE_NEWPID)
        pid = children.start(lambda: (Path("/proc/sys/vm/memfd_noexec").write_text(str(value)), told(job)))
        os.waitpid(pid, 0)

    read, write = os.pipe()

    def told(what: Callable[[], object]) -> None:
        try:
            os.write(write, str(what()).encode())
        except OSError as error:
            os.write(write, errno.errorcode[error.errno or 0].encode())

    pid = children.start(in_namespace)
    os.close(write)
    with os.fdopen(read) as file:
        answer = file.read()
    os.waitpid(pid, 0)
    return answer


def mode() -> int:
    return os.fstat(executable_file("x", b"program")).st_mode & 0o111


@pytest.mark.parametrize(("value", "answer"), [(0, "73"), (1, "73"), (2, "EACCES")])
def test_it_may_be_executed_unless_the_host_forbids_that(value: int, answer: str) -> None:
    assert with_noexec(value, mode) == answer
