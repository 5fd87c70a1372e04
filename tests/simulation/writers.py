"""Two systems that write the same rows, and their capture into one topic.

Each has rows of its own and knows of the other's only what a copy brought it, when a copy brought it: what it does in
between it does without knowing. What a copy brings is not captured (origin=none), so it is no record.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from tests.simulation.log import Offered
from tests.simulation.source import Captured, Write
from tests.simulation.tables import PARTITIONS, WRITERS, Row, envelope, key_of
from trueup.core.decode import EPOCH_HEADER
from trueup.model.registration import Table

_TIME_US = 1_767_607_200_000_000
_SUFFIX_MAX = 4
_VERSION_MAX = 6  # few, so that two writers come to the same now and then


class _Writer:
    """One system and its connector.

    :ivar streamed: by partition, what a connector without exactly-once may write again.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.rows: dict[int, Row] = {}
        self.epoch = 1
        self.commit = 1_000
        self.streamed: list[list[Offered]] = [[] for _ in range(PARTITIONS)]

    def record(self, op: str, row: Row | None, before: Row | None, position: tuple[int, int]) -> Captured:
        image = row or before
        assert image is not None
        value = envelope(op, row, before, position, _TIME_US + self.commit, system=self.name)
        record = Offered(key_of(image[0]), value, ((EPOCH_HEADER, b"%d" % self.epoch),))
        partition = image[0] % PARTITIONS
        if op != "r":
            self.streamed[partition].append(record)
        return Captured(partition, record)


class Writers:
    """Makes the capture of one run.

    :param accepted: what is published of a key now, as a copy has it: None for no row.
    """

    def __init__(self, rng: random.Random, table: Table, accepted: Callable[[int], Row | None]) -> None:
        self._rng, self._topic, self._accepted = rng, table.capture_topic, accepted
        self._writers = [_Writer(name) for name in WRITERS]
        self._keys = range(1, rng.randint(3, 7))
        self._hears = rng.choice((0.2, 0.6, 0.9))  # how often somebody hears of the other before a change

    def capture(self) -> Iterator[Write]:
        """A snapshot of both, then a stream with everything that may happen in one."""
        rng = self._rng
        for order_id in self._keys:
            for writer in self._writers:
                if rng.random() < 0.4:
                    writer.rows[order_id] = self._new_row(order_id)
        for writer in self._writers:
            yield self._written(self._snapshot(writer, list(writer.rows)))
        for _ in range(rng.randint(8, 20)):
            writer = rng.choice(self._writers)
            happenings = (self._transaction, self._repeated, self._incremental_snapshot, self._foreign, self._resync)
            yield self._written(rng.choices(happenings, (74, 8, 6, 8, 4))[0](writer))

    def _written(self, records: list[Captured]) -> Write:
        records = [captured._replace(topic=self._topic) for captured in records]
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
        row = self._accepted(order_id)
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
        partition = self._rng.randrange(PARTITIONS)
        streamed = writer.streamed[partition][-self._rng.randint(1, _SUFFIX_MAX) :]
        return [Captured(partition, record) for record in streamed]

    def _foreign(self, writer: _Writer) -> list[Captured]:
        """What does not belong into the topic, or is broken."""
        order_id = self._rng.choice(self._keys)
        key, header = key_of(order_id), ((EPOCH_HEADER, b"%d" % writer.epoch),)
        row: Row = (order_id, 666, "foreign")
        whole = envelope("u", row, row, (10**9, 10**9), _TIME_US, system=writer.name)
        record = self._rng.choice(
            (
                Offered(key, envelope("u", row, row, (10**9, 10**9), _TIME_US, system="evil"), header),
                Offered(key, whole, ()),  # no epoch
                Offered(key, whole[:-3], header),
                Offered(key, None),
                # A truncate of one says nothing of the rows of the other.
                Offered(None, envelope("t", None, None, (10**9, 10**9), _TIME_US, system=writer.name), header),
            )
        )
        return [Captured(order_id % PARTITIONS, record)]

    def _resync(self, writer: _Writer) -> list[Captured]:
        """A new epoch of one system: its log may begin anew, and its rows are read again."""
        writer.epoch = max(other.epoch for other in self._writers) + 1
        writer.commit = self._rng.choice((1_000, writer.commit + 500))
        writer.streamed = [[] for _ in range(PARTITIONS)]
        for order_id in self._keys:
            if self._rng.random() < 0.2 and order_id in writer.rows:
                writer.rows[order_id] = self._new_row(order_id)
        records = self._snapshot(writer, list(writer.rows))
        writer.commit += 50
        return records
