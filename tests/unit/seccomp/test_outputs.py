"""What libseccomp and LXC are given: no call of a policy is lost on the way, on any architecture."""

from __future__ import annotations

import builtins
import errno
import importlib
import random
from typing import Any

import pytest
from support.filters import ALLOWED, ARCHITECTURES, KILLED, matching, verdict

from jailkit.errors import PlanError
from jailkit.profile.find import shipped_policies
from jailkit.seccomp import Above, Condition, Masked, Policy, Rule, load_policy, to_bpf, to_lxc

SMALL = Policy(
    "small",
    "an example",
    "openat2",
    (
        Rule(("ptrace", "reboot"), errno.EPERM, ((),), "A reason."),
        Rule(("clone",), errno.EPERM, ((Masked(0, 2, 2),), (Masked(0, 4, 4),)), "Two bits."),
        Rule(("socket",), errno.EAFNOSUPPORT, ((Masked(0, 0xFFFFFFFF, 16), Above(2, 9)),), "Two conditions."),
    ),
)
needs_binding = pytest.mark.needs("python3-seccomp")


def test_the_text_for_lxc() -> None:
    assert to_lxc(SMALL) == (
        "2\n"
        "denylist\n"
        "# small: an example\n"
        "[all]\n"
        "# A reason.\n"
        "ptrace errno 1\n"
        "reboot errno 1\n"
        "# Two bits.\n"
        "clone errno 1 [0,2,SCMP_CMP_MASKED_EQ,2]\n"
        "clone errno 1 [0,4,SCMP_CMP_MASKED_EQ,4]\n"
        "# Two conditions.\n"
        "socket errno 97 [0,16,SCMP_CMP_MASKED_EQ,4294967295][2,9,SCMP_CMP_GT]\n"
    )


@pytest.mark.parametrize("name", shipped_policies())
def test_lxc_is_given_every_refusal(name: str) -> None:
    policy = load_policy(name)
    lines = [line.split()[0] for line in to_lxc(policy).splitlines()[4:] if not line.startswith("#")]
    assert lines == [call for rule in policy.rules for call in rule.calls for _ in rule.alternatives]


def number_of(architecture: str, call: str) -> int:
    seccomp = importlib.import_module("seccomp")
    return int(seccomp.resolve_syscall(seccomp.Arch(architecture), call))


@needs_binding
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("name", shipped_policies())
def test_every_refusal_holds_and_its_neighbours_do_not(name: str, architecture: str) -> None:
    policy = load_policy(name)
    machine, audit = ARCHITECTURES[architecture]
    program = to_bpf(policy, machine)
    assert len(program) // 8 <= 4096
    held = set()
    for rule in policy.rules:
        for call in rule.calls:
            number = number_of(architecture, call)
            multiplexed = architecture == "x86" and call in ("socket", "socketpair")
            for case in rule.alternatives:
                if number >= 0 and not multiplexed:
                    assert verdict(program, audit, number, matching(case)) == rule.errno, (call, case)
                    held.add(call)
    # Each call exists somewhere, and those that an architecture lacks are few.
    named = {call for rule in policy.rules for call in rule.calls}
    assert len(named - held) <= len(named) / 4, named - held
    for call in ("read", "execve", "futex", "clone", "unshare", "ioctl", "getpid", "rt_sigreturn"):
        assert verdict(program, audit, number_of(architecture, call), [0x11] * 6) == ALLOWED, call


@needs_binding
@pytest.mark.parametrize("name", shipped_policies())
def test_every_call_is_held_on_the_architecture_that_has_it(name: str) -> None:
    calls = {call for rule in load_policy(name).rules for call in rule.calls}
    nowhere = [call for call in calls if all(number_of(architecture, call) < 0 for architecture in ARCHITECTURES)]
    assert nowhere == []


@needs_binding
def test_sockets_of_32_bit_programs_are_held_both_ways() -> None:
    program, audit = to_bpf(load_policy("privileged"), "x86_64"), ARCHITECTURES["x86"][1]
    socketcall, socket, socketpair = 102, 359, 360  # arch/x86/entry/syscalls/syscall_32.tbl
    vsock, inet = 40, 2
    assert verdict(program, audit, socket, [vsock]) == errno.EAFNOSUPPORT
    assert verdict(program, audit, socketpair, [vsock]) == errno.EAFNOSUPPORT
    assert verdict(program, audit, socket, [inet]) == ALLOWED
    assert [verdict(program, audit, socketcall, [which]) for which in (1, 8)] == [errno.EAFNOSUPPORT] * 2
    assert verdict(program, audit, socketcall, [3]) == ALLOWED  # connect


@needs_binding
@pytest.mark.parametrize("high", [0, 1 << 32, 0xDEAD << 32])
def test_the_half_of_a_register_that_the_kernel_drops_hides_nothing(high: int) -> None:
    program = to_bpf(load_policy("privileged"), "x86_64")
    audit = ARCHITECTURES["x86_64"][1]
    tiocsti, ioctl, socket, vsock, audit_protocol = 0x5412, 16, 41, 40, 9
    assert verdict(program, audit, ioctl, [0, high | tiocsti]) == errno.EPERM
    assert verdict(program, audit, socket, [high | vsock]) == errno.EAFNOSUPPORT
    assert verdict(program, audit, socket, [high | 16, 0, high | audit_protocol]) == errno.EPROTONOSUPPORT


@needs_binding
@pytest.mark.parametrize("architecture", ["x86_64", "x86"])
@pytest.mark.parametrize("name", shipped_policies())
def test_the_program_means_what_the_policy_says(name: str, architecture: str) -> None:
    """libseccomp folds all rules of a call into one tree: whatever the arguments, it must come to what they say."""
    policy = load_policy(name)
    program, audit = to_bpf(policy, "x86_64"), ARCHITECTURES[architecture][1]
    chance = random.Random(name)
    top = (1 << 64) - 1 if architecture == "x86_64" else (1 << 32) - 1
    compared = {part.value for rule in policy.rules for case in rule.alternatives for part in case}
    likely = [0, 1, top, *(value + near for value in compared for near in (0, 1, 1 << 32)), *range(48)]
    calls = {
        call: number_of(architecture, call)
        for rule in policy.rules
        if rule.alternatives != ((),)
        for call in rule.calls
    }
    for call, number in calls.items():
        if number < 0 or (architecture == "x86" and call in ("socket", "socketpair")):
            continue
        for _ in range(400):
            arguments = [chance.choice(likely) & top for _ in range(6)]
            expected = {rule.errno for rule in policy.rules if call in rule.calls and refuses(rule, arguments)}
            assert verdict(program, audit, number, arguments) in (expected or {ALLOWED}), (call, arguments)


def refuses(rule: Rule, arguments: list[int]) -> bool:
    return any(all(holds(part, arguments) for part in case) for case in rule.alternatives)


def holds(condition: Condition, arguments: list[int]) -> bool:
    argument = arguments[condition.argument]
    if isinstance(condition, Masked):
        return argument & condition.mask == condition.value
    return argument > condition.value


@needs_binding
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_newer_calls_are_answered_as_by_an_older_kernel(architecture: str) -> None:
    machine, audit = ARCHITECTURES[architecture]
    program = to_bpf(SMALL, machine)
    newest = number_of(architecture, "openat2")
    assert newest == 437
    assert verdict(program, audit, newest) == ALLOWED
    for number in (newest + 1, 999, 0xEFFFF):
        assert verdict(program, audit, number) == errno.ENOSYS
    cacheflush_of_arm = 0xF0002
    assert verdict(program, audit, cacheflush_of_arm) == ALLOWED


@needs_binding
@pytest.mark.parametrize("name", shipped_policies())
def test_the_newest_call_has_one_number(name: str) -> None:
    newest = load_policy(name).newest_call
    assert len({number_of(architecture, newest) for architecture in ARCHITECTURES}) == 1


@needs_binding
def test_other_interfaces_end_the_process() -> None:
    program = to_bpf(SMALL, "x86_64")
    x32_getpid = 0x40000000 | 39
    assert verdict(program, ARCHITECTURES["x86_64"][1], x32_getpid) == KILLED
    assert verdict(program, ARCHITECTURES["aarch64"][1], 1) == KILLED


@needs_binding
def test_a_name_that_libseccomp_does_not_know() -> None:
    policy = Policy("odd", "", "read", (Rule(("reed", "write"), errno.EPERM, ((),), ""),))
    with pytest.raises(PlanError, match="libseccomp knows no reed\n") as caught:
        to_bpf(policy)
    assert "libseccomp2" in (caught.value.resolution or "")


@needs_binding
def test_a_machine_whose_numbers_are_not_known() -> None:
    with pytest.raises(PlanError, match="not known for s390x"):
        to_bpf(SMALL, "s390x")


def test_without_the_binding(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "seccomp":
            raise ModuleNotFoundError("No module named 'seccomp'")
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(PlanError, match="cannot compile system call policy small") as caught:
        to_bpf(SMALL)
    assert caught.value.details == ("No module named 'seccomp'",)
    assert caught.value.resolution == "apt install python3-seccomp, with Debian's own python3"
