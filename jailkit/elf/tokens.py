"""Dynamic string tokens: $ORIGIN, $LIB and $PLATFORM (ld.so(8), "Dynamic string tokens")."""

from __future__ import annotations

import re
from typing import Final

# A name ends where no further letter could belong to it, so that $LIBRARY holds no token.
_TOKEN: Final = re.compile(r"\$(?:(ORIGIN|PLATFORM|LIB)(?![A-Za-z0-9_])|\{(ORIGIN|PLATFORM|LIB)\})")


def expand(text: str, origin: str, lib: str, platform: str | None) -> str:
    """Replace the tokens in one path. Empty when it holds a token that has no value here: ld.so drops such a path."""
    if "$" not in text:
        return text
    values = {"ORIGIN": origin, "LIB": lib, "PLATFORM": platform}
    names = [match[1] or match[2] for match in _TOKEN.finditer(text)]
    if any(values[name] is None for name in names):
        return ""
    return _TOKEN.sub(lambda match: values[match[1] or match[2]] or "", text)
