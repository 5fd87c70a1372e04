"""Kafka: partitions with transactions, markers, aborted records and a last stable offset; epochs that fence; offsets.

A commit is decided at once and seen later: markers reach each partition, and the offsets their group, one by one. What
decides, tells `on_decided`; what everybody can see, tells `on_complete`.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import msgspec
from aiokafka import errors as kafka

from tests.simulation.schedule import Process, World

_MARKER_DELAY_S_MAX = 0.05


class Stored(msgspec.Struct, frozen=True, gc=False):
    """A record as aiokafka's consumer gives it."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


class Offered(NamedTuple):
    """A record on its way in."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


class Offset(NamedTuple):
    """What a transaction commits for a group."""

    group: str
    place: tuple[str, int]
    offset: int
    metadata: str


class Transaction:
    """One transaction of a producer, from its first record to its last marker."""

    def __init__(self, producer: str, epoch: int, expires_at: float) -> None:
        self.producer, self.epoch, self.expires_at = producer, epoch, expires_at
        self.state: Literal["open", "committing", "aborting", "committed", "aborted"] = "open"
        self.first_offsets: dict[Partition, int] = {}
        self.offsets: list[Offset] = []
        self.unfinished = 0

    @property
    def is_committed(self) -> bool:
        return self.state in {"committing", "committed"}


class Partition:
    """One partition: data and markers by offset; compaction leaves gaps."""

    def __init__(self, topic: str, number: int) -> None:
        self.topic, self.number = topic, number
        self.offsets: list[int] = []
        self.entries: list[tuple[Stored | None, Transaction]] = []
        self.end = 0
        self.pending: dict[Transaction, int] = {}
        self.compacted = 0  # records with a value that are gone

    def append(self, records: Sequence[Offered], transaction: Transaction) -> int:
        """Returns the offset of the first record."""
        first = self.end
        transaction.first_offsets.setdefault(self, first)
        self.pending.setdefault(transaction, first)
        for key, value, headers in records:
            self._add(Stored(self.topic, self.number, self.end, 0, key, value, headers), transaction)
        return first

    def mark(self, transaction: Transaction) -> None:
        self._add(None, transaction)
        del self.pending[transaction]

    def _add(self, record: Stored | None, transaction: Transaction) -> None:
        self.offsets.append(self.end)
        self.entries.append((record, transaction))
        self.end += 1

    def stable_end(self) -> int:
        """The last stable offset: behind it nothing is undecided."""
        return min(self.pending.values(), default=self.end)

    def read(self, start: int, rows_max: int) -> tuple[list[Stored], int]:
        """Committed records from start, and the position behind them; markers and aborted records are passed over."""
        records: list[Stored] = []
        stable, position = self.stable_end(), start
        for index in range(bisect.bisect_left(self.offsets, start), len(self.offsets)):
            if self.offsets[index] >= stable:
                break
            if len(records) == rows_max:
                return records, position
            record, transaction = self.entries[index]
            position = self.offsets[index] + 1
            if record is not None and transaction.is_committed:
                records.append(record)
        return records, max(start, position if len(records) == rows_max else stable)

    def committed(self, below: int | None = None) -> list[Stored]:
        """Every record that a committed transaction wrote, seen yet or not."""
        return [
            record
            for record, transaction in self.entries
            if record is not None and transaction.is_committed and (below is None or record.offset < below)
        ]

    def compact(self) -> None:
        """Keeps the newest stable record of each key; offsets stay as they are."""
        stable = self.stable_end()
        newest = {
            record.key: offset
            for offset, (record, transaction) in zip(self.offsets, self.entries, strict=True)
            if record is not None and offset < stable and transaction.is_committed
        }
        kept = [
            (offset, entry)
            for offset, entry in zip(self.offsets, self.entries, strict=True)
            if offset >= stable or (entry[0] is not None and newest.get(entry[0].key) == offset)
        ]
        before = self._truths()
        self.offsets = [offset for offset, _ in kept]
        self.entries = [entry for _, entry in kept]
        self.compacted += before - self._truths()

    def _truths(self) -> int:
        """Committed records that have a value: markers of watermarks have none."""
        return sum(record.value is not None for record in self.committed())


class SimulatedLog:
    """The broker: every method is one request that it has carried out."""

    def __init__(self, world: World, topics: Sequence[str], partitions: int) -> None:
        self.world = world
        self.partitions = {(topic, n): Partition(topic, n) for topic in topics for n in range(partitions)}
        self.committed: dict[tuple[str, str, int], tuple[int, str]] = {}
        self.on_decided: Callable[[Transaction], None] = lambda _: None
        self.on_complete: Callable[[Transaction], None] = lambda _: None
        self.coordinator: Process = world.process("kafka")
        self.coordinator.immune = True
        self._epochs: dict[str, int] = {}
        self._latest: dict[str, Transaction] = {}
        self._waiting: dict[str, list[Callable[[], None]]] = {topic: [] for topic in topics}

    def is_quiet(self) -> bool:
        """No transaction is open or being completed."""
        return all(map(self.is_free, self._latest))

    def tell_when_moved(self, topic: str, told: Callable[[], None]) -> None:
        """Once, when there may be something new to read: a fetch that waits at the broker."""
        self._waiting[topic].append(told)

    # --- producers ---

    def init_producer(self, producer: str) -> int:
        """A new epoch; the former owner is fenced, its open transaction aborted.

        Raises ConcurrentTransactions while the former transaction is being completed: try again.
        """
        latest = self._latest.get(producer)
        if latest is not None:
            if latest.state == "open":
                self._epochs[producer] = latest.epoch + 1
                self._finish(latest, "aborting")
            if latest.state in {"aborting", "committing"}:
                raise kafka.ConcurrentTransactions
        self._epochs[producer] = self._epochs.get(producer, 0) + 1
        return self._epochs[producer]

    def is_free(self, producer: str) -> bool:
        latest = self._latest.get(producer)
        return latest is None or latest.state in {"committed", "aborted"}

    def _transaction(self, producer: str, epoch: int, timeout_s: float) -> Transaction:
        """The producer's open transaction. Raises ProducerFenced, ConcurrentTransactions."""
        if epoch != self._epochs[producer]:
            raise kafka.ProducerFenced
        latest = self._latest.get(producer)
        if latest is None or latest.state in {"committed", "aborted"}:
            latest = self._latest[producer] = Transaction(producer, epoch, self.world.now + timeout_s)
            self.coordinator.loop.call_later(timeout_s, self._expire, latest)
        if latest.state != "open":
            raise kafka.ConcurrentTransactions
        return latest

    def _expire(self, transaction: Transaction) -> None:
        """Nobody ended it in time: the coordinator aborts it and fences its producer."""
        if transaction.state == "open":
            self._epochs[transaction.producer] += 1
            self._finish(transaction, "aborting")

    def append(
        self, producer: str, epoch: int, timeout_s: float, place: tuple[str, int], records: Sequence[Offered]
    ) -> int:
        return self.partitions[place].append(records, self._transaction(producer, epoch, timeout_s))

    def add_offset(self, producer: str, epoch: int, timeout_s: float, offset: Offset) -> None:
        self._transaction(producer, epoch, timeout_s).offsets.append(offset)

    def end(self, producer: str, epoch: int, *, commit: bool) -> None:
        """Raises ProducerFenced."""
        if epoch != self._epochs[producer]:
            raise kafka.ProducerFenced
        transaction = self._latest.get(producer)
        if transaction is not None and transaction.state == "open":
            self._finish(transaction, "committing" if commit else "aborting")

    def _finish(self, transaction: Transaction, state: Literal["committing", "aborting"]) -> None:
        transaction.state = state
        if state == "committing":
            self.on_decided(transaction)
        places: list[Partition | None] = [*transaction.first_offsets, None]  # None: the group's offsets
        transaction.unfinished = len(places)
        for partition in places:
            delay_s = self.world.rng.random() * _MARKER_DELAY_S_MAX
            self.coordinator.loop.call_later(delay_s, self._mark, transaction, partition)

    def _mark(self, transaction: Transaction, partition: Partition | None) -> None:
        transaction.unfinished -= 1
        if partition is not None:
            partition.mark(transaction)
            waiting, self._waiting[partition.topic] = self._waiting[partition.topic], []
            for told in waiting:
                told()
        elif transaction.state == "committing":
            for group, (topic, number), offset, metadata in transaction.offsets:
                self.committed[group, topic, number] = (offset, metadata)
        if transaction.unfinished == 0:
            done = transaction.state == "committing"
            transaction.state = "committed" if done else "aborted"
            if done:
                self.on_complete(transaction)
