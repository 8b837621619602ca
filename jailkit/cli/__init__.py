"""The command line: one file a command, loaded when it is called, and the only place that prints or exits."""

from __future__ import annotations

from jailkit.cli.main import main

__all__ = ["main"]
