"""Network namespaces of other processes (network_namespaces(7))."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from typing import TypeVar

from jailkit.linux.libc import CLONE_NEWNET, setns

Result = TypeVar("Result")


def inside(namespace: int, action: Callable[[], Result]) -> Result:
    """Run `action` in the network namespace that the descriptor stands for, and give what it gives.

    A namespace is left by the thread that enters it, so a thread of its own does both. What it opens stays in there:
    sockets, and files below /proc/sys/net, which show the namespace of the thread that opens them.

    Raises:
        OSError: it could not be entered. Else what `action` raises.
    """
    results: list[Result] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            setns(namespace, CLONE_NEWNET)
            results.append(action())
        except BaseException as error:  # The caller raises it again.
            errors.append(error)

    thread = Thread(target=work)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
