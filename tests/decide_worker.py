"""A decide worker whose partitions a test gives and takes: the real handler on the simulated broker, without faults but
those a test plans."""

from __future__ import annotations

import functools
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from faust.types import TP
from prometheus_client import CollectorRegistry

from tests.simulation import tables
from tests.simulation.heartbeats import SCHEMA
from tests.simulation.log import Offered, SimulatedLog
from tests.simulation.schedule import Faults, Process, World
from tests.simulation.store import Disk, SimulatedStore
from tests.simulation.worker import Parts, _topics_of
from trueup.core.decode import EPOCH_HEADER
from trueup.model.decision import Outcome
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

    def commits_are_complete(self) -> None:
        self.run(self.log.coordinator, self.log.coordinator.passes(1))

    def capture(self, *amounts: tuple[int, int], epoch: int = 1) -> None:
        """Changes of rows, (order_id, amount): a negative amount breaks a check of the table."""
        producer = self.log.init_producer("connect")
        for order_id, amount in amounts:
            self._written += 1
            position = (self._written * 10, self._written * 10 + 1)
            value = tables.envelope("u", (order_id, amount, ""), None, position, self._written)
            record = Offered(tables.key_of(order_id), value, ((EPOCH_HEADER, b"%d" % epoch),))
            self.log.append("connect", producer, 20.0, (TOPIC, order_id % tables.PARTITIONS), [record])
        self.log.end("connect", producer, commit=True)
        self.commits_are_complete()


class DecideWorker:
    """A decide worker whose partitions a test gives and takes."""

    def __init__(self, cluster: Cluster, name: str, letters_max: int = 10_000) -> None:
        self.registry = CollectorRegistry()
        self._cluster, self._process = cluster, cluster.world.process(name)
        parts, registry = Parts(cluster.log), tables.Registry({tables.HEARTBEAT_ID: SCHEMA})
        self._handler: DecideHandler = parts.decide_handler(
            plans={TOPIC: tables.decide_plan(tables.ORDERS)},
            settings=Settings(
                project_dir=Path("nothing was applied"), worker=WorkerSettings(dead_letters_per_table_max=letters_max)
            ),
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
        self._cluster.commits_are_complete()
        metadata = [metadata for _, metadata in self._cluster.log.committed.values()]
        totals = [PartitionMemory.read(text).totals for text in metadata]
        return {outcome.value: sum(total[outcome] for total in totals) for outcome in Outcome}

    def was_cured(self, tp: TP) -> bool:
        """What the watchdog asks of a partition that stopped."""
        answers: list[bool] = []

        async def ask() -> None:
            answers.append(await self._handler.taken_over(tp))

        self._cluster.run(self._process, ask())
        return answers[0]

    def gives_up(self, tp: TP) -> None:
        self._cluster.run(self._process, self._handler.release(tp))

    def decides(self, tp: TP) -> None:
        """All that was captured since."""
        start = self._positions[tp]
        records, end = self._cluster.log.partitions[tp.topic, tp.partition].read(start, 100)
        self._cluster.run(self._process, self._handler.process(Batch(tp, records, start, end, 1)))
        self._positions[tp] = end
