"""The simulated broker keeps Kafka's promises: otherwise the simulation would prove things about another log."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from aiokafka import errors as kafka

from tests.simulation.log import Offered, Offset, SimulatedLog
from tests.simulation.schedule import World

PLACE = ("topic", 0)
TIMEOUT_S = 20.0


def records(*keys: bytes) -> list[Offered]:
    return [Offered(key, b"value") for key in keys]


class Broker:
    """A log whose time a test moves."""

    def __init__(self) -> None:
        self.world = World(1)
        self.log = SimulatedLog(self.world, ["topic"], 1)
        self.partition = self.log.partitions[PLACE]

    def passes(self, seconds: float) -> None:
        self.world.run(self.log.coordinator.start(self.log.coordinator.passes(seconds), "passes"), float("inf"))

    def append(self, producer: str, epoch: int, *keys: bytes) -> int:
        return self.log.append(producer, epoch, TIMEOUT_S, PLACE, records(*keys))

    def read(self, start: int = 0, rows_max: int = 100) -> tuple[list[bytes | None], int]:
        found, position = self.partition.read(start, rows_max)
        return [record.key for record in found], position


@pytest.fixture
def broker() -> Iterator[Broker]:
    made = Broker()
    yield made
    made.world.close()


def test_what_is_open_is_not_read_and_neither_is_what_lies_behind_it(broker: Broker) -> None:
    first, second = broker.log.init_producer("a"), broker.log.init_producer("b")
    broker.append("a", first, b"a")
    broker.append("b", second, b"b")
    broker.log.end("b", second, commit=True)
    broker.passes(1)
    assert broker.read() == ([], 0)
    broker.log.end("a", first, commit=True)
    broker.passes(1)
    assert broker.read() == ([b"a", b"b"], 4), "two records, two markers"


def test_aborted_records_and_markers_are_passed_over(broker: Broker) -> None:
    epoch = broker.log.init_producer("a")
    broker.append("a", epoch, b"no", b"no")
    broker.log.end("a", epoch, commit=False)
    broker.passes(1)
    broker.append("a", epoch, b"x", b"y", b"z")
    broker.log.end("a", epoch, commit=True)
    broker.passes(1)
    assert broker.read(rows_max=2) == ([b"x", b"y"], 5)
    assert broker.read(5, rows_max=2) == ([b"z"], 7), "the position is behind the marker"
    assert broker.read(7) == ([], 7)


def test_a_new_owner_fences_the_former_and_waits_for_its_transaction(broker: Broker) -> None:
    former = broker.log.init_producer("a")
    broker.append("a", former, b"late")
    with pytest.raises(kafka.ConcurrentTransactions):
        broker.log.init_producer("a")
    broker.passes(1)
    broker.log.init_producer("a")
    for late in (
        lambda: broker.append("a", former, b"later"),
        lambda: broker.log.end("a", former, commit=True),
        lambda: broker.log.add_offset("a", former, TIMEOUT_S, Offset("group", PLACE, 1, "")),
    ):
        with pytest.raises(kafka.ProducerFenced):
            late()
    assert broker.read() == ([], 2)


def test_offsets_are_committed_with_their_transaction(broker: Broker) -> None:
    epoch = broker.log.init_producer("a")
    broker.log.add_offset("a", epoch, TIMEOUT_S, Offset("group", PLACE, 5, "memory"))
    assert not broker.log.committed
    broker.log.end("a", epoch, commit=True)
    assert not broker.log.committed, "decided, and not yet to be seen"
    broker.passes(1)
    assert broker.log.committed == {("group", *PLACE): (5, "memory")}


def test_a_transaction_that_nobody_ends_is_aborted_and_its_producer_fenced(broker: Broker) -> None:
    epoch = broker.log.init_producer("a")
    broker.append("a", epoch, b"forgotten")
    broker.passes(TIMEOUT_S + 1)
    assert broker.read() == ([], 2)
    with pytest.raises(kafka.ProducerFenced):
        broker.log.end("a", epoch, commit=True)


def test_compaction_keeps_the_newest_of_each_key_and_every_offset(broker: Broker) -> None:
    epoch = broker.log.init_producer("a")
    broker.append("a", epoch, b"x", b"y", b"x")
    broker.log.end("a", epoch, commit=True)
    broker.passes(1)
    broker.partition.compact()
    assert broker.read() == ([b"y", b"x"], 4)
    assert broker.partition.compacted == 1
