"""The shipped policies, and the reading of policies that are wrong."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from jailkit.errors import ProfileError
from jailkit.profile import find
from jailkit.profile.find import shipped_policies
from jailkit.seccomp import Above, Masked, Policy, Rule, load_policy

# What the levels promise to refuse.
PROMISED = {
    "add_key", "bpf", "finit_module", "init_module", "io_uring_enter", "io_uring_register", "io_uring_setup",
    "kexec_file_load", "kexec_load", "keyctl", "open_by_handle_at", "perf_event_open", "ptrace", "request_key",
    "userfaultfd",
}  # fmt: skip
NEW_USER = (Masked(0, 0x10000000, 0x10000000),)


def refused(policy: Policy) -> dict[str, set[int]]:
    """Give the calls that are refused whatever their arguments are, with their errnos."""
    found: dict[str, set[int]] = {}
    for rule in policy.rules:
        if rule.alternatives == ((),):
            for call in rule.calls:
                found.setdefault(call, set()).add(rule.errno)
    return found


def test_the_policies_there_are() -> None:
    assert shipped_policies() == ["default", "privileged", "strict"]


@pytest.mark.parametrize("name", shipped_policies())
def test_every_rule_says_why_in_a_sentence(name: str) -> None:
    policy = load_policy(name)
    assert policy.name == name
    assert policy.description
    for rule in policy.rules:
        assert rule.reason.endswith("."), rule
        assert "(" in rule.reason or rule.reason.split()[0].islower(), f"names neither a manual page nor a CVE: {rule}"


@pytest.mark.parametrize("name", shipped_policies())
def test_no_refusal_stands_twice(name: str) -> None:
    seen = [(call, case) for rule in load_policy(name).rules for call in rule.calls for case in rule.alternatives]
    assert len(seen) == len(set(seen))


def test_what_the_default_policy_promises() -> None:
    policy = load_policy("default")
    always = refused(policy)
    assert set(always) >= PROMISED
    assert all(always[call] == {errno.EPERM} for call in PROMISED)
    assert always["clone3"] == {errno.ENOSYS}
    for call in ("unshare", "clone"):
        assert any(call in rule.calls and NEW_USER in rule.alternatives for rule in policy.rules)


def test_each_policy_refuses_all_that_the_one_before_refuses() -> None:
    privileged, default, strict = (load_policy(name).rules for name in ("privileged", "default", "strict"))
    assert default[: len(privileged)] == privileged
    assert strict[: len(default)] == default
    assert "mount" not in refused(load_policy("privileged"))


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "seccomp"
    folder.mkdir()
    monkeypatch.setattr(find, "shipped_folder", lambda: str(tmp_path))
    return folder


GOOD = """\
description: d
newest-call: openat2
rules:
  - calls: [read, write]
    when: [{argument: 1, is: [AF_AX25, AF_IPX]}, {argument: 2, above: [AF_PACKET]}]
    errno: EPERM
    reason: r
"""


def test_reading(write: Path) -> None:
    (write / "p.yaml").write_text(GOOD)
    (write / "q.yaml").write_text("description: e\nextends: p\nrules: [{calls: [open], errno: EACCES, reason: s}]\n")
    cases = tuple((Masked(1, 0xFFFFFFFF, family), Above(2, 17)) for family in (3, 4))
    first = Rule(("read", "write"), errno.EPERM, cases, "r")
    assert load_policy("p") == Policy("p", "d", "openat2", (first,))
    assert load_policy("q") == Policy("q", "e", "openat2", (first, Rule(("open",), errno.EACCES, ((),), "s")))


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("newest-call: openat2\n", "", "1:1: a policy that extends none needs a `newest-call`"),
        ("description: d", "descriptio: d", "1:1: descriptio: there is no such key (did you mean `description`?)"),
        ("description: d\n", "", "1:1: lacks `description`"),
        ("description: d", "description: 5", "1:14: expected text"),
        ("description: d", "description: d\nextends: q", "2:10: 'q' is not known here"),
        ("description: d", "description: d\nextends: p", "2:1: extends: policies extend each other in a circle: 'p'"),
        ("    reason: r\n", "", "4:5: lacks `reason`"),
        ("reason: r", "reason: ''", "7:13: expected text"),
        ("EPERM", "EPERMM", "6:12: 'EPERMM' is not known here"),
        ("[read, write]", "[]", "4:12: expected a list of at least one item"),
        ("[read, write]", "read", "4:12: expected a list of at least one item"),
        ("argument: 1", "argument: 6", "5:23: argument: expected the number of an argument, from 0 to 5"),
        ("argument: 1", "argument: true", "5:23: argument: expected the number of an argument, from 0 to 5"),
        ("argument: 2", "argument: 1", "5:5: when: an argument is compared twice"),
        ("above: [AF_PACKET]", "is: [AF_PACKAGE]", "5:69: 'AF_PACKAGE' is not known here"),
        ("above: [AF_PACKET]", "is: [AF_IPX], above: [AF_IPX]", "5:50: needs exactly one of is, has-bit, above"),
        (", above: [AF_PACKET]", "", "5:50: needs exactly one of is, has-bit, above"),
        ("rules:", "rules: 5\nx:", "4:1: x: there is no such key"),
        ("  - calls: [read", "  - 5\n  - calls: [read", "4:5: expected a mapping"),
        ("description: d", "description: !x d", "1:14: "),
        ("description: d", "- d", "2:1: "),
    ],
)
def test_faults(write: Path, old: str, new: str, fault: str) -> None:
    assert old in GOOD
    (write / "p.yaml").write_text(GOOD.replace(old, new, 1))
    with pytest.raises(ProfileError) as caught:
        load_policy("p")
    assert str(caught.value.faults[0]).startswith(f"{write}/p.yaml:{fault}"), caught.value


def test_a_policy_that_there_is_not() -> None:
    with pytest.raises(ProfileError, match="there is no policy named 'defualt'") as caught:
        load_policy("defualt")
    assert caught.value.faults[0].suggestion == "default"
    assert caught.value.resolution == "one of default, privileged, strict"
