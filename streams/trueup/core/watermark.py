"""Watermarks in the decide stage, pure: which heartbeat a partition has passed, and the marker that says so.

A marker is a record of the truth topic without a value, so a reader that does not know it takes it for a tombstone. Its
key is a JSON array and a captured key is a JSON object (`core.validate`), so no row can have it; there is one per
system, so compaction keeps the newest. What it says stands in a header. Who writes it is `runtime.decide_agent`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final, Generic, TypeVar

import msgspec

from trueup.core.ordering import Guard
from trueup.model.event import LogRecord
from trueup.model.watermark import AsOf, Beat, Watermark

MARKER_HEADER: Final = "trueup.watermark"
_KEY_BEGIN: Final = b'["trueup.watermark",'
SignT = TypeVar("SignT")
_WAITING_MAX: Final = 64  # of a partition that is far behind: one beat a second for a minute, coarser beyond that


def marker_key(system: str) -> bytes:
    """The key of a system's markers."""
    return msgspec.json.encode(["trueup.watermark", system])


def is_marker_key(key: bytes | None) -> bool:
    """Whether a key of a truth topic is that of a marker."""
    return key is not None and key.startswith(_KEY_BEGIN)


def is_marker(record: LogRecord) -> bool:
    """Whether a record of a truth topic is a marker, and no truth."""
    return is_marker_key(record.key) and any(name == MARKER_HEADER for name, _ in record.headers)


def marker_headers(watermark: Watermark) -> tuple[tuple[str, bytes], ...]:
    """The headers of a marker."""
    return ((MARKER_HEADER, msgspec.json.encode(watermark)),)


def watermark_of(record: LogRecord) -> Watermark | None:
    """What a marker says. None for one that a later version wrote in another way: a copy is then not known as fresh."""
    try:
        return msgspec.json.decode(dict(record.headers)[MARKER_HEADER], type=Watermark)
    except (msgspec.MsgspecError, KeyError):
        return None


def may_mark(beat: Beat, mark: Beat | None, guard: Guard, unswept: int) -> bool:
    """Whether a partition that has reached the end offset of a beat may be marked with it.

    :param mark: the beat it was marked with last.
    :param guard: knows the newest epoch of the system in the partition; a beat of another epoch says nothing about it.
        One that passed a truncate on has not carried it out before it meets its own control record.
    :param unswept: an epoch that began, and whose sweep is not done: rows that are gone at the source are still there.
    """
    if unswept or guard.passed_on > guard.floor:
        return False
    return guard.epoch in {0, beat.epoch} and beat.is_after(mark)


def speaks_of(filled: str | None, table: str, *, is_marked: bool) -> bool:
    """Whether a beat may become the mark of a table's partitions, as far as the filling of the table goes.

    What has to be said is that a table is filled, not that it is being filled: a worker that was away reads beats of
    the time before the table was registered, too. A beat of an older version says neither; it begins no marks.

    :param filled: the names in the heartbeat row; None where it has no such column.
    :param is_marked: the partition was marked before.
    """
    return is_marked if filled is None else table in filled.split(",")


class Pending(Generic[SignT]):
    """What becomes true of a partition when an offset is reached; oldest first, offsets rise.

    The decide stage keeps beats here, each with the end its capture partition had when the beat was visible. The apply
    stage keeps watermarks, each with the end its truth partition had when the marker was fetched: compaction may have
    removed truths before the marker whose successors lie behind it, but not behind that end (found by the simulation).
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[SignT, int]] = deque()

    def add(self, sign: SignT, end: int) -> None:
        """It is true when everything below `end` is durable."""
        self._waiting.append((sign, end))
        if len(self._waiting) > _WAITING_MAX:
            kept = list(self._waiting)[::2]
            self._waiting = deque(kept if kept[-1][0] is sign else [*kept, (sign, end)])

    def is_due(self, position: int) -> bool:
        """Whether something is true at a position up to which everything is durable."""
        return bool(self._waiting) and self._waiting[0][1] <= position

    def take(self, position: int) -> SignT | None:
        """The newest that is true; it and those before it are forgotten."""
        passed = None
        while self.is_due(position):
            passed, _ = self._waiting.popleft()
        return passed


class Arriving:
    """What a partition of a copy becomes as of, as its markers are met and what lies before them is applied.

    :param systems: those that write the table. Before each of them was heard of nothing is known; of several, the one
        that is known least far speaks. Markers of others are those of a former owner.
    """

    def __init__(self, systems: Iterable[str]) -> None:
        self._met: dict[str, Watermark | None] = dict.fromkeys(systems)
        self._pending: Pending[AsOf] = Pending()

    def meet(self, markers: Sequence[LogRecord], end: int | None) -> None:
        """Markers of a batch, in their order.

        :param end: of the truth partition when they were fetched. Without it nobody knows whether truths before them
            were compacted away, as while a shadow is filled: the next marker comes soon.
        """
        last = None
        for watermark in map(watermark_of, markers):
            if watermark is not None and watermark.beat.system in self._met:
                self._met[watermark.beat.system] = last = watermark
        known = [watermark for watermark in self._met.values() if watermark is not None]
        if last is not None and end is not None and len(known) == len(self._met):
            self._pending.add(_as_of(known, last), end)

    def take(self, position: int) -> AsOf | None:
        """What it is as of when everything below a position is applied; None: nothing new."""
        return self._pending.take(position)


def _as_of(known: Sequence[Watermark], last: Watermark) -> AsOf:
    """Keys are counted in the whole partition, so the marker that was written last knows best."""
    beat = min((watermark.beat for watermark in known), key=lambda beat: beat.time_us)
    is_alone = len(known) == 1
    return AsOf(
        beat.time_us,
        beat.position.change if is_alone else None,
        beat.epoch if is_alone else None,
        last.truncated,
        last.dead_lettered_keys,
        last.held_keys,
    )
