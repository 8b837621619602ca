"""The other thread: jobs in order, errors told where the results are fetched, and an end."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from jailkit.linux.worker import Worker


def worker_threads(before: set[threading.Thread]) -> set[threading.Thread]:
    return set(threading.enumerate()) - before


def giver(number: int) -> Callable[[], int]:
    return lambda: number


def test_all_jobs_are_done_in_order() -> None:
    worker: Worker[int] = Worker()
    found: list[int] = []
    for number in range(100):
        while not worker.take(giver(number)):
            found += worker.results(wait=True)
    assert [*found, *worker.results(wait=True)] == list(range(100))
    worker.close()


def test_jobs_run_in_another_thread_and_the_owner_does_not_wait() -> None:
    worker: Worker[str] = Worker()
    go = threading.Event()

    def job() -> str:
        go.wait(60)
        return threading.current_thread().name

    assert worker.take(job)
    assert list(worker.results(wait=False)) == []
    go.set()
    assert list(worker.results(wait=True)) != [threading.current_thread().name]
    worker.close()


def test_no_more_jobs_than_there_is_room_for() -> None:
    worker: Worker[int] = Worker()
    go = threading.Event()
    taken = 0
    while worker.take(lambda: int(go.wait(60))):
        taken += 1
    assert 1 < taken < 100
    go.set()
    assert sum(worker.results(wait=True)) == taken
    assert worker.take(lambda: 0)
    worker.close()


def test_an_error_is_raised_where_the_results_are_fetched() -> None:
    worker: Worker[int] = Worker()

    def fail() -> int:
        raise OSError(28, "No space left on device")

    for job in (giver(1), fail, giver(2)):
        assert worker.take(job)
    results = worker.results(wait=True)
    assert next(results) == 1
    with pytest.raises(OSError, match="No space left"):
        next(results)
    assert list(worker.results(wait=True)) == [2]
    worker.close()


def test_the_thread_ends_and_begins_with_the_first_job() -> None:
    before = set(threading.enumerate())
    idle: Worker[int] = Worker()
    idle.close()
    busy: Worker[int] = Worker()
    assert worker_threads(before) == set()
    busy.take(giver(1))
    assert len(worker_threads(before)) == 1
    assert list(busy.results(wait=True)) == [1]
    busy.close()
    assert worker_threads(before) == set()


def test_what_was_taken_is_done_when_the_owner_gives_up() -> None:
    worker: Worker[None] = Worker()
    go, done = threading.Event(), threading.Event()
    worker.take(lambda: bool(go.wait(60)) and None)
    worker.take(done.set)
    worker.close()
    go.set()
    assert done.wait(60)
