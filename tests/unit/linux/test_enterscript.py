"""From the steps into a jail to a script: what each becomes, and what is left to a fork."""

from __future__ import annotations

import errno
import os
import resource
import struct
from functools import partial

import pytest

from jailkit.linux.apparmor import change_on_exec
from jailkit.linux.enter import Confinement, Entering, Fd, Identity, Way, die_with, go_home, steps
from jailkit.linux.enterscript import enter_script
from jailkit.linux.fork import EXECUTE, Child, Program, Step, close_others
from jailkit.linux.join import by_joining
from jailkit.linux.launch import Launched
from jailkit.linux.libc import AT_FDCWD, SeccompFilter, seccomp_set_mode_filter
from jailkit.linux.script import REPORT, Line, Script

PROGRAM = Program((b"/bin/true",), (b"true",), {b"A": b"1"})


def lines(*listed: Step, program: Program = PROGRAM) -> list[Line]:
    prepared = enter_script(listed, program)
    assert prepared is not None
    return [line for line in prepared.script.lines if line.step != "close what was inherited"]


def test_every_step_of_a_careful_level_is_known() -> None:
    confinement = Confinement(1 << 10, limits=((resource.RLIMIT_NOFILE, 64),), load_filter=partial(
        seccomp_set_mode_filter, SeccompFilter(bytes(8))
    ))  # fmt: skip
    entering = Entering(("true",), (), "/", Identity(5, 6, (7, 8)), confinement, at_home=True, terminal=True)
    launched = Launched(Child(0, -1, -1, 0.0, own_session=True), 23, Script.of([]))
    way = by_joining(20, 0x2000000, (21, 22), launched)
    prepared = enter_script([*steps(entering, way), ("close descriptors", partial(close_others))], PROGRAM)
    assert prepared is not None
    assert prepared.handed == (21, 22, 23, 20)
    calls = [(line.call, line.arguments) for line in prepared.script.lines]
    assert ("write", (REPORT + 1, b"0", 1)) in calls
    assert ("read", (REPORT + 3, bytes(8), 1)) in calls
    assert ("setns", (REPORT + 4, 0x2000000)) in calls
    assert ("setgroups", (2, struct.pack("<2I", 7, 8))) in calls
    assert ("setresuid", (5, 5, 5)) in calls
    dropped = [arguments[1] for name, arguments in calls if name == "prctl" and arguments[0] == 24]
    assert dropped == [number for number in range(64) if number != 10]
    assert ("prlimit64", (0, resource.RLIMIT_NOFILE, struct.pack("<2Q", 64, 64), 0)) in calls


def test_a_profile_of_apparmor_is_taken_with_the_next_descriptor() -> None:
    way = by_joining(20, 0, (21,))
    steps = ("take the profile", partial(change_on_exec, "jail")), *way.steps
    found = [(line.call, line.arguments, line.gives) for line in lines(*steps)]
    file = REPORT + 3  # The script has those of the group and of the process.
    path = b"/proc/self/attr/apparmor/exec\0"
    assert found[0] == ("openat", (AT_FDCWD, path, os.O_WRONLY | os.O_CLOEXEC, 0), (file, file))
    assert found[1][:2] == ("write", (file, b"exec jail", 9))
    assert found[2][:2] == ("close", (file,))


def test_the_same_steps_are_the_same_script_whatever_the_descriptors() -> None:
    def script(root: int) -> object:
        prepared = enter_script([("enter", partial(os.fchdir, Fd(root)))], PROGRAM)
        assert prepared is not None
        assert prepared.handed == (root,)
        return prepared.script

    assert script(30) is script(40)


def test_a_step_that_nobody_knows_is_none_of_a_script() -> None:
    assert enter_script([("do what it likes", lambda: None)], PROGRAM) is None


@pytest.mark.parametrize("number", [-1, 2**32 - 1, 2**32, 1 << 70])
def test_an_id_that_the_kernel_would_take_for_another(number: int) -> None:
    """Cut to 32 bits, 1 << 32 is root; and all bits set change nothing."""
    assert enter_script([("become user", partial(os.setresuid, 5, 5, number))], PROGRAM) is None
    assert enter_script([("become group", partial(os.setresgid, number, 5, 5))], PROGRAM) is None
    assert enter_script([("set the groups", partial(os.setgroups, (number,)))], PROGRAM) is None


def test_a_limit_without_end() -> None:
    infinite = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    (line,) = (found for found in lines(("limit", partial(resource.setrlimit, 7, infinite))) if found.step == "limit")
    assert line.arguments[2] == b"\xff" * 16


def test_a_parent_is_demanded() -> None:
    tie, parent = (line for line in lines(("tie", partial(die_with, 17))) if line.step == "tie")
    assert (tie.call, parent.call, parent.gives) == ("prctl", "getppid", (17, 17))


def test_only_a_home_may_be_closed() -> None:
    home, wish = (
        line
        for step in (("go", partial(go_home, b"/h")), ("go", partial(os.chdir, b"/h")))
        for line in lines(step)
        if line.step == "go"
    )
    assert home.tolerated == (errno.ENOENT, errno.ENOTDIR, errno.EACCES)
    assert wish.tolerated == ()


def test_a_program_is_looked_for_until_one_is_there() -> None:
    found = lines(program=Program((b"/a/x", b"/b/x"), (b"x",), {b"A": b"1"}))
    told = [(line.call, line.arguments[:2], line.gives[0], line.tolerated) for line in found]
    absent = (errno.ENOENT, errno.ENOTDIR)
    assert told == [
        ("execve", (b"/a/x\0", (b"x\0",)), 0, absent),
        ("faccessat", (-100, b"/a/x\0"), -errno.ENOENT, absent),
        ("execve", (b"/b/x\0", (b"x\0",)), 0, absent),
        ("faccessat", (-100, b"/b/x\0"), -errno.ENOENT, absent),
        ("execve", (b"\0", ()), 0, ()),
    ]
    assert {line.step for line in found} == {EXECUTE}
    assert found[0].arguments[2] == (b"A=1\0",)


def test_nothing_of_a_way_is_left_out() -> None:
    """Else its steps would be taken by nobody."""
    way = Way((("be strange", partial(print, "x")),))
    assert enter_script(steps(Entering(("true",), (), "/", confinement=Confinement()), way), PROGRAM) is None
