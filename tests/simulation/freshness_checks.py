"""What a watermark promises, looked at from both ends: the markers in the truth topic, and what readers of a copy see.

A stale read under a promise of freshness is what is looked for: a copy that says it is as of a beat and lacks a change
that the shop committed before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tests.simulation import tables
from tests.simulation.database import Database, Mark
from tests.simulation.heartbeats import BeatName
from tests.simulation.log import SimulatedLog, Stored, Transaction
from tests.simulation.source import Shop
from trueup.core.watermark import is_marker, watermark_of
from trueup.model.event import LogRecord

AsOf = Callable[[Sequence[Mark | None]], Mark | None]


def oldest(marks: Sequence[Mark | None]) -> Mark | None:
    """What a table is as of, given its partitions: as the view `trueup.freshness` says it."""
    known = [mark for mark in marks if mark is not None]
    if len(known) < len(marks):
        return None
    return min(known) if len({(mark.epoch, mark.truncated) for mark in known}) == 1 else None


class MarkerChecks:
    """Over the log.

    :ivar due: filled by who captures: by beat, where each capture partition ended when the beat was committed.
    """

    def __init__(self, log: SimulatedLog) -> None:
        self.log, self.world = log, log.world
        self.due: dict[BeatName, dict[int, int]] = {}
        self._committed: dict[int, int] = {}
        self._marked: dict[int, BeatName] = {}

    def decided(self, transaction: Transaction) -> None:
        """A marker lies behind everything that it speaks of, and markers of a partition rise."""
        for _, (_, number), offset, _ in transaction.offsets:
            self._committed[number] = offset
        for partition, first in transaction.first_offsets.items():
            if partition.topic != tables.ORDERS.truth_topic:
                continue
            for offset, (record, writer) in zip(partition.offsets, partition.entries, strict=True):
                if offset >= first and writer is transaction and record is not None and record.value is None:
                    self._marks(partition.number, record)

    def _marks(self, number: int, record: Stored) -> None:
        name = beat_of(record)
        if name is None or name not in self.due:
            self.world.finding(f"marker at offset {record.offset} of truth {number} names no beat of the shop")
            return
        decided, due = self._committed.get(number, 0), self.due[name][number]
        if decided < due:
            self.world.finding(f"truth {number} is marked with beat {name} at {decided} decided of {due}")
        if name <= self._marked.get(number, (0, 0)):
            self.world.finding(f"truth {number} is marked with beat {name} after {self._marked[number]}")
        self._marked[number] = name

    def offsets_deleted(self) -> None:
        """With the offsets, the memory of the last mark is gone."""
        self._committed.clear()
        self._marked.clear()


def beat_of(record: Stored) -> BeatName | None:
    """The beat that a marker names; None for what is no marker."""
    known = LogRecord(*(getattr(record, field) for field in record.__struct_fields__))
    watermark = watermark_of(known) if is_marker(known) else None
    return None if watermark is None else (watermark.beat.epoch, watermark.beat.position.change)


class ReaderChecks:
    """Over one replica: a reader takes rows and freshness from one snapshot.

    :param as_of: of a table, given its partitions; a planted bug says it wrongly.
    """

    def __init__(self, shop: Shop, database: Database, as_of: AsOf) -> None:
        self._shop, self._database, self._as_of = shop, database, as_of

    def as_of(self) -> Mark | None:
        """What the copy says it is as of now."""
        rows = [
            self._database.tables.progress.get((tables.ORDERS.truth_topic, number))
            for number in range(tables.PARTITIONS)
        ]
        return self._as_of([None if row is None or row.next_offset is None else row.mark for row in rows])

    def look(self) -> None:
        """Every key shows what it was at the beat, or something later; a row that the replica refuses is held aside."""
        mark = self.as_of()
        if mark is None:
            return
        replica = self._database.plan.replica
        for order_id, begin in self._shop.accepted_by[mark[:2]].items():
            history = self._shop.history[order_id][begin:]
            shown = [None if row is None else tables.shown_by(replica, row) for row in history]
            if any(row is not None and tables.refused_by(replica, row) for row in shown):
                continue
            held = self._database.tables.rows.get(tables.key_of(order_id))
            values = None if held is None else held.values
            if values not in shown:
                self._database.world.finding(
                    f"{replica} is as of beat {mark} and shows {values} for {order_id}, the shop had {shown}"
                )
