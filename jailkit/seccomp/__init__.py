"""System call policies: one source, profiles/seccomp/*.yaml, for what libseccomp compiles and for what LXC reads."""

from jailkit.seccomp.bpf import to_bpf
from jailkit.seccomp.load import load_policy
from jailkit.seccomp.lxc import to_lxc
from jailkit.seccomp.model import Above, Condition, Masked, Policy, Rule

__all__ = ["Above", "Condition", "Masked", "Policy", "Rule", "load_policy", "to_bpf", "to_lxc"]
