"""Patterns of `matches`: RE2, so that the time a match takes is linear in the text, whatever the pattern is.

Python's own `re` can take exponential time on a pattern that looks harmless, and a worker that hangs on one row holds
up its partition. RE2 has no backreferences and no lookaround; what it cannot do is refused when it is registered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import re2

PATTERN_CHARACTERS_MAX: Final = 1_000  # arbitrary; the longest pattern for e-mail addresses in use has about 400
_MEMORY_BYTES_MAX: Final = 1 << 20  # of a compiled pattern; RE2's default is 8 MiB, and there is one per check
_OPTIONS: Final = re2.Options()
_OPTIONS.max_mem = _MEMORY_BYTES_MAX
_OPTIONS.log_errors = False
_OPTIONS.never_capture = True


def whole_text_matcher(pattern: str) -> Callable[[str], bool]:
    """Whether a text matches as a whole. Raises ValueError, which says why, for a pattern that cannot be kept."""
    if len(pattern) > PATTERN_CHARACTERS_MAX:
        raise ValueError(f"it is longer than {PATTERN_CHARACTERS_MAX} characters")
    try:
        compiled = re2.compile(pattern.encode(), _OPTIONS)
    except re2.error as error:
        said = error.args[0] if error.args else "RE2 cannot read it"
        raise ValueError(said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)) from None
    except UnicodeEncodeError:
        raise ValueError("it holds a character that is none") from None
    fullmatch: Any = compiled.fullmatch
    return lambda text: fullmatch(text.encode()) is not None
