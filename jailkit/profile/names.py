"""Names that profiles use: of profiles, users, packages, variables, capabilities, and words of commands."""

from __future__ import annotations

import re
import signal
import warnings
from collections.abc import Collection, Iterable

from jailkit.linux import devices
from jailkit.profile.paths import MAX_NAME, one_line, source_path
from jailkit.profile.refusal import Refusal, closest, quote_hint, shown

PROFILE_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,62}$"
USER_PATTERN = r"^[a-z_][a-z0-9_-]{0,31}$"
PACKAGE_PATTERN = r"^[a-z0-9][a-z0-9+.-]{1,99}(:[a-z0-9][a-z0-9-]{0,31})?$"
VARIABLE_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]{0,254}$"
POLICY_PATTERN = r"^[a-z][a-z0-9-]{0,62}$"
OWNER_PATTERN = r"^[a-z0-9_][a-z0-9_-]{0,31}(:[a-z0-9_][a-z0-9_-]{0,31})?$"

MAX_ID = 2**32 - 2  # (uid_t) -1 means "leave as it is" to chown(2)
MAX_PATTERN = 300  # a range that ignores case takes `re` milliseconds, in five characters
MAX_LINE = 8192  # shlex takes time by the square of a word's length

NO_POLICY = "none"  # the name of the system call policy that filters nothing
NAMESPACES = ("mount", "pid", "ipc", "uts", "net", "user", "cgroup", "time")
DEVICES = tuple(devices.DEVICES)
# What may ask a command to stop. SIGSTOP asks nothing: no process can catch it, and it ends none (signal(7)).
SIGNALS = tuple(sorted(name for name in signal.Signals.__members__ if name != "SIGSTOP"))


def profile_name(value: object) -> str:
    """Check the name of a profile, which also names jails and their folders."""
    name = _matching(value, PROFILE_PATTERN, "a name of small letters, digits, dots, dashes and underscores")
    if ".." in name:
        raise Refusal(f"the name {shown(name)} must not contain `..`")
    return name


def user_name(value: object) -> str:
    """Check the name of an account, as useradd(8) takes it."""
    return _matching(value, USER_PATTERN, "the name of a user")


def user_or_id(value: object) -> str:
    """Check the name of an account, or a number as text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(identity(value))
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return str(identity(int(value.lstrip("0")[:12] or 0)))
    return _matching(value, USER_PATTERN, "the name of a user, or a uid")


def identity(value: object) -> int:
    """Check a uid or gid."""
    return whole_number(value, 0, MAX_ID)


def owner(value: object) -> str:
    """Check who owns an entry: USER, UID, USER:GROUP or UID:GID."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    name = _matching(text, OWNER_PATTERN, "an owner such as root, 1000 or www-data:www-data")
    return ":".join(user_or_id(part) for part in name.split(":"))


def group(value: object) -> str | int:
    """Check a supplementary group: a name of the host's, or a gid."""
    if isinstance(value, int) and not isinstance(value, bool):
        return identity(value)
    return _matching(value, USER_PATTERN, "the name of a group, or a gid")


def package_name(value: object) -> str:
    """Check the name of a Debian package, with its architecture where one is given (Debian Policy 5.6.7)."""
    return _matching(value, PACKAGE_PATTERN, "the name of a Debian package")


def variable_name(value: object) -> str:
    """Check the name of an environment variable (POSIX, 8.1)."""
    return _matching(value, VARIABLE_PATTERN, "the name of a variable: letters, digits and underscores")


def policy_name(value: object) -> str:
    """Check the name of a seccomp policy; `none` is one."""
    return _matching(value, POLICY_PATTERN, "the name of a policy")


def name_or_path(value: object) -> str:
    """Check a binary or library: a name to look for, or the absolute path of a file on the host."""
    text = one_line(value)
    if text.startswith("/"):
        return source_path(text)
    if "/" in text or text in (".", "..") or len(text.encode()) > MAX_NAME:
        raise Refusal(f"expected a name or an absolute path, got {shown(text)}")
    return text


def capability(value: object) -> str:
    """Read a capability, with or without `CAP_`, in any case; gives capabilities(7)'s spelling."""
    # Imported here: it loads the C library, and most profiles name no capability.
    from jailkit.linux.capabilities import CAPABILITIES

    if not isinstance(value, str):
        raise Refusal(f"expected the name of a capability, got {shown(value)}")
    name = "CAP_" + value.upper().removeprefix("CAP_")
    if name in CAPABILITIES:
        return name
    raise Refusal(f"{shown(value)} is no capability", lambda: _closest_capability(name, CAPABILITIES))


def choice(value: object, known: Collection[str]) -> str:
    """Check that a value is one of a few words."""
    if isinstance(value, str) and value in known:
        return value
    raise Refusal(f"expected one of {', '.join(known)}, got {shown(value)}", lambda: closest(value, known))


def device(value: object) -> str:
    """Check the name of a device node. YAML reads a bare `null` as nothing, and here that can only mean the node."""
    return choice("null" if value is None else value, DEVICES)


def signal_name(value: object) -> str:
    """Read the name of a signal, with or without `SIG`; gives signal(7)'s spelling. Numbers differ between machines."""
    name = value if isinstance(value, str) and value.startswith("SIG") else f"SIG{value}"
    if isinstance(value, str) and name in SIGNALS:
        return name
    near = f"SIG{str(value).upper().removeprefix('SIG')}"
    raise Refusal(
        f"expected the name of a signal such as TERM or SIGHUP, got {shown(value)}", near if near in SIGNALS else None
    )


def text(value: object) -> str:
    """Check a text of any number of lines; a whole number is taken as its digits."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str):
        return value
    raise Refusal(f"expected text, got {shown(value)}{quote_hint(value)}")


def prose(value: object) -> str:
    """Check a text for people: lines without control characters."""
    content = text(value)
    for part in content.replace("\t", " ").split("\n"):
        line(part)
    return content


def line(value: object) -> str:
    """Check a text of one line that may be empty; a whole number is taken as its digits."""
    content = text(value)
    return one_line(content) if content else content


def command_words(value: object) -> tuple[str, ...]:
    """Read a command: a list of words, or one line split as a shell would split it, without running one."""
    if isinstance(value, str):
        words = _split(value)
    elif isinstance(value, list | tuple):
        words = [text(word) for word in value]
    else:
        raise Refusal(f"expected a list of words or a line, got {shown(value)}")
    if not words or not words[0]:
        raise Refusal("a command needs a first word")
    return tuple(words)


def profile_references(value: object) -> tuple[str, ...]:
    """Read what a profile extends: one name or relative path, or a list of them."""
    references = value if isinstance(value, list | tuple) else [value]
    return tuple(one_line(reference) for reference in references)


def expression(value: object) -> str:
    """Check a text that may be a regular expression. All of a profile's are compiled at once, within a bound."""
    content = text(value)
    if len(content) > MAX_PATTERN:
        raise Refusal(f"the expression has more than {MAX_PATTERN} characters")
    return content


def pattern(value: object) -> str:
    """Check a regular expression of Python's `re`."""
    content = expression(value)
    try:
        with warnings.catch_warnings(action="ignore"):  # `[[` may mean something else one day
            re.compile(content)
    except (re.error, RecursionError, OverflowError) as error:
        raise Refusal(f"{shown(content)} is no regular expression: {error}") from error
    return content


def whole_number(value: object, least: int, most: int) -> int:
    """Check a whole number within bounds, both included."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise Refusal(f"expected a whole number from {least} to {most}, got {shown(value)}")
    if not least <= value <= most:
        raise Refusal(f"expected a number from {least} to {most}, got {value}")
    return value


def true_or_false(value: object) -> bool:
    """Check a boolean, which is spelled `true` or `false` and nothing else."""
    if isinstance(value, bool):
        return value
    words = {"yes": "true", "on": "true", "no": "false", "off": "false"}
    raise Refusal(f"expected true or false, got {shown(value)}", words.get(str(value).lower()))


def _closest_capability(name: str, known: Iterable[str]) -> str | None:
    # Compared without the prefix: with it, any two are alike.
    short = {full.removeprefix("CAP_").lower().replace("_", "-"): full for full in known}
    near = closest(name.removeprefix("CAP_"), short)
    return short[near] if near else None


def _matching(value: object, expression: str, meaning: str) -> str:
    if not isinstance(value, str) or not re.fullmatch(expression, value):
        raise Refusal(f"expected {meaning}, got {shown(value)}")
    return value


def _split(value: str) -> list[str]:
    # Imported here: most profiles give lists, and this costs a millisecond.
    import shlex

    if len(value) > MAX_LINE:
        raise Refusal(f"a command of more than {MAX_LINE} characters; write it as a list of words")
    try:
        return shlex.split(value)
    except ValueError as error:
        raise Refusal(f"cannot split {shown(value)} into words: {error}") from error
