"""The gauge of open dead letters: the count of the decide worker, once it is durable, while it owns the partition. And
the cap, which counts them too.

The real handler runs on the simulated broker, without faults but those a test plans.
"""

from __future__ import annotations

import functools
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from faust.types import TP
from prometheus_client import CollectorRegistry

from tests.simulation import tables
from tests.simulation.heartbeats import SCHEMA
from tests.simulation.log import Offered, SimulatedLog
from tests.simulation.schedule import Fault, Faults, Process, World
from tests.simulation.store import Disk, SimulatedStore
from tests.simulation.worker import Parts, _topics_of
from trueup.core.decode import EPOCH_HEADER
from trueup.model.decision import Outcome
from trueup.model.errors import DeadLetterCapReached, Unreachable
from trueup.model.settings import Settings, WorkerSettings
from trueup.runtime.decide_agent import DecideHandler
from trueup.runtime.lane import Batch
from trueup.runtime.metrics import DecideMetrics
from trueup.runtime.partition_memory import PartitionMemory

TOPIC = tables.ORDERS.capture_topic
EVEN, ODD = TP(TOPIC, 0), TP(TOPIC, 1)  # the simulation's keys go by the rest of a division
LABELS = {"stage": "decide", "table": "orders"}


class Cluster:
    """A broker, and a source that writes to it."""

    def __init__(self) -> None:
        self.world = World(1)
        self.world.faults = Faults([])
        self.log = SimulatedLog(self.world, tables.TOPICS, tables.PARTITIONS)
        self._written = 0

    def run(self, process: Process, coroutine: Coroutine[Any, Any, None]) -> None:
        self.world.run(process.start(coroutine, "test"), self.world.now + 60)

    def capture(self, *amounts: tuple[int, int]) -> None:
        """Changes of rows, (order_id, amount): a negative amount breaks a check of the table."""
        producer = self.log.init_producer("connect")
        for order_id, amount in amounts:
            self._written += 1
            position = (self._written * 10, self._written * 10 + 1)
            value = tables.envelope("u", (order_id, amount, ""), None, position, self._written)
            record = Offered(tables.key_of(order_id), value, ((EPOCH_HEADER, b"1"),))
            self.log.append("connect", producer, 20.0, (TOPIC, order_id % tables.PARTITIONS), [record])
        self.log.end("connect", producer, commit=True)
        self.run(self.log.coordinator, self.log.coordinator.passes(1))


class DecideWorker:
    """A decide worker whose partitions a test gives and takes."""

    def __init__(self, cluster: Cluster, name: str, letters_max: int = 10_000) -> None:
        self.registry = CollectorRegistry()
        self._cluster, self._process = cluster, cluster.world.process(name)
        parts, registry = Parts(cluster.log), tables.Registry({tables.HEARTBEAT_ID: SCHEMA})
        self._handler: DecideHandler = parts.decide_handler(
            plans={TOPIC: tables.decide_plan(tables.ORDERS)},
            settings=Settings(worker=WorkerSettings(dead_letters_per_table_max=letters_max)),
            log_reader=parts.reader(self._process),
            registry=registry,
            metrics=DecideMetrics(self.registry, ["orders", "stock"]),
            state_dir=Path("state"),
            topics_of=_topics_of,
            new_producer=functools.partial(parts.producer, self._process),
            open_store=functools.partial(SimulatedStore, Disk(cluster.world.rng), self._process),
        )
        self._positions: dict[TP, int] = {}

    @property
    def open(self) -> float | None:
        return self.registry.get_sample_value("trueup_dead_letters_open", LABELS)

    def takes(self, tp: TP) -> None:
        async def prepare() -> None:
            self._positions[tp] = await self._handler.prepare(tp)

        self._cluster.run(self._process, prepare())

    @property
    def counts(self) -> dict[str, int]:
        """Outcomes so far, of all workers there were, once all commits are complete."""
        self._cluster.run(self._cluster.log.coordinator, self._cluster.log.coordinator.passes(1))
        metadata = [metadata for _, metadata in self._cluster.log.committed.values()]
        totals = [PartitionMemory.read(text).totals for text in metadata]
        return {outcome.value: sum(total[outcome] for total in totals) for outcome in Outcome}

    def gives_up(self, tp: TP) -> None:
        self._cluster.run(self._process, self._handler.release(tp))

    def decides(self, tp: TP) -> None:
        """All that was captured since."""
        start = self._positions[tp]
        records, end = self._cluster.log.partitions[tp.topic, tp.partition].read(start, 100)
        self._cluster.run(self._process, self._handler.process(Batch(tp, records, start, end, 1)))
        self._positions[tp] = end


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    made = Cluster()
    yield made
    made.world.close()


def test_every_table_has_the_gauge_before_anything_happened() -> None:
    registry = CollectorRegistry()
    DecideMetrics(registry, ["orders", "stock"])
    for table in ("orders", "stock"):
        labels = {"stage": "decide", "table": table}
        assert registry.get_sample_value("trueup_dead_letters_open", labels) == 0


def test_it_rises_with_a_letter_and_falls_when_a_newer_change_supersedes_it(cluster: Cluster) -> None:
    worker = DecideWorker(cluster, "decide")
    for tp in (EVEN, ODD):
        worker.takes(tp)
    cluster.capture((0, -1), (2, -1), (1, -1), (4, 7))
    worker.decides(EVEN)
    assert worker.open == 2
    worker.decides(ODD)
    assert worker.open == 3, "the partitions of a table together"
    cluster.capture((0, -2), (2, 5))
    worker.decides(EVEN)
    assert worker.open == 2, "a key counts once, and the corrected one no more"
    cluster.capture((0, 5))
    worker.decides(EVEN)
    assert worker.open == 1


def test_it_goes_with_the_partition(cluster: Cluster) -> None:
    former, new = DecideWorker(cluster, "former"), DecideWorker(cluster, "new")
    for tp in (EVEN, ODD):
        former.takes(tp)
    cluster.capture((0, -1), (1, -1))
    for tp in (EVEN, ODD):
        former.decides(tp)
    former.gives_up(EVEN)
    assert (former.open, new.open) == (1, 0)
    new.takes(EVEN)
    assert (former.open, new.open) == (1, 1), "read back from the topic of the letters"
    cluster.capture((0, 5))
    new.decides(EVEN)
    assert (former.open, new.open) == (1, 0)


def test_a_letter_is_counted_when_it_is_durable(cluster: Cluster) -> None:
    worker = DecideWorker(cluster, "decide")
    worker.takes(EVEN)
    cluster.capture((0, -1))
    cluster.world.faults = Faults([Fault("before commit transaction", 1, "error", 0)])
    with pytest.raises(Unreachable):
        worker.decides(EVEN)
    assert worker.open == 0
    worker.takes(EVEN)
    worker.decides(EVEN)
    assert worker.open == 1


def test_who_takes_the_partition_over_knows_what_was_refused(cluster: Cluster) -> None:
    """The owner takes a refused change back: the row is published once more, so that a replay of the letter loses. What
    was refused stood in the former worker's own store alone."""
    former, new = DecideWorker(cluster, "former"), DecideWorker(cluster, "new")
    former.takes(EVEN)
    cluster.capture((0, 5), (2, 5))
    former.decides(EVEN)
    cluster.capture((0, -1))
    former.decides(EVEN)
    former.gives_up(EVEN)
    new.takes(EVEN)
    assert (new.open, new.counts["applied"]) == (1, 2)
    cluster.capture((0, 5), (2, 5))
    new.decides(EVEN)
    assert new.open == 0, "the letter is superseded"
    assert (new.counts["applied"], new.counts["unchanged"]) == (3, 1), "of the other row there is nothing to say"


def test_the_cap_counts_open_letters_not_those_of_a_lifetime(cluster: Cluster) -> None:
    worker = DecideWorker(cluster, "decide", letters_max=1)
    worker.takes(EVEN)
    for _ in range(3):
        cluster.capture((0, -1))
        worker.decides(EVEN)
        cluster.capture((0, 5))
        worker.decides(EVEN)
    cluster.capture((2, -1), (4, -1), (4, 5))
    worker.decides(EVEN)
    assert (worker.open, worker.counts["rejected"]) == (1, 5), "what the same batch corrects counts no more"


def test_behind_the_cap_lie_the_corrections_so_it_is_raised_first(cluster: Cluster) -> None:
    worker, raised = DecideWorker(cluster, "decide", letters_max=1), DecideWorker(cluster, "raised", letters_max=2)
    worker.takes(EVEN)
    cluster.capture((0, -1))
    worker.decides(EVEN)
    cluster.capture((2, -1))
    with pytest.raises(DeadLetterCapReached) as stop:
        worker.decides(EVEN)
    assert "raise worker.dead_letters_per_table_max" in (stop.value.hint or "")
    worker.gives_up(EVEN)
    raised.takes(EVEN)
    raised.decides(EVEN)
    assert raised.open == 2
    raised.gives_up(EVEN)
    worker.takes(EVEN)
    cluster.capture((0, 5), (6, 7))
    worker.decides(EVEN)
    assert worker.open == 1, "with more than the cap corrections go on, and changes of other rows"


def test_who_takes_over_counts_on(cluster: Cluster) -> None:
    former, new = (DecideWorker(cluster, name, letters_max=1) for name in ("former", "new"))
    former.takes(EVEN)
    cluster.capture((0, -1))
    former.decides(EVEN)
    former.gives_up(EVEN)
    new.takes(EVEN)
    cluster.capture((2, -1))
    with pytest.raises(DeadLetterCapReached):
        new.decides(EVEN)
