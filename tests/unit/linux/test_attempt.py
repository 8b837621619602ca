"""What a child tells about what it tried."""

from __future__ import annotations

import errno
import os
import re

import pytest

from jailkit.linux.attempt import answer, attempt


def test_success_is_none_and_stays_in_the_child() -> None:
    before = os.getcwd()
    assert attempt(lambda: os.chdir("/")) is None
    assert os.getcwd() == before


def test_an_error_keeps_number_and_words() -> None:
    error = attempt(lambda: os.rmdir("/no such folder"))
    assert error is not None
    assert (error.errno, error.strerror) == (errno.ENOENT, "No such file or directory")


def test_a_bug_in_the_trial_is_no_answer() -> None:
    with pytest.raises(RuntimeError, match="died"):
        attempt(lambda: {}["absent"])


def test_a_trial_that_is_killed_is_no_answer() -> None:
    with pytest.raises(RuntimeError, match="died"):
        attempt(lambda: os.kill(os.getpid(), 9))


def test_no_descriptor_is_left() -> None:
    before = set(os.listdir("/proc/self/fd"))
    attempt(lambda: None)
    assert set(os.listdir("/proc/self/fd")) == before


def test_answers() -> None:
    assert answer(lambda: True, 10) is True
    assert answer(lambda: False, 10) is False
    assert answer(lambda: bool(1 // 0), 10) is None


def test_a_question_without_an_answer() -> None:
    assert answer(lambda: re.search("(a|a)*b", "a" * 60) is None, 1) is None
