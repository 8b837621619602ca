"""Names and words of a profile."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from jailkit.linux.capabilities import CAPABILITIES
from jailkit.profile import names
from jailkit.profile.refusal import MAX_CANDIDATES, Refusal, closest, shown


@pytest.mark.parametrize(
    ("check", "written", "read"),
    [
        (names.profile_name, "shell", "shell"),
        (names.profile_name, "a.b-c_9", "a.b-c_9"),
        (names.profile_name, "0" * 63, "0" * 63),
        (names.user_name, "www-data", "www-data"),
        (names.user_name, "_apt", "_apt"),
        (names.user_or_id, 1000, "1000"),
        (names.user_or_id, "1000", "1000"),
        (names.user_or_id, "0000000000001000", "1000"),
        (names.user_or_id, "00", "0"),
        (names.user_or_id, "bob", "bob"),
        (names.owner, "root", "root"),
        (names.owner, 33, "33"),
        (names.owner, "bob:www-data", "bob:www-data"),
        (names.owner, "33:33", "33:33"),
        (names.group, 5, 5),
        (names.group, "audio", "audio"),
        (names.package_name, "libstdc++6", "libstdc++6"),
        (names.package_name, "libc6:i386", "libc6:i386"),
        (names.variable_name, "PATH", "PATH"),
        (names.variable_name, "_x9", "_x9"),
        (names.name_or_path, "[", "["),
        (names.name_or_path, "g++", "g++"),
        (names.name_or_path, "/usr//bin/env", "/usr/bin/env"),
        (names.capability, "net_bind_service", "CAP_NET_BIND_SERVICE"),
        (names.capability, "Cap_Chown", "CAP_CHOWN"),
        (names.text, 5, "5"),
        (names.text, "a\r\nb", "a\r\nb"),
        (names.line, "", ""),
        (names.prose, "a\tb\nc", "a\tb\nc"),
        (names.command_words, "sh -c 'echo hi'", ("sh", "-c", "echo hi")),
        (names.command_words, ["sh", "-c", ""], ("sh", "-c", "")),
        (names.command_words, ["echo", 1], ("echo", "1")),
        (names.pattern, "^a+$", "^a+$"),
        (names.pattern, "[[a]", "[[a]"),
        (names.expression, "(", "("),
        (names.true_or_false, False, False),
        (names.signal_name, "TERM", "SIGTERM"),
        (names.signal_name, "SIGQUIT", "SIGQUIT"),
    ],
)
def test_taken(check: Callable[[object], object], written: object, read: object) -> None:
    assert check(written) == read


@pytest.mark.parametrize("name", CAPABILITIES)
def test_every_capability_has_its_short_name(name: str) -> None:
    assert names.capability(name.removeprefix("CAP_").lower()) == name


@pytest.mark.parametrize(
    ("check", "written", "message", "suggestion"),
    [
        *(
            (names.profile_name, name, "expected a name", None)
            for name in ["", "A", "../x", "a/b", "-a", "a" * 64, "a\n", 5]
        ),
        (names.profile_name, "a..b", r"must not contain `\.\.`", None),
        *((names.user_name, name, "expected the name of a user", None) for name in ["", "Bob", "a b", "a:b", "a\n", 0]),
        (names.user_or_id, -1, "from 0 to 4294967294", None),
        (names.user_or_id, "4294967295", "from 0 to 4294967294", None),
        (names.user_or_id, "9" * 1000, "from 0 to 4294967294", None),
        (names.user_or_id, True, "expected the name", None),
        (names.owner, "a:b:c", "expected an owner", None),
        (names.owner, ":", "expected an owner", None),
        (names.owner, "4294967295:0", "from 0 to 4294967294", None),
        (names.identity, 2**32 - 1, "from 0 to", None),
        (names.identity, "0", "whole number", None),
        (names.identity, True, "whole number", None),
        (names.identity, 1.0, "whole number", None),
        *((names.package_name, name, "Debian package", None) for name in ["", "A", "../x", "a", "a b", "-x"]),
        *((names.variable_name, name, "name of a variable", None) for name in ["", "A=B", "1A", "A B", "Ä", "A\n"]),
        *((names.name_or_path, name, "a name or an absolute path", None) for name in [".", "..", "n" * 256]),
        *((names.name_or_path, name, "a name or an absolute path", None) for name in ["../x", "bin/sh", "./x"]),
        (names.name_or_path, "/a/../x", r"must not contain `\.\.`", None),
        (names.name_or_path, "/proc/self/exe", "belongs to the kernel", None),
        (names.name_or_path, "a\tb", "control character", None),
        (names.capability, "net_bind", "is no capability", "CAP_NET_BIND_SERVICE"),
        (names.capability, "CAP_SYS_ADMN", "is no capability", "CAP_SYS_ADMIN"),
        (names.capability, "qqqq", "is no capability", None),
        (names.capability, "CAP_FOO", "is no capability", None),
        (names.capability, 5, "name of a capability", None),
        (names.text, True, "put it in quotes", None),
        (names.text, 1.5, "put it in quotes", None),
        (names.line, "a\nb", "control character", None),
        (names.prose, "a\rb", "control character", None),
        (names.command_words, "", "needs a first word", None),
        (names.command_words, [], "needs a first word", None),
        (names.command_words, ["", "x"], "needs a first word", None),
        (names.command_words, "echo 'a", "into words: No closing quotation", None),
        (names.command_words, {"a": 1}, "a list of words or a line", None),
        (names.command_words, [["a"]], "expected text, got a list", None),
        (names.command_words, "a " * 100_000, "more than 8192 characters", None),
        (names.pattern, "(", "no regular expression", None),
        (names.pattern, "(" * 150 + ")" * 149, "no regular expression", None),
        (names.pattern, "a{99999999999999999999}", "no regular expression", None),
        (names.pattern, "a" * 301, "more than 300 characters", None),
        (names.expression, "a" * 301, "more than 300 characters", None),
        (names.expression, True, "expected text", None),
        (names.true_or_false, "yes", "expected true or false, got 'yes'", "true"),
        (names.true_or_false, "Off", "expected true or false", "false"),
        (names.signal_name, "STOP", "name of a signal", None),
        (names.signal_name, "SIGSTOP", "name of a signal", None),
        (names.signal_name, 15, "name of a signal", None),
        (names.signal_name, "usr1", "name of a signal", "SIGUSR1"),
        (names.true_or_false, 1, "expected true or false, got 1", None),
    ],
)
def test_refused(check: Callable[[object], object], written: object, message: str, suggestion: str | None) -> None:
    with pytest.raises(Refusal, match=message) as caught:
        check(written)
    assert caught.value.suggestion == suggestion
    assert caught.value.message.isprintable()


def test_choice_suggests() -> None:
    with pytest.raises(Refusal, match="expected one of bind, tmpfs, got 'tmpf'") as caught:
        names.choice("tmpf", ("bind", "tmpfs"))
    assert caught.value.suggestion == "tmpfs"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a\x1b[0m\u202e", r"'a\x1b[0m\u202e'"),
        ("x" * 500, repr("x" * 60 + "...")),
        (None, "nothing"),
        (True, "true"),
        (1.5, "1.5"),
        ([1], "a list"),
        ({}, "a mapping"),
    ],
)
def test_values_are_shown_short_and_harmless(value: object, text: str) -> None:
    assert shown(value) == text


@pytest.mark.parametrize(
    ("word", "near"),
    [("binarys", "binaries"), ("LIMITS", "limits"), ("read_only", "read-only"), ("zzz", None), (5, None)],
)
def test_closest(word: object, near: str | None) -> None:
    assert closest(word, ["binaries", "limits", "read-only"]) == near


def test_nothing_is_suggested_from_too_many() -> None:
    many = [f"user{number}" for number in range(MAX_CANDIDATES)]
    assert closest("usor7", many) == "user7"
    assert closest("usor7", [*many, "more"]) is None


def test_a_suggestion_waits_until_it_is_asked_for() -> None:
    asked: list[str] = []
    refusal = Refusal("no", lambda: asked.append("once"))
    assert asked == []
    assert (refusal.suggestion, asked) == (None, ["once"])
