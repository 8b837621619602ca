"""One more thread, for what runs outside of Python's lock: system calls, and the hashing of large pieces."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Final, Generic, TypeVar

_ROOM: Final = 16  # jobs that wait, each with its descriptors open

Result = TypeVar("Result")


class Worker(Generic[Result]):
    """Does jobs, one after the other, while its owner goes on. The thread starts with the first job.

    A job that was taken is done, whatever becomes of its owner, unless the process ends.
    """

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Callable[[], Result] | None] = SimpleQueue()
        self._ended: SimpleQueue[Result | BaseException] = SimpleQueue()
        self._open = 0
        self._thread: Thread | None = None

    def take(self, job: Callable[[], Result]) -> bool:
        """Accept a job; False when so many wait that the owner had better do it."""
        if self._open == _ROOM:
            return False
        if self._thread is None:
            self._thread = Thread(target=self._work, daemon=True)
            self._thread.start()
        self._open += 1
        self._jobs.put(job)
        return True

    def results(self, *, wait: bool) -> Iterator[Result]:
        """Give what jobs gave since the last call; with `wait`, until all are done. Raises what a job raised."""
        while self._open:
            try:
                result = self._ended.get(block=wait)
            except Empty:
                return
            self._open -= 1
            if isinstance(result, BaseException):
                raise result
            yield result

    def close(self) -> None:
        """Let the thread end after the jobs that it has. When there are none left, this waits for that."""
        self._jobs.put(None)
        if self._thread is not None and not self._open:
            self._thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                self._ended.put(job())
            except BaseException as error:  # The owner raises it again.
                self._ended.put(error)
