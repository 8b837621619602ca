"""Standing between the caller's terminal and one made for a command (pty(7), termios(3), ioctl_tty(2))."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import termios
import tty
from collections.abc import Iterator
from typing import Final

_CHUNK: Final = 1 << 16
_WINDOW_SIZE: Final = 8  # bytes of struct winsize


def open_terminal(like: int) -> tuple[int, int]:
    """Make a terminal with the settings and the size of the terminal `like`; give the relay's end and the other.

    Raises:
        OSError: there is none to be had.
    """
    master, slave = os.openpty()
    termios.tcsetattr(slave, termios.TCSANOW, termios.tcgetattr(like))
    copy_size(like, master)
    return master, slave


def copy_size(source: int, target: int) -> None:
    """Give a terminal the window size of another; the kernel tells those in its foreground by SIGWINCH."""
    size = fcntl.ioctl(source, termios.TIOCGWINSZ, bytes(_WINDOW_SIZE))
    fcntl.ioctl(target, termios.TIOCSWINSZ, size)


@contextlib.contextmanager
def raw(terminal: int) -> Iterator[None]:
    """Let every key of a terminal through as it is, Ctrl-C too, and restore its settings at the end."""
    before = termios.tcgetattr(terminal)
    tty.setraw(terminal, termios.TCSANOW)
    try:
        yield
    finally:
        with contextlib.suppress(termios.error):  # It may be gone by now.
            termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def copy_all(source: int, sink: int) -> bool:
    """Copy until the source ends; False when it was the sink that would take no more.

    The relay's end of a terminal ends with EIO, when nobody has the other end any more.
    """
    while chunk := _read(source):
        try:
            while chunk:
                chunk = chunk[os.write(sink, chunk) :]
        except OSError:
            return False
    return True


def _read(source: int) -> bytes:
    try:
        return os.read(source, _CHUNK)
    except OSError as error:
        if error.errno == errno.EIO:
            return b""
        raise
