"""Worker processes: the real handlers and the real lane on simulated parts.

`Parts` makes what a worker is built of; a planted bug is a subclass that makes one part wrongly.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NoReturn
from unittest import mock

from faust.types import TP

from tests.simulation import tables
from tests.simulation.database import Database, Mark
from tests.simulation.database_session import SimulatedReplica
from tests.simulation.desk import CAPTURE_IDENTITY
from tests.simulation.freshness_checks import oldest
from tests.simulation.group import Group, SimulatedConsumer
from tests.simulation.heartbeats import SCHEMA, SimulatedHeartbeats
from tests.simulation.kafka_clients import SimulatedProducer, SimulatedTruthLog
from tests.simulation.log import SimulatedLog
from tests.simulation.schedule import Ended, Process, ProcessLoop
from tests.simulation.store import Disk, SimulatedStore
from trueup.adapters.kafka_transactions import PartitionProducer
from trueup.adapters.postgres_replica import PostgresReplica
from trueup.model.decision import Outcome
from trueup.model.registration import Table
from trueup.model.settings import Settings
from trueup.runtime import lane as lane_module
from trueup.runtime.apply_agent import ApplyHandler
from trueup.runtime.breaker import Breaker
from trueup.runtime.decide_agent import DecideHandler, TableTopics
from trueup.runtime.lane import Handler, Lane
from trueup.runtime.watermarks import Watermarks

_SETTINGS = Settings()
_STATE = Path("state")
_TRUTH_IDENTITY = "truth-id"
_REGISTRY: Any = tables.Registry({tables.HEARTBEAT_ID: SCHEMA})


class _Metrics:
    """DecideMetrics and ApplyMetrics, which count for a server that nobody asks here."""

    def recovered(self, table: str, records: int, seconds: float) -> None: ...

    def counted(self, table: str, counts: dict[Outcome, int], steps_s: dict[str, float]) -> None: ...

    def retried(self, error_class: str) -> None: ...

    def cases(self, table: str, partition: int, deadlines_us: Iterable[int]) -> None: ...

    def letters(self, table: str, partition: int, keys: int) -> None: ...

    def converged(self, table: str, seconds: list[float]) -> None: ...

    def hops(self, table: str, *seconds: Iterable[float]) -> None: ...

    def as_of(self, table: str, partition: int, time_us: int | None) -> None: ...

    def given_up(self, table: str, partition: int) -> None: ...


_METRICS: Any = _Metrics()


class Worker:
    """A running worker: its process, lane and consumer."""

    def __init__(
        self,
        process: Process,
        lane: Lane,
        consumer: SimulatedConsumer,
        *,
        keeps_hold: bool,
        watermarks: Watermarks | None = None,
    ) -> None:
        self.process, self.lane, self.consumer, self.watermarks = process, lane, consumer, watermarks
        self.keeps_hold = keeps_hold

    async def main(self) -> None:
        if self.keeps_hold:
            self.process.start(self.lane.keep_hold(), "hold")
        if self.watermarks is not None:
            self.process.start(self.watermarks.run(self.lane), "watermarks")
        await self.consumer.run()
        self.process.end(None)


async def _topics_of(_: Table) -> TableTopics:
    return TableTopics(CAPTURE_IDENTITY, _TRUTH_IDENTITY)


async def _identity_of(_: str) -> str:
    return _TRUTH_IDENTITY


class Parts:
    """Makes workers.

    :ivar first_seed: of a planted bug that is rarely seen: below it lie seeds that find nothing, looked at once.
    """

    keeps_hold = True
    first_seed = 0

    def __init__(self, log: SimulatedLog, table: Table = tables.ORDERS) -> None:
        self.log, self.table = log, table
        self.rng = log.world.rng

    def decide(self, process: Process, group: Group, disk: Disk) -> Worker:
        # Beats of several systems are not simulated: tests/unit/test_watermarks.py and the real stack have them.
        watermarks = None if self.table.several_writers else self.watermarks(self.heartbeats(process))
        handler = self.decide_handler(
            plans={self.table.capture_topic: tables.decide_plan(self.table)},
            settings=_SETTINGS,
            log_reader=self.reader(process),
            registry=_REGISTRY,
            metrics=_METRICS,
            state_dir=_STATE,
            topics_of=_topics_of,
            new_producer=functools.partial(self.producer, process),
            open_store=functools.partial(SimulatedStore, disk, process),
            watermarks=watermarks,
        )
        return self._worker(process, group, handler, watermarks)

    def apply(self, process: Process, group: Group, database: Database) -> Worker:
        replica = database.plan.replica
        handler = ApplyHandler(
            {tables.ORDERS.truth_topic: tables.APPLY_TABLES[replica]},
            functools.partial(self.replica, database, process),
            SimulatedTruthLog(self.log, process),
            _REGISTRY,
            _METRICS,
            _identity_of,
            now_us=lambda: 0,
        )
        return self._worker(process, group, self.apply_handler(handler), breaker=Breaker(f"replica {replica}"))

    def _worker(
        self,
        process: Process,
        group: Group,
        handler: Handler,
        watermarks: Watermarks | None = None,
        breaker: Breaker | None = None,
    ) -> Worker:
        lane = Lane(handler, breaker=breaker)
        rows_max = self.rng.choice((1, 3, 8, 50))
        consumer = SimulatedConsumer(self.log, group, process, lane, rows_max)
        return Worker(process, lane, consumer, keeps_hold=self.keeps_hold, watermarks=watermarks)

    # --- what a planted bug replaces ---

    def decide_handler(self, **parts: Any) -> DecideHandler:
        return DecideHandler(**parts)

    def reader(self, process: Process) -> SimulatedTruthLog:
        return SimulatedTruthLog(self.log, process)

    def apply_handler(self, handler: ApplyHandler) -> Handler:
        return handler

    def heartbeats(self, process: Process) -> SimulatedHeartbeats:
        return SimulatedHeartbeats(self.log, process)

    def watermarks(self, heartbeats: SimulatedHeartbeats) -> Watermarks:
        return self.made_watermarks(Watermarks, heartbeats)

    def made_watermarks(self, kind: type[Watermarks], heartbeats: SimulatedHeartbeats) -> Watermarks:
        return kind(heartbeats, _REGISTRY, {tables.ORDERS.capture_topic: tables.ORDERS})

    def as_of(self, marks: Sequence[Mark | None]) -> Mark | None:
        return oldest(marks)

    def producer(
        self, process: Process, servers: str, topic: str, partition: int, timeout_ms: int
    ) -> PartitionProducer:
        return PartitionProducer(servers, topic, partition, timeout_ms, self.client(process))

    def client(self, process: Process) -> Callable[..., SimulatedProducer]:
        effects = {tables.ORDERS.dead_letter_topic: "send dead letters", tables.ORDERS.cases_topic: "send cases"}
        return functools.partial(SimulatedProducer, self.log, process, effects)

    def replica(self, database: Database, process: Process) -> PostgresReplica:
        return SimulatedReplica(database, process)

    def database(self, database: Database) -> Database:
        return database


def exits_end_their_process() -> AbstractContextManager[object]:
    """The lane's `exit_process` ends the simulated process that runs, not this one."""
    return mock.patch.object(lane_module, "exit_process", _exit)


def _exit(exc: BaseException) -> NoReturn:
    if isinstance(exc, Ended):  # killed in the middle of a batch
        raise exc
    loop = asyncio.get_running_loop()
    assert isinstance(loop, ProcessLoop)
    loop.process.end(exc)


def capture_partitions(table: Table) -> list[TP]:
    return [TP(table.capture_topic, number) for number in range(tables.PARTITIONS)]


def truth_partitions() -> list[TP]:
    return [TP(tables.ORDERS.truth_topic, number) for number in range(tables.PARTITIONS)]
