"""What writers committed and what readers of a copy were told, compared afterwards. Pure.

`tests.freshness_load` fills it.

A write is (key, n, position after its commit): numbers of a key rise. A reading is one snapshot of a copy: what it says
it is as of, and the number of each key. What was committed at or below `as_of_position` must be there, with at least
its number.
"""

import bisect
import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping

import msgspec


class Reading(msgspec.Struct, frozen=True):
    """One snapshot. `as_of_position` is None where the copy did not say as of when it is."""

    as_of_position: int | None
    numbers: Mapping[int, int]


class PositionLedger:
    """Acknowledged writes. Several threads may add at once; one thread writes a key."""

    def __init__(self) -> None:
        self._writes: dict[int, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
        self._lock = threading.Lock()

    def add(self, key: int, number: int, position: int) -> None:
        """A write was acknowledged; the source's log had reached `position` then."""
        with self._lock:
            positions, numbers = self._writes[key]
            positions.append(position)
            numbers.append(number)

    def count(self) -> int:
        with self._lock:
            return sum(len(numbers) for _, numbers in self._writes.values())

    def missing(self, reading: Reading) -> list[str]:
        """What a reading promises and does not show."""
        if reading.as_of_position is None:
            return []
        found = []
        with self._lock:
            for key, (positions, numbers) in self._writes.items():
                covered = bisect.bisect_right(positions, reading.as_of_position)
                if covered and reading.numbers.get(key, -1) < numbers[covered - 1]:
                    found.append(
                        f"as of {reading.as_of_position}: key {key} is at {reading.numbers.get(key)},"
                        f" and {numbers[covered - 1]} was committed at {positions[covered - 1]}"
                    )
        return found


def findings(ledger: PositionLedger, readings: Iterable[Reading]) -> list[str]:
    """Everything that is missing from some readings."""
    return [finding for reading in readings for finding in ledger.missing(reading)]
