"""Which limit explains how a command ended."""

from __future__ import annotations

import pytest

from jailkit.backends.base import ExecResult
from jailkit.backends.reasons import Marks, explained

GOOD = ExecResult("exited", exit_code=0, wall_time=1.0)
BAD = ExecResult("exited", exit_code=1, wall_time=1.0)
KILLED = ExecResult("signalled", signal=9, wall_time=1.0)


@pytest.mark.parametrize(
    ("result", "met", "reason"),
    [
        (GOOD, Marks(), "exited"),
        (KILLED, Marks(), "signalled"),
        (KILLED, Marks(oom_kills=1), "out-of-memory"),
        (BAD, Marks(oom_kills=2), "out-of-memory"),
        # One of its children was killed, and it could live with that.
        (GOOD, Marks(oom_kills=1), "exited"),
        (GOOD, Marks(pids_denied=1), "pids-limit"),
        (BAD, Marks(pids_denied=7), "pids-limit"),
        (BAD, Marks(oom_kills=1, pids_denied=7), "out-of-memory"),
        (GOOD, Marks(throttled=0.09), "exited"),
        (GOOD, Marks(throttled=0.2), "cpu-limit"),
        (KILLED, Marks(oom_kills=1, throttled=5.0), "out-of-memory"),
        (GOOD, Marks(throttled=-0.5), "exited"),
        (ExecResult("timeout", signal=9, wall_time=1.0), Marks(1, 1, 1.0), "timeout"),
        (ExecResult("not-found"), Marks(1, 1, 1.0), "not-found"),
        (ExecResult("not-executable"), Marks(1, 1, 1.0), "not-executable"),
        (ExecResult("setup-failed"), Marks(1, 1, 1.0), "setup-failed"),
    ],
)
def test_reasons(result: ExecResult, met: Marks, reason: str) -> None:
    found = explained(result, met)
    assert found.reason == reason
    assert (found.exit_code, found.signal, found.shell_code) == (result.exit_code, result.signal, found.shell_code)
    assert found.throttled_time == max(0.0, met.throttled)


def test_what_came_to_it() -> None:
    assert Marks(3, 5, 1.5).since(Marks(1, 5, 1.0)) == Marks(2, 0, 0.5)
