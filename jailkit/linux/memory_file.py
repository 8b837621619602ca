"""Files that are only in memory, for programs that are on no disk (memfd_create(2))."""

from __future__ import annotations

import errno
import os
from typing import Final

_MFD_EXEC: Final = 0x10


def executable_file(name: str, flags: int = 0) -> int:
    """Give the descriptor of an empty file that may be executed; it is close-on-exec.

    A host may have set vm.memfd_noexec to 1: then only who asks gets one. Kernels before Linux 6.3 do not know the
    question, and give them to everybody (memfd_create(2)).

    Raises:
        OSError: EACCES, vm.memfd_noexec is 2, or none is to be had.
    """
    flags |= os.MFD_CLOEXEC
    try:
        return os.memfd_create(name, flags | _MFD_EXEC)
    except OSError as error:
        if error.errno == errno.EACCES:
            raise OSError(errno.EACCES, "vm.memfd_noexec is 2 here, which forbids programs in memory") from error
        if error.errno != errno.EINVAL:
            raise
        return os.memfd_create(name, flags)
