"""Waiting for something to become true, with a deadline that says what was awaited."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_PAUSE_S = 0.02  # a look costs a small query; what is awaited takes 100 ms and more


class CannotGoOn(Exception):
    """The demo has to end here. It is reported like any other promise that did not hold: exit code 1."""


class NotInTime(CannotGoOn):
    """The deadline passed."""


def until(look: Callable[[], T | None], *, what: str, within_s: float, pause_s: float = _PAUSE_S) -> T:
    """Look until there is something to see (neither None nor False), and return it."""
    deadline = time.monotonic() + within_s
    while True:
        seen = look()
        if seen is not None and seen is not False:
            return seen
        if time.monotonic() >= deadline:
            raise NotInTime(f"not within {within_s:g} s: {what}")
        time.sleep(pause_s)
