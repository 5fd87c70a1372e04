"""What the writers know of every write: ok, fail or info, as Jepsen records them. Pure; `writers` fills it.

A write is (key, number, digest of the value): the number is drawn from the source's sequence while the key is locked,
so it rises along the commits of a key, and belongs to one write only. A delete is a write without a digest.
"""

import enum
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable

import msgspec


class Ending(enum.StrEnum):
    """How a transaction ended, as far as its writer can know."""

    OK = "ok"
    FAIL = "fail"
    INFO = "info"  # the connection was lost at COMMIT: nobody told


class Write(msgspec.Struct, frozen=True):
    """One change of one key. `digest` is None for a delete."""

    key: int
    number: int
    digest: str | None


class History:
    """All writes of one key, in no order, and what they say of it."""

    def __init__(self) -> None:
        self.writes: list[tuple[Write, Ending]] = []

    def candidates(self) -> list[Write]:
        """The writes that may be the key's last: the newest one known to be committed, and unknown ones after it."""
        newest = max((w.number for w, e in self.writes if e is Ending.OK), default=0)
        return [
            write
            for write, ending in self.writes
            if (ending is Ending.OK and write.number == newest) or (ending is Ending.INFO and write.number > newest)
        ]


class Ledger:
    """Every write to one table. Writers of several threads may add at once."""

    def __init__(self) -> None:
        self.endings: Counter[Ending] = Counter()
        self._by_number: dict[int, tuple[Write, Ending]] = {}
        self._by_key: dict[int, History] = defaultdict(History)
        self._lock = threading.Lock()

    def record(self, writes: Iterable[Write], ending: Ending) -> None:
        """Book the writes of one transaction."""
        with self._lock:
            self.endings[ending] += 1
            for write in writes:
                self._by_number[write.number] = (write, ending)
                self._by_key[write.key].writes.append((write, ending))

    def write(self, number: int) -> tuple[Write, Ending] | None:
        """The write that drew a number; None when nobody did."""
        with self._lock:
            return self._by_number.get(number)

    def histories(self) -> dict[int, History]:
        """By key."""
        with self._lock:
            return dict(self._by_key)
