"""Values with units, as profiles write them. Pure functions: text or number in, number out, Refusal otherwise."""

from __future__ import annotations

import re

from jailkit.profile.refusal import Refusal, shown

SIZE_PATTERN = r"^[0-9]{1,19}(\.[0-9]{1,9})?([KkMmGgTt]([Ii]?[Bb])?|[Bb])?$"
DURATION_PATTERN = (
    r"^(?=.)([0-9]{1,9}(\.[0-9]{1,9})?d)?([0-9]{1,9}(\.[0-9]{1,9})?h)?([0-9]{1,9}(\.[0-9]{1,9})?m(?!s))?"
    r"([0-9]{1,9}(\.[0-9]{1,9})?s)?([0-9]{1,9}(\.[0-9]{1,9})?ms)?$"
)
NUMBER_PATTERN = r"^[0-9]{1,9}(\.[0-9]{1,9})?$"
CPUS_PATTERN = r"^[0-9]{1,9}(\.[0-9]{1,9})?%?$"
CPUSET_PATTERN = r"^[0-9]{1,4}(-[0-9]{1,4})?(,[0-9]{1,4}(-[0-9]{1,4})?)*$"
MODE_PATTERN = r"^(0o)?[0-7]{1,5}$"

PLACES = 9  # decimals that are read and kept: 1.1h is no 3960.0000000000005 seconds

MAX_SIZE = 2**63 - 1  # loff_t: no file and no cgroup limit counts further
MAX_TEXT = 4096  # a list of all the CPUs that one host has is shorter
MAX_SECONDS = 10**9
MAX_CPU = 8191  # NR_CPUS is at most 8192 on the architectures that Debian builds

_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def parse_size(value: object) -> int:
    """Read bytes: `64MiB` and `64M` count by 1024, `64MB` by 1000, a bare number is bytes."""
    text = _number_text(value)
    match = re.fullmatch(r"([0-9]{1,19})(?:\.([0-9]{1,9}))?([kmgt]?)(i?b)?", text.lower())
    if match is None or (match[4] == "ib" and not match[3]):
        raise Refusal(f"expected a size such as 64MiB, got {shown(value)}")
    whole, fraction, prefix, suffix = match[1], match[2] or "", match[3], match[4]
    unit = (1000 if suffix == "b" else 1024) ** _POWERS[prefix]
    size: int = int(whole + fraction) * unit // 10 ** len(fraction)
    if size > MAX_SIZE:
        raise Refusal(f"expected a size below 8 EiB, got {shown(value)}")
    return size


def parse_positive_size(value: object) -> int:
    """Read bytes, at least one."""
    size = parse_size(value)
    if size == 0:
        raise Refusal(f"expected a size above 0, got {shown(value)}")
    return size


def parse_duration(value: object) -> float:
    """Read seconds: `30s`, `5m`, `1h30m`, `500ms`, or a bare number."""
    text = _number_text(value)
    if re.fullmatch(NUMBER_PATTERN, text):
        seconds = float(text)
    elif re.fullmatch(DURATION_PATTERN, text):
        parts = re.findall(r"([0-9.]+)(ms|[dhms])", text)
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    else:
        raise Refusal(f"expected a duration such as 30s, 5m or 1h30m, got {shown(value)}")
    if not 0 < round(seconds, PLACES) <= MAX_SECONDS:
        raise Refusal(f"expected a duration above 0 and at most {MAX_SECONDS} s, got {shown(value)}")
    return round(seconds, PLACES)


def written_duration(seconds: float) -> str:
    """Write seconds as parse_duration reads them."""
    return f"{written_number(seconds)}s"


def parse_cpus(value: object) -> float:
    """Read a number of CPUs: `1.5`, or `50%` of one."""
    text = _number_text(value)
    if not re.fullmatch(CPUS_PATTERN, text):
        raise Refusal(f"expected a number of CPUs such as 1.5 or 50%, got {shown(value)}")
    cpus = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    if not 0 < round(cpus, PLACES) <= MAX_CPU + 1:
        raise Refusal(f"expected more than 0 and at most {MAX_CPU + 1} CPUs, got {shown(value)}")
    return round(cpus, PLACES)


def written_number(value: float) -> str:
    """Write a number without an exponent, which no unit goes with."""
    return f"{value:.{PLACES}f}".rstrip("0").rstrip(".")


def parse_cpuset(value: object) -> str:
    """Check a list of CPUs as cpuset(7) writes it, such as `0-1,3`."""
    text = _number_text(value)
    if not re.fullmatch(CPUSET_PATTERN, text):
        raise Refusal(f"expected a list of CPUs such as 0-1,3, got {shown(value)}")
    for part in text.split(","):
        first, _, last = part.partition("-")
        if int(last or first) < int(first):
            raise Refusal(f"the range {part} runs backwards")
        if int(last or first) > MAX_CPU:
            raise Refusal(f"CPU {last or first} is above {MAX_CPU}, the highest that the kernel can have")
    return text


def parse_mode(value: object) -> int:
    """Read an octal file mode: `0644`, `"644"` or `0o644`; a bare 644 is octal too, as in chmod(1)."""
    text = _number_text(value)
    if not re.fullmatch(MODE_PATTERN, text):
        raise Refusal(f"expected an octal mode such as 0644, got {shown(value)}")
    mode = int(text.removeprefix("0o"), 8)
    if mode & 0o6000:
        raise Refusal("setuid and setgid bits are not set by a mode; list the path under `keep-privileges`")
    if mode > 0o1777:
        raise Refusal(f"expected a mode of at most 1777, got {shown(value)}")
    if mode & 0o002 and not mode & 0o1000:
        raise Refusal(f"mode {mode:04o} lets every user write; only a sticky directory (1777) may do that")
    return mode


def _number_text(value: object) -> str:
    """Give a scalar as its text; what is no scalar becomes text that no pattern takes."""
    if isinstance(value, str):
        return value if len(value) <= MAX_TEXT else ""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    # repr gives a float the shortest decimal form, and an exponent only where no unit makes sense.
    return repr(value) if isinstance(value, float) else ""
