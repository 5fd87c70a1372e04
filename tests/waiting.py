"""Waiting for something to become true, or watching that it stays so: the only place in the tests that sleeps.

A sleep of a fixed length is too short on a slow machine and too long on a fast one; tests/rules refuses it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

FIRST_PAUSE_S = 0.01
"""Short, since most things are true at once or very soon."""

PAUSE_MAX_S = 0.5
"""Arbitrary: a test ends at most this much later than it could."""


class NeverBecameTrueError(AssertionError):
    """The deadline passed. What was awaited stands in the message, and what was last seen."""


def eventually(check: Callable[[], T], *, within_s: float, what: str) -> T:
    """Call `check` until it returns something true, and return that.

    An AssertionError in `check` means "not yet"; any other exception is raised at once.
    """
    deadline = time.monotonic() + within_s
    pause_s = FIRST_PAUSE_S
    while True:
        refusal: AssertionError | None = None
        seen: T | None = None
        try:
            seen = check()
        except AssertionError as error:
            refusal = error
        if refusal is None and seen:
            return seen
        remaining_s = deadline - time.monotonic()
        if remaining_s <= 0:
            last = refusal if refusal is not None else repr(seen)
            raise NeverBecameTrueError(f"not within {within_s} s: {what}; last seen: {last}") from refusal
        time.sleep(min(pause_s, remaining_s))
        pause_s = min(pause_s * 2, PAUSE_MAX_S)


async def becomes(look: Callable[[], Awaitable[object]], expected: object, *, within_s: float = 10.0) -> None:
    """Wait until what `look` sees equals what is expected."""
    deadline = time.monotonic() + within_s
    while (seen := await look()) != expected:
        if time.monotonic() > deadline:
            raise NeverBecameTrueError(f"not within {within_s} s: {expected!r}; last seen: {seen!r}")
        await asyncio.sleep(FIRST_PAUSE_S)


def always(check: Callable[[], object], *, for_s: float, every_s: float) -> int:
    """Call `check`, which asserts, again and again for so long; return how often it held."""
    end = time.monotonic() + for_s
    held = 0
    while time.monotonic() < end:
        check()
        held += 1
        time.sleep(min(every_s, max(0.0, end - time.monotonic())))
    return held
