"""The source and its capture: transactions of a shop, as Debezium on Connect writes them.

What is a change of the shop's carries its effect, for the model (`tests.simulation.desk`). Everything else that lies in
the topic (repetitions, foreign and broken records) must leave no trace in a copy.
"""

from __future__ import annotations

import random
from typing import NamedTuple

from tests.simulation.heartbeats import BeatName, beat_record
from tests.simulation.log import Offered
from tests.simulation.tables import (
    AMOUNT_UNDECIDED_ABOVE,
    HEARTBEATS,
    HOLE,
    ORDERS,
    PARTITIONS,
    UNKNOWN_ID,
    Row,
    envelope,
    key_of,
)
from trueup.core.decode import EPOCH_HEADER
from trueup.model.event import Position

TIME_US = 1_767_607_200_000_000
_AMOUNTS: tuple[int, ...] = (
    1,
    2,
    3,
    950,
    -1,
    6_000,
)  # 950 is refused by one replica, -1 by the table's check, 6,000 is for people
SUFFIX_MAX = 4


class Effect(NamedTuple):
    """What the shop has of a key since a change; None: deleted."""

    order_id: int
    row: Row | None
    epoch: int


class Emptied(NamedTuple):
    """The shop has no key any more.

    :param position: of the truncate, in the log of the source.
    """

    epoch: int
    position: Position


class Captured(NamedTuple):
    """A record for one partition of a topic.

    :param emptied: of a truncate: it concerns all partitions, at its place in the log of the source.
    """

    partition: int
    record: Offered
    effect: Effect | None = None
    topic: str = ORDERS.capture_topic
    emptied: Emptied | None = None


class Write(NamedTuple):
    """What Connect writes as one transaction of its own.

    :param aborted_first: a first attempt is written, aborted, and done again.
    :param beat: the heartbeat among the records.
    """

    records: list[Captured]
    aborted_first: bool
    beat: BeatName | None = None


class Shop:
    """Makes the capture of one run.

    :ivar history: of each key, what copies may show, one after the other; what is refused is not among it.
    :ivar accepted_by: by beat, for each key, the place in its history that was reached when the beat was committed. A
        row that people decide about reaches nothing: until they do, copies show what was before.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.rows: dict[int, Row] = {}
        self._may_be_held: set[int] = set()
        self.history: dict[int, list[Row | None]] = {}
        self.accepted_by: dict[BeatName, dict[int, int]] = {}
        self._reached: dict[int, int] = {}
        self._epoch = 1
        self._commit = 1_000  # the LSN of the latest commit
        self._commits = 0
        self._streamed: list[list[Offered]] = [[] for _ in range(PARTITIONS)]  # of this epoch, repeatable
        self._over: list[list[Offered]] = [[] for _ in range(PARTITIONS)]  # of the epoch before
        self._keys = range(1, rng.randint(3, 7))
        chance = rng.random()  # of what happens in this run: truncates, rows that people decide about, or both
        self._truncates, self.asks_people = chance < 0.7, chance >= 0.4
        self._truncated = False

    def capture(self) -> list[Write]:
        """A snapshot, then a stream with everything that may happen in one."""
        rng = self._rng
        for order_id in self._keys:
            if rng.random() < 0.4:
                self.rows[order_id] = self._new_row(order_id)
        writes = [self._written(self._snapshot(list(self.rows)))]
        happenings = (
            *(self._transaction, self._repeated, self._incremental_snapshot),
            *(self._foreign, self._resync, self._truncate),
        )
        for _ in range(rng.randint(8, 18)):
            happening = rng.choices(happenings, (74, 9, 6, 8, 3, 9 if self._truncates else 0))[0]
            writes.append(self._written(happening()))
        return [write for write in writes if write.records]

    def beat(self) -> Write:
        """A heartbeat alone."""
        return self._with_beat(Write([], aborted_first=False))

    def _written(self, records: list[Captured]) -> Write:
        write = Write(records, aborted_first=self._rng.random() < 0.12)
        return self._with_beat(write) if self._rng.random() < 0.5 else write

    def _with_beat(self, write: Write) -> Write:
        """A heartbeat committed behind these changes; where among them it lies in Kafka is nobody's promise."""
        position = (self._commit, self._commit + 1)
        self._commit += 5
        name = (self._epoch, position[1])
        self.accepted_by[name] = dict(self._reached)
        record = beat_record(self._epoch, position, TIME_US + self._commits * 1_000, len(self.accepted_by))
        place = self._rng.choice((0, len(write.records)))
        records = list(write.records)
        records.insert(place, Captured(0, record, topic=HEARTBEATS))
        return write._replace(records=records, beat=name)

    # --- what the shop does ---

    def _transaction(self) -> list[Captured]:
        """LSNs of a transaction's changes may lie before those of an earlier commit: transactions overlap."""
        first_change = self._commit - self._rng.randint(0, 30)
        records = []
        for number in range(self._rng.choice((1, 1, 2, 3, 5))):
            position = (self._commit, first_change + number)
            order_id = self._rng.choice(self._keys)
            records += self._change(order_id, position)
        self._commit += self._rng.randint(40, 80)
        self._commits += 1
        return records

    def _truncate(self) -> list[Captured]:
        """In a transaction of its own or amid changes; one record, without a key, in some partition. A chunk of an
        incremental snapshot may have been read before and be sent afterwards: nobody takes its rows out."""
        rng, lsn = self._rng, self._commit
        records = []
        for number in range(rng.choice((0, 0, 1, 2))):
            records += self._change(rng.choice(self._keys), (self._commit, lsn + number))
        read_before = [row for row in self.rows.values() if rng.random() < 0.3]
        position = (self._commit, lsn + 10)
        self.rows.clear()
        partition = rng.randrange(PARTITIONS)
        value = envelope("t", None, None, position, TIME_US + self._commits * 1_000)
        header = (EPOCH_HEADER, b"%d" % self._epoch)
        for order_id in self._keys:
            self.history.setdefault(order_id, []).append(None)
            self._reached[order_id] = len(self.history[order_id]) - 1
        emptied = Emptied(self._epoch, Position(*position))
        truncate = Captured(partition, Offered(None, value, (header,)), emptied=emptied)
        self._streamed[partition].append(truncate.record)
        self._truncated = True
        records.append(truncate)
        later = list[Captured]()
        for number in range(rng.choice((0, 1, 2, 4))):
            later += self._change(rng.choice(self._keys), (self._commit, lsn + 20 + number))
        touched = {captured.effect.order_id for captured in later if captured.effect is not None}
        records += later
        sent_at = (self._commit, lsn + 35)
        for row in read_before if rng.random() < 0.5 else ():
            if row[0] not in touched:
                value = envelope("r", row, None, sent_at, TIME_US + self._commits * 1_000)
                records.append(Captured(_partition_of(row[0]), Offered(key_of(row[0]), value, (header,))))
        self._commit += rng.randint(40, 80)
        self._commits += 1
        return records

    def _change(self, order_id: int, position: tuple[int, int]) -> list[Captured]:
        rng, before = self._rng, self.rows.get(order_id)
        if before is None:
            return [self._streams("c", self._new_row(order_id), None, position)]
        what = rng.choices(("update", "same", "delete", "move"), (60, 8, 22, 10))[0]
        if what == "update":
            return [self._streams("u", self._new_row(order_id), before, position)]
        if what == "same":
            return [self._streams("u", before, before, position)]
        records = [self._streams("d", None, before, position)]
        if rng.random() < 0.5:
            records.append(Captured(_partition_of(order_id), Offered(key_of(order_id), None)))
        if what == "move":  # a change of the key: the old row goes, the new one comes, at one position
            target = rng.choice(self._keys)
            if target != order_id and target not in self.rows:
                records.append(self._streams("c", (target, *before[1:]), None, position))
        return records

    def _new_row(self, order_id: int) -> Row:
        amounts = _AMOUNTS if self.asks_people else _AMOUNTS[:-1]
        if self.asks_people and self._truncates:  # else hardly anybody decides just between a truncate and its control
            amounts += _AMOUNTS[-1:] * 4
        return (order_id, self._rng.choice(amounts), self._rng.choice("ab"))

    def _streams(self, op: str, row: Row | None, before: Row | None, position: tuple[int, int]) -> Captured:
        image = row or before
        assert image is not None
        captured = self._record(op, image[0], row, before, position)
        self._streamed[captured.partition].append(captured.record)
        return captured

    def _record(
        self, op: str, order_id: int, row: Row | None, before: Row | None, position: tuple[int, int]
    ) -> Captured:
        if row is None:
            self.rows.pop(order_id, None)
            self._may_be_held.discard(order_id)
        else:
            self.rows[order_id] = row
            self._may_be_held.add(order_id)
        if row is None or row[1] >= 0:
            self.history.setdefault(order_id, []).append(row)
            if row is None or row[1] <= AMOUNT_UNDECIDED_ABOVE:
                self._reached[order_id] = len(self.history[order_id]) - 1
        value = envelope(op, row, before, position, TIME_US + self._commits * 1_000)
        header = (EPOCH_HEADER, b"%d" % self._epoch)
        effect = Effect(order_id, row, self._epoch)
        return Captured(_partition_of(order_id), Offered(key_of(order_id), value, (header,)), effect)

    # --- what the capture does ---

    def _snapshot(self, order_ids: list[int]) -> list[Captured]:
        position = (self._commit, self._commit)
        return [self._record("r", order_id, self.rows[order_id], None, position) for order_id in order_ids]

    def _incremental_snapshot(self) -> list[Captured]:
        """Of some keys, as they are now: Debezium's watermarks fit the rows in."""
        return self._snapshot([order_id for order_id in self.rows if self._rng.random() < 0.6])

    def _repeated(self) -> list[Captured]:
        """A capture without exactly-once writes a suffix again; now and then something older, or of an older epoch."""
        rng, partition = self._rng, self._rng.randrange(PARTITIONS)
        streamed = self._streamed[partition]
        if self._over[partition] and rng.random() < 0.3:
            streamed = self._over[partition]
        length = rng.randint(1, SUFFIX_MAX)
        if self._truncated:  # a record alone, out of its order, is no repetition of a log
            return [Captured(partition, record) for record in streamed[-length:]]
        again = streamed[-length:] if rng.random() < 0.7 else rng.sample(streamed, min(length, len(streamed)))
        return [Captured(partition, record) for record in again]

    def _foreign(self) -> list[Captured]:
        """What does not belong into the topic, or is broken."""
        rng, partition = self._rng, self._rng.randrange(PARTITIONS)
        order_id = next((n for n in self._keys if _partition_of(n) == partition), 1)
        record = rng.choice(broken_records(order_id, ((EPOCH_HEADER, b"%d" % self._epoch),), "shop"))
        return [Captured(_partition_of(order_id), record)]

    def _resync(self) -> list[Captured]:
        """A new epoch: a gap of which nothing was captured, a log that may begin anew, a snapshot and its sweep."""
        for order_id in self._keys:
            if self._rng.random() < 0.3:
                self.rows.pop(order_id, None)
            elif self._rng.random() < 0.3:
                self.rows[order_id] = self._new_row(order_id)
        if self._truncated:
            # A refused or undecided row of the new snapshot is there, so what was held of its key stays, even if that
            # was before a truncate whose epoch is over: the model does not follow that far.
            self.rows = {
                order_id: (order_id, min(abs(row[1]), AMOUNT_UNDECIDED_ABOVE), row[2])
                for order_id, row in self.rows.items()
            }
        self._epoch += 1
        self._commit = self._rng.choice((1_000, self._commit + 500))
        self._commits += 1
        self._over, self._streamed = self._streamed, [[] for _ in range(PARTITIONS)]
        records = self._snapshot(list(self.rows))
        position = (self._commit, self._commit)
        for order_id in sorted(self._may_be_held - self.rows.keys()):
            records.append(self._streams("d", None, (order_id, 0, ""), position))
        self._commit += 50
        return records


def broken_records(order_id: int, header: tuple[tuple[str, bytes], ...], system: str) -> tuple[Offered, ...]:
    """What does not belong into a capture topic, or cannot be used.

    :param header: says the epoch.
    """
    key, position = key_of(order_id), (10**9, 10**9)
    row: Row = (order_id, 666, "foreign")
    whole = envelope("u", row, row, position, TIME_US, system=system)
    return (
        Offered(key, envelope("u", row, row, position, TIME_US, system="evil"), header),
        Offered(key, envelope("u", (order_id, 666, HOLE), row, position, TIME_US, system=system), header),
        Offered(key, whole, ()),  # no epoch
        Offered(None, whole, header),
        Offered(b"no json", whole, header),
        Offered(key, whole[:-3], header),
        Offered(key, b"\x00" + UNKNOWN_ID.to_bytes(4, "big") + whole[5:], header),
        Offered(key, b"junk", header),
        Offered(key, envelope("m", None, None, position, TIME_US, system=system), header),
        Offered(key, None),
    )


def _partition_of(order_id: int) -> int:
    return order_id % PARTITIONS
