"""Two systems that write the same rows; each is captured by a connector of its own, into one topic.

Each has rows of its own and knows of the other's only what a copy brought it, when a copy brought it: what it does in
between it does without knowing. What a copy brings is not captured (origin=none), so it is no record.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from tests.simulation.log import Offered
from tests.simulation.source import SUFFIX_MAX, TIME_US, Captured, Write, broken_records
from tests.simulation.tables import PARTITIONS, WRITERS, Row, envelope, key_of
from trueup.core.decode import EPOCH_HEADER
from trueup.model.registration import Table

_VERSION_MAX = 6  # few, so that two writers come to the same now and then


class Known(NamedTuple):
    """What a copy at a writer can know of a run.

    :param accepted: what is published of a key now; None for no row.
    :param decided: the offset of a capture partition up to which all is decided.
    """

    accepted: Callable[[int], Row | None]
    decided: Callable[[int], int]


class _Writer:
    """One system and its connector.

    :ivar own: by key, the latest record of a change made here; `at` has its offset once it is in the log.
    :ivar streamed: by partition, what a connector without exactly-once may write again; `over`: of the epoch before.
    """

    def __init__(self, name: str, topic: str) -> None:
        self.name, self.topic = name, topic
        self.rows: dict[int, Row] = {}
        self.epoch = 1
        self.commit = 1_000
        self.own: dict[int, Offered] = {}
        self.at: dict[int, int] = {}
        self.streamed: list[list[Offered]] = [[] for _ in range(PARTITIONS)]
        self.over: list[list[Offered]] = [[] for _ in range(PARTITIONS)]

    def captured(self, order_id: int, record: Offered) -> Captured:
        return Captured(order_id % PARTITIONS, record, topic=self.topic)

    def record(self, op: str, row: Row | None, before: Row | None, position: tuple[int, int]) -> Captured:
        image = row or before
        assert image is not None
        order_id = image[0]
        value = envelope(op, row, before, position, TIME_US + self.commit, system=self.name)
        record = Offered(key_of(order_id), value, ((EPOCH_HEADER, b"%d" % self.epoch),))
        if op != "r":
            self.streamed[order_id % PARTITIONS].append(record)
        self.own[order_id] = record
        self.at.pop(order_id, None)
        return self.captured(order_id, record)


class Writers:
    """Makes the captures of one run."""

    def __init__(self, rng: random.Random, table: Table, known: Known) -> None:
        self._rng, self._known = rng, known
        self._writers = [_Writer(name, table.capture_topic) for name in WRITERS]
        self._keys = range(1, rng.randint(3, 7))
        self._hears = rng.choice((0.2, 0.6, 0.9))  # how often a copy was here before a change
        for order_id in self._keys:
            for writer in self._writers:
                if rng.random() < 0.4:
                    writer.rows[order_id] = self._new_row(order_id)

    def captures(self) -> dict[str, Iterator[Write]]:
        """By connector. Each is made when its turn comes."""
        return {f"connect-{writer.name}": self._capture(writer) for writer in self._writers}

    def appended(self, written: Sequence[tuple[Captured, int]]) -> None:
        """Where records came to lie in the topic."""
        for captured, offset in written:
            for writer in self._writers:
                writer.at |= {order_id: offset for order_id, own in writer.own.items() if own is captured.record}

    def _capture(self, writer: _Writer) -> Iterator[Write]:
        """A snapshot, then a stream with everything that may happen in one."""
        rng = self._rng
        yield self._written(self._snapshot(writer, list(writer.rows)))
        happenings = (self._transaction, self._repeated, self._incremental_snapshot, self._foreign, self._resync)
        for _ in range(rng.randint(4, 11)):
            yield self._written(rng.choices(happenings, (72, 8, 6, 8, 6))[0](writer))

    def _written(self, records: list[Captured]) -> Write:
        return Write(records, aborted_first=self._rng.random() < 0.12)

    def _new_row(self, order_id: int) -> Row:
        return (order_id, self._rng.randint(1, _VERSION_MAX), self._rng.choice("abc"))

    def _transaction(self, writer: _Writer) -> list[Captured]:
        records = []
        for number in range(self._rng.choice((1, 1, 2, 3))):
            order_id = self._rng.choice(self._keys)
            if self._rng.random() < self._hears:
                self._hear(writer, order_id)
            records += self._change(writer, order_id, (writer.commit, writer.commit - 10 + number))
        writer.commit += self._rng.randint(40, 80)
        return records

    def _hear(self, writer: _Writer, order_id: int) -> None:
        """A copy writes the truth over a row, unless the row was changed here since and nobody decided about that."""
        if order_id in writer.own:
            offset = writer.at.get(order_id)
            if offset is None or offset >= self._known.decided(order_id % PARTITIONS):
                return
        row = self._known.accepted(order_id)
        if row is None:
            writer.rows.pop(order_id, None)
        else:
            writer.rows[order_id] = row

    def _change(self, writer: _Writer, order_id: int, position: tuple[int, int]) -> list[Captured]:
        before = writer.rows.get(order_id)
        if before is None:
            row = writer.rows[order_id] = self._new_row(order_id)
            return [writer.record("c", row, None, position)]
        if self._rng.random() < 0.2:
            del writer.rows[order_id]
            return [writer.record("d", None, before, position)]
        version = before[1] + self._rng.choice((0, 1, 1, 1, 2))
        row = writer.rows[order_id] = (order_id, version, self._rng.choice("abc"))
        return [writer.record("u", row, before, position)]

    def _snapshot(self, writer: _Writer, order_ids: list[int]) -> list[Captured]:
        position = (writer.commit, writer.commit)
        return [writer.record("r", writer.rows[order_id], None, position) for order_id in order_ids]

    def _incremental_snapshot(self, writer: _Writer) -> list[Captured]:
        return self._snapshot(writer, [order_id for order_id in writer.rows if self._rng.random() < 0.6])

    def _repeated(self, writer: _Writer) -> list[Captured]:
        """A suffix again, now and then of an older epoch."""
        partition = self._rng.randrange(PARTITIONS)
        streamed = writer.streamed[partition]
        if writer.over[partition] and self._rng.random() < 0.3:
            streamed = writer.over[partition]
        length = self._rng.randint(1, SUFFIX_MAX)
        return [writer.captured(partition, record) for record in streamed[-length:]]

    def _foreign(self, writer: _Writer) -> list[Captured]:
        """What does not belong into the topic, or is broken; the truncate of one says nothing of the other's rows."""
        order_id, header = self._rng.choice(self._keys), ((EPOCH_HEADER, b"%d" % writer.epoch),)
        truncate = envelope("t", None, None, (10**9, 10**9), TIME_US, system=writer.name)
        broken = (*broken_records(order_id, header, writer.name), Offered(None, truncate, header))
        return [writer.captured(order_id, self._rng.choice(broken))]

    def _resync(self, writer: _Writer) -> list[Captured]:
        """A new epoch of one system: its log may begin anew, and its rows are read again."""
        writer.epoch = max(other.epoch for other in self._writers) + 1
        writer.commit = self._rng.choice((1_000, writer.commit + 500))
        writer.over, writer.streamed = writer.streamed, [[] for _ in range(PARTITIONS)]
        for order_id in self._keys:
            if self._rng.random() < 0.2 and order_id in writer.rows:
                writer.rows[order_id] = self._new_row(order_id)
        records = self._snapshot(writer, list(writer.rows))
        writer.commit += 50
        return records
