"""A policy as the text that `lxc.seccomp.profile` names (lxc.container.conf(5), SECCOMP CONFIGURATION)."""

from __future__ import annotations

from collections.abc import Iterator

from jailkit.seccomp.model import Condition, Masked, Policy, Rule


def to_lxc(policy: Policy) -> str:
    """Write a policy in version 2 of LXC's format.

    The format knows names of calls only, so that calls newer than the policy's newest are not refused by it. LXC passes
    over a name that libseccomp does not know: `to_bpf` finds those.
    """
    lines = ["2", "denylist", f"# {policy.name}: {policy.description}", "[all]"]
    for rule in policy.rules:
        lines += [f"# {line}" for line in rule.reason.splitlines()]
        lines += _lines(rule)
    return "\n".join(lines) + "\n"


def _lines(rule: Rule) -> Iterator[str]:
    for call in rule.calls:
        for conditions in rule.alternatives:
            arguments = "".join(_argument(condition) for condition in conditions)
            yield f"{call} errno {rule.errno}{' ' if arguments else ''}{arguments}"


def _argument(condition: Condition) -> str:
    if isinstance(condition, Masked):
        return f"[{condition.argument},{condition.value},SCMP_CMP_MASKED_EQ,{condition.mask}]"
    return f"[{condition.argument},{condition.value},SCMP_CMP_GT]"
