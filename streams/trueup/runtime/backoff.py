"""How long is waited before something that failed is tried again: longer and longer, up to a limit."""

from __future__ import annotations

import math
from typing import Final

_FIRST_S: Final = 0.5
_DOUBLINGS_MAX: Final = 10  # every limit is reached by then, and a power of two that no float holds never is


def backoff_s(failures: int, longest_s: float, first_s: float = _FIRST_S) -> float:
    """Seconds to wait after so many failures in a row, 1 or more."""
    return min(longest_s, math.ldexp(first_s, min(failures - 1, _DOUBLINGS_MAX)))
