"""What the demo promises, and whether it held. A promise that was never looked at has not held."""

from __future__ import annotations

import msgspec


class Check(msgspec.Struct, frozen=True):
    """One promise.

    :param seen: what was read back, for people.
    """

    claim: str
    held: bool
    seen: str


class Checks:
    """All promises looked at so far."""

    def __init__(self) -> None:
        self.results: list[Check] = []

    def add(self, claim: str, held: bool, seen: str) -> bool:
        """Write down one result, and return it."""
        self.results.append(Check(claim, held, seen))
        return held

    @property
    def failed(self) -> list[Check]:
        """Return what did not hold."""
        return [check for check in self.results if not check.held]
