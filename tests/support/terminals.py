"""Driving a program through a terminal, as a person would."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Sequence
from typing import Any

WAIT = 30.0


class Session:
    """A program with a terminal of its own; `screen` is all that came out so far."""

    def __init__(self, command: Sequence[str | os.PathLike[str]], **options: Any) -> None:
        self.master, self.slave = os.openpty()
        self.resize(24, 80)
        self.screen = ""
        self.before = termios.tcgetattr(self.slave)
        self.process = subprocess.Popen(
            command,
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            preexec_fn=lambda: (os.setsid(), fcntl.ioctl(0, termios.TIOCSCTTY, 0)),
            # The readline library puts LINES and COLUMNS past os.environ, and busybox believes them first.
            env=dict(os.environ),
            **options,
        )

    def resize(self, rows: int, columns: int) -> None:
        """Give the window another size, which the kernel tells the foreground group."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self.master, text.encode())

    def expect(self, pattern: str) -> re.Match[str]:
        """Read until what came out since the last match has `pattern`, and forget up to its end."""
        deadline = time.monotonic() + WAIT
        while not (match := re.search(pattern, self.screen)):
            assert time.monotonic() < deadline, f"no {pattern!r} in {self.screen!r}"
            self._read(0.05)
        self.screen = self.screen[match.end() :]
        return match

    def wait(self) -> int:
        """Wait for the program's end and give its exit code, negative for a signal."""
        deadline = time.monotonic() + WAIT
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"it goes on: {self.screen!r}"
            self._read(0.05)
        return int(self.process.returncode)

    def settings(self) -> list[Any]:
        """Give the terminal's settings as they are now."""
        return termios.tcgetattr(self.slave)

    def _read(self, patience: float) -> None:
        if select.select([self.master], [], [], patience)[0]:
            with contextlib.suppress(OSError):
                self.screen += os.read(self.master, 65536).decode("utf-8", "replace")


@contextlib.contextmanager
def session(command: Sequence[str | os.PathLike[str]], **options: Any) -> Iterator[Session]:
    """Run a program with a terminal, and end it with the block."""
    running = Session(command, **options)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.send_signal(signal.SIGKILL)
        running.process.wait()
        os.close(running.master)
        os.close(running.slave)
