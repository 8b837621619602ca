"""A policy as the program that seccomp(2) takes, compiled by libseccomp's own Python binding."""

from __future__ import annotations

import importlib
import os
import struct
from types import ModuleType
from typing import TYPE_CHECKING, Final

from jailkit.errors import PlanError
from jailkit.seccomp.model import Condition, Masked, Policy, Rule

if TYPE_CHECKING:
    from seccomp import Arch, Arg, SyscallFilter

# The interfaces that programs of a machine of uname(2) may use, the machine's own first, in libseccomp's names. The
# constants of policies, and the order of the arguments of clone(2), hold for these; a call through any other interface
# ends the process.
_INTERFACES: Final = {
    "x86_64": ("x86_64", "x86"), "aarch64": ("aarch64", "arm"), "riscv64": ("riscv64",), "i686": ("x86",),
}  # fmt: skip

# linux/bpf_common.h, linux/filter.h
_BPF_LD_W_ABS: Final = 0x20
_BPF_JMP_JGT_K: Final = 0x25
_BPF_JMP_JGE_K: Final = 0x35
_BPF_RET_K: Final = 0x06
SOCK_FILTER: Final = struct.Struct("=HBBI")
# linux/seccomp.h
_OFFSET_OF_NR: Final = 0
_SECCOMP_RET_ERRNO: Final = 0x00050000
# asm/unistd.h of ARM: from here on are calls of its own, and from 0x40000000 on those of x32.
_ARM_NR_BASE: Final = 0x0F0000
# asm-generic/errno.h; libseccomp compiles for the machine that it runs on.
_ENOSYS: Final = 38

_UNKNOWN: Final = -1  # what resolve_syscall gives for a name that libseccomp does not know (__NR_SCMP_ERROR)


def to_bpf(policy: Policy, machine: str | None = None) -> bytes:
    """Compile a policy to an array of `struct sock_filter`.

    Args:
        policy: what to compile.
        machine: a name as uname(2) gives it; that of this machine when absent.

    Raises:
        PlanError: libseccomp's binding is missing, does not know one of the calls, or the machine is not known here.
    """
    library = _library(policy.name)
    machine = machine or os.uname().machine
    if machine not in _INTERFACES:
        raise PlanError(
            f"cannot compile system call policy {policy.name}: its numbers are not known for {machine}",
            resolution="isolation.seccomp: none, which filters nothing",
        )
    architectures = [library.Arch(name) for name in _INTERFACES[machine]]
    _check_names(policy, library, architectures)
    combined = _filter(policy, library, architectures[0])
    for architecture in architectures[1:]:
        combined.merge(_filter(policy, library, architecture))
    newest = library.resolve_syscall(architectures[0], policy.newest_call)
    return _refuse_newer(newest) + _exported(combined)


def _library(name: str) -> ModuleType:
    try:
        return importlib.import_module("seccomp")
    except ImportError as error:
        raise PlanError(
            f"cannot compile system call policy {name}: libseccomp's binding for Python cannot be imported",
            details=[str(error)],
            resolution="apt install python3-seccomp, with Debian's own python3",
        ) from error


def _check_names(policy: Policy, library: ModuleType, architectures: list[Arch]) -> None:
    """Refuse a call that libseccomp does not know: it would be left out of the filter."""
    calls = [policy.newest_call, *(call for rule in policy.rules for call in rule.calls)]
    unknown = [call for call in calls if library.resolve_syscall(architectures[0], call) == _UNKNOWN]
    if unknown:
        raise PlanError(
            f"cannot compile system call policy {policy.name}: libseccomp knows no {', '.join(sorted(set(unknown)))}",
            resolution="apt install --only-upgrade libseccomp2 (2.5.4 or newer)",
        )


def _filter(policy: Policy, library: ModuleType, architecture: Arch) -> SyscallFilter:
    """Make the filter of one interface to the kernel."""
    result = library.SyscallFilter(library.ALLOW)
    result.set_attr(library.Attr.ACT_BADARCH, library.KILL_PROCESS)
    result.set_attr(library.Attr.CTL_OPTIMIZE, 2)  # a tree, which is searched in fewer steps than a list
    if not result.exist_arch(architecture):
        result.add_arch(architecture)
        result.remove_arch(library.Arch())
    for rule in policy.rules:
        for call in rule.calls:
            # A number below zero stands for a call that only other interfaces have.
            if library.resolve_syscall(architecture, call) >= 0:
                _add(result, rule, call, library)
    return result


def _add(result: SyscallFilter, rule: Rule, call: str, library: ModuleType) -> None:
    for conditions in rule.alternatives:
        # Not add_rule_exactly, which refuses comparisons of what is multiplexed.
        result.add_rule(library.ERRNO(rule.errno), call, *(_argument(part, library) for part in conditions))


def _argument(condition: Condition, library: ModuleType) -> Arg:
    if isinstance(condition, Masked):
        return library.Arg(condition.argument, library.MASKED_EQ, condition.mask, condition.value)
    return library.Arg(condition.argument, library.GT, condition.value)


def _exported(result: SyscallFilter) -> bytes:
    with open(os.memfd_create("seccomp", os.MFD_CLOEXEC), "w+b") as file:
        result.export_bpf(file)
        file.seek(0)  # libseccomp wrote to the descriptor, behind Python's back
        return file.read()


def _refuse_newer(newest: int) -> bytes:
    """Give instructions that answer the calls after `newest` with ENOSYS, and go on with the others behind them."""
    return b"".join(
        SOCK_FILTER.pack(*instruction)
        for instruction in (
            (_BPF_LD_W_ABS, 0, 0, _OFFSET_OF_NR),
            (_BPF_JMP_JGT_K, 0, 2, newest),
            (_BPF_JMP_JGE_K, 1, 0, _ARM_NR_BASE),
            (_BPF_RET_K, 0, 0, _SECCOMP_RET_ERRNO | _ENOSYS),
        )
    )
