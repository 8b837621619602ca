"""What a child tells about what it tried."""

from __future__ import annotations

import errno
import os
import re
import resource
from collections.abc import Callable

import pytest
from support.children import in_child

from jailkit.linux.attempt import answer, attempt
from jailkit.linux.capabilities import limit_capabilities


def test_success_is_none_and_stays_in_the_child() -> None:
    before = os.getcwd()
    assert attempt(lambda: os.chdir("/")) is None
    assert os.getcwd() == before


def test_an_error_keeps_number_and_words() -> None:
    error = attempt(lambda: os.rmdir("/no such folder"))
    assert error is not None
    assert (error.errno, error.strerror) == (errno.ENOENT, "No such file or directory")


@pytest.mark.parametrize("trial", [lambda: {}["absent"], lambda: os.kill(os.getpid(), 9)])
def test_a_trial_that_dies_is_an_error_of_its_own(trial: Callable[[], object]) -> None:
    error = attempt(trial)
    assert error is not None
    assert error.errno == errno.EIO
    assert "a trial died" in error.strerror


def test_no_descriptor_is_left() -> None:
    before = set(os.listdir("/proc/self/fd"))
    attempt(lambda: None)
    assert set(os.listdir("/proc/self/fd")) == before


def test_answers() -> None:
    assert answer(lambda: True, 10) is True
    assert answer(lambda: False, 10) is False


def test_a_question_that_fails() -> None:
    with pytest.raises(OSError, match="a question died"):
        answer(lambda: bool(1 // 0), 10)


@pytest.mark.parametrize("hard", [1, 30])
def test_a_caller_with_a_limit_of_its_own(hard: int) -> None:
    def ask() -> tuple[bool | None, bool | None]:
        resource.setrlimit(resource.RLIMIT_CPU, (hard, hard))
        limit_capabilities(0)  # Root may raise hard limits (CAP_SYS_RESOURCE).
        return answer(lambda: True, 10), answer(lambda: re.search("(a|a)*b", "a" * 60) is None, 2)

    assert in_child(ask) == (True, None)


def test_a_question_without_an_answer() -> None:
    assert answer(lambda: re.search("(a|a)*b", "a" * 60) is None, 1) is None
