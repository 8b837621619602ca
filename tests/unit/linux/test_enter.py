"""Single steps on the way into a jail, where a whole command could not show what they are for."""

from __future__ import annotations

import errno
import os
import signal

import pytest
from support.children import end, start

from jailkit.linux import enter


def test_a_caller_that_ended_before_the_tie_was_made() -> None:
    """No signal comes for a death that was before PR_SET_PDEATHSIG; then the parent is another."""
    own = os.getpid()
    assert end(start(lambda: enter.die_with(own))) == 0
    assert end(start(lambda: enter.die_with(os.getpid()))) == 128 + signal.SIGKILL


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EPERM, errno.EDQUOT, errno.ENOMEM])
def test_keys_that_cannot_be_left(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Only where there are none, or a container's filter keeps all its processes from them."""

    def refuse() -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(enter, "join_session_keyring", refuse)
    if number in (errno.ENOSYS, errno.EPERM):
        enter.leave_keys()
    else:
        with pytest.raises(OSError, match=os.strerror(number)):
            enter.leave_keys()
