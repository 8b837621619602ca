"""What a smoke command must give, judged without running one."""

from __future__ import annotations

from typing import Any

import pytest

from jailkit.backends.base import ExecRequest, ExecResult
from jailkit.lifecycle import verify
from jailkit.lifecycle.enter import bounded
from jailkit.lifecycle.verify import judge_smoke
from jailkit.plan.settings import Smoke


def result(stdout: bytes | None = b"", stderr: bytes | None = b"", **fields: Any) -> ExecResult:
    return ExecResult(**({"reason": "exited", "exit_code": 0, "stdout": stdout, "stderr": stderr} | fields))


def smoke(**fields: Any) -> Smoke:
    return Smoke(("x",), **fields)


@pytest.mark.parametrize(
    ("wanted", "got"),
    [
        (smoke(), result()),
        (smoke(), result(b"anything", b"at all")),
        (smoke(), result(None, None)),
        (smoke(exit_code=3), result(exit_code=3)),
        (smoke(stdout_equals="a\n"), result(b"a\n")),
        (smoke(stdout_equals=""), result(None)),
        (smoke(stdout_contains="b"), result(b"abc")),
        (smoke(stdout_matches="^b+$"), result(b"bbb")),
        (smoke(stdout_matches="b.d"), result(b"a\nbcd\n")),
        (smoke(stdout_equals="\ufffd"), result(b"\xff")),
    ],
)
def test_good(wanted: Smoke, got: ExecResult) -> None:
    assert judge_smoke(wanted, got) is None


@pytest.mark.parametrize(
    ("wanted", "got", "message"),
    [
        (smoke(), result(exit_code=1), "exited with 1, expected exit code 0"),
        (smoke(exit_code=3), result(), "exited with 0, expected exit code 3"),
        (smoke(), result(b"", b" no file \n", exit_code=2), "exited with 2, expected exit code 0 (stderr: no file)"),
        (smoke(), result(reason="timeout", exit_code=None, signal=9), "not done after 30 s, expected exit code 0"),
        (smoke(), result(reason="signalled", exit_code=None, signal=11), "ended by signal 11, expected exit code 0"),
        (
            smoke(),
            result(reason="not-found", exit_code=None, message="there is no program x in it"),
            "there is no program x in it, expected exit code 0",
        ),
        (smoke(exit_code=7), result(reason="not-found", exit_code=None), "ended by not-found, expected exit code 7"),
        (smoke(stdout_equals="a"), result(b"a\n"), "printed 'a\\n', expected 'a'"),
        (smoke(stdout_contains="b"), result(b"a"), "printed 'a', which does not contain 'b'"),
        (smoke(stdout_matches="^b"), result(b"ab"), "printed 'ab', which does not match '^b'"),
        (smoke(stdout_equals="a"), result(b"\x1b[2J"), "printed '\\x1b[2J', expected 'a'"),
    ],
)  # fmt: skip
def test_bad(wanted: Smoke, got: ExecResult, message: str) -> None:
    assert judge_smoke(wanted, got) == message


def test_long_output_is_cut() -> None:
    message = judge_smoke(smoke(stdout_equals="a"), result(b"x" * 10_000, b"y" * 10_000))
    assert message is not None
    assert len(message) < 500
    message = judge_smoke(smoke(), result(b"x" * 10_000, b"y" * 10_000, exit_code=1))
    assert message is not None
    assert len(message) < 500


@pytest.mark.parametrize(
    ("timeout", "wall_time", "bound"),
    [(None, None, None), (1, None, 1), (None, 2, 2), (1, 2, 1), (3, 2, 2), (0.0, 2, 0.0)],
)
def test_the_wall_time_of_a_jail_bounds_every_request(
    timeout: float | None, wall_time: float | None, bound: float | None
) -> None:
    assert bounded(ExecRequest(("x",), timeout=timeout), wall_time).timeout == bound


def test_an_expression_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "_MATCHING_SECONDS", 1)
    said = verify.judge_smoke(smoke(stdout_matches="(a|a)*b"), result(b"a" * 60))
    assert said is not None
    assert said.endswith("was not found in 1 s of CPU time")
