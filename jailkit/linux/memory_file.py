"""Files that are only in memory, for programs that are on no disk (memfd_create(2))."""

from __future__ import annotations

import errno
import os
from typing import Final

_MFD_EXEC: Final = 0x10


def executable_file(name: str, program: bytes, flags: int = 0) -> int:
    """Give the descriptor of a file with a program in it; it is close-on-exec.

    Raises:
        OSError: EACCES, vm.memfd_noexec is 2; EFBIG, RLIMIT_FSIZE is too low; or none is to be had.
    """
    descriptor = _empty_file(name, flags | os.MFD_CLOEXEC)
    try:
        # A first write that comes to RLIMIT_FSIZE is cut short there, and only the next one fails (write(2)).
        left = memoryview(program)
        while left:
            left = left[os.write(descriptor, left) :]
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _empty_file(name: str, flags: int) -> int:
    """Make a file that may be executed.

    A host may have set vm.memfd_noexec to 1: then only who asks gets one. Kernels before Linux 6.3 do not know the
    question, and give them to everybody (memfd_create(2)).
    """
    try:
        return os.memfd_create(name, flags | _MFD_EXEC)
    except OSError as error:
        if error.errno == errno.EACCES:
            raise OSError(errno.EACCES, "vm.memfd_noexec is 2 here, which forbids programs in memory") from error
        if error.errno != errno.EINVAL:
            raise
        return os.memfd_create(name, flags)
