"""Bugs that were made on purpose: each takes away one guarantee, and the simulation has to find it.

A simulation that finds nothing may be right or blind; these tell which.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from typing import Any, Final

import msgspec
from aiokafka.structs import OffsetAndMetadata
from faust.types import TP

from tests.simulation.database import Database
from tests.simulation.database_session import SimulatedReplica
from tests.simulation.kafka_clients import SimulatedProducer, SimulatedTruthLog
from tests.simulation.schedule import Process
from tests.simulation.worker import Parts
from trueup.adapters.kafka_transactions import Outgoing, PartitionProducer
from trueup.adapters.postgres_merge import Connection, Present
from trueup.adapters.postgres_replica import PostgresReplica
from trueup.core.control import DECISION_HEADER, decision_record
from trueup.model.case import CaseDecision
from trueup.model.errors import Retryable
from trueup.model.event import LogRecord
from trueup.model.registration import Table
from trueup.model.write import BatchResult, ReplicaBatch
from trueup.runtime.apply_agent import ApplyHandler
from trueup.runtime.case_table import CaseTable
from trueup.runtime.decide_agent import DecideHandler
from trueup.runtime.lane import Batch, Handler
from trueup.runtime.partition_memory import PartitionMemory


class FenceRemoved(Parts):
    """The replica writes every version it is given, older ones too."""

    def database(self, database: Database) -> Database:
        database.is_fenced = False
        return database


class DeletedKeysDropped(Parts):
    """The replica forgets which keys were deleted, and at which version."""

    def database(self, database: Database) -> Database:
        database.keeps_deleted_keys = False
        return database


class AckBeforeCommit(Parts):
    """The decide stage commits the offset, and then what it decided."""

    class _Producer(PartitionProducer):
        async def commit(
            self, records: Iterable[Outgoing], *, group: str, next_offset: int, metadata: str
        ) -> dict[str, int]:
            await self._producer.send_offsets_to_transaction(
                {self.source: OffsetAndMetadata(next_offset, metadata)}, group
            )
            await self._producer.commit_transaction()
            return await super().commit(records, group=group, next_offset=next_offset, metadata=metadata)

    def producer(
        self, process: Process, servers: str, topic: str, partition: int, timeout_ms: int
    ) -> PartitionProducer:
        return self._Producer(servers, topic, partition, timeout_ms, self.client(process))


class PositionBeforeCommit(Parts):
    """The apply stage says that a batch is done while it is still being written."""

    class _Handler:
        def __init__(self, handler: ApplyHandler) -> None:
            self._handler = handler
            self._writing: dict[TP, asyncio.Task[None]] = {}

        async def prepare(self, tp: TP) -> int:
            return await self._handler.prepare(tp)

        async def process(self, batch: Batch) -> None:
            before = self._writing.get(batch.tp)
            if before is not None:
                await before
            self._writing[batch.tp] = asyncio.create_task(self._handler.process(batch))

        async def hold(self, tp: TP) -> None:
            await self._handler.hold(tp)

        async def release(self, tp: TP) -> None:
            self._writing.pop(tp, None)
            await self._handler.release(tp)

    def apply_handler(self, handler: ApplyHandler) -> Handler:
        return self._Handler(handler)


class ZombieNotFenced(Parts):
    """Each process has a transactional id of its own: a new owner of a partition does not fence the former one."""

    def client(self, process: Process) -> Callable[..., SimulatedProducer]:
        fenced = super().client(process)

        def unfenced(**options: Any) -> SimulatedProducer:
            options["transactional_id"] += f"-{process.name}-{process.number}"
            return fenced(**options)

        return unfenced


class TokenIgnored(Parts):
    """A replica that lets every writer of a partition write."""

    class _Replica(SimulatedReplica):
        async def _lock(self, connection: Connection, batch: ReplicaBatch) -> Present:
            held = self._database.tables.progress[batch.topic, batch.partition]
            self._database.tables.progress[batch.topic, batch.partition] = held._replace(
                token=batch.token, next_offset=batch.start_offset
            )
            return await super()._lock(connection, batch)

    def replica(self, database: Database, process: Process) -> PostgresReplica:
        return self._Replica(database, process)


class ProgressOutside(Parts):
    """The replica commits its progress in a transaction of its own, before the rows."""

    class _Replica(SimulatedReplica):
        async def _advance(self, connection: Connection, batch: ReplicaBatch, result: BatchResult) -> None:
            session: Any = connection
            await super()._advance(connection, batch, result)
            self._database.tables.progress.update(session.working.progress)  # seen and kept before the commit

    def replica(self, database: Database, process: Process) -> PostgresReplica:
        return self._Replica(database, process)


class CountersDoubled(Parts):
    """The decide stage keeps counting where it was when a commit failed, instead of reading what was committed."""

    class _Handler(DecideHandler):
        def __init__(self, **parts: Any) -> None:
            super().__init__(**parts)
            self._counted: dict[TP, PartitionMemory] = {}

        async def process(self, batch: Batch) -> None:
            memory = self._owned[batch.tp].memory
            try:
                await super().process(batch)
            except Retryable:
                self._counted[batch.tp] = memory.plus(memory.totals, memory.guard)
                raise

        async def prepare(self, tp: TP) -> int:
            offset = await super().prepare(tp)
            self._owned[tp].memory = self._counted.pop(tp, self._owned[tp].memory)
            return offset

    def decide_handler(self, **parts: Any) -> DecideHandler:
        return self._Handler(**parts)


class CasesForgotten(Parts):
    """A worker that takes a partition over does not read which of its keys wait for a person."""

    class _Cases(CaseTable):
        async def catch_up(self) -> None: ...

    class _Handler(DecideHandler):
        def _case_table(self, table: Table, partition: int) -> CaseTable:
            return CasesForgotten._Cases(self._log, table, partition, 1_000, lambda *_: None)

    def decide_handler(self, **parts: Any) -> DecideHandler:
        return self._Handler(**parts)


class DecisionsNotFenced(Parts):
    """A decision is obeyed whatever became of the images it was based on."""

    class _Handler(DecideHandler):
        async def _obey(self, tp: TP, record: LogRecord) -> None:
            key, owned = record.key or b"", self._owned[tp]
            headers = dict(record.headers)
            case = owned.cases.open.get(key)
            if case is not None:
                decision = msgspec.json.decode(headers[DECISION_HEADER], type=CaseDecision)
                based_on = msgspec.structs.replace(decision, case=case.id, based_on=case.versions)
                identity = owned.memory.topic.encode()
                forged = decision_record(tp.topic, tp.partition, owned.memory.guard.epoch, identity, key, based_on)
                record = msgspec.structs.replace(record, headers=forged.headers)
            await super()._obey(tp, record)

    def decide_handler(self, **parts: Any) -> DecideHandler:
        return self._Handler(**parts)


class DecisionsPassedOver(Parts):
    """What people decided between a truncate and its control record is not judged once more, so it always falls."""

    class _Reader(SimulatedTruthLog):
        async def records(
            self, topic: str, partition: int, start: int, end: int
        ) -> AsyncGenerator[list[LogRecord], None]:
            async with aclosing(super().records(topic, partition, start, end)) as batches:
                async for records in batches:
                    yield [r if r.key is None or r.value else msgspec.structs.replace(r, headers=()) for r in records]

    def reader(self, process: Process) -> SimulatedTruthLog:
        return self._Reader(self.log, process)


class IdleClaimsForgotten(Parts):
    """A worker without work does not look whether its replica crashed. Not planted at first: it was found."""

    keeps_hold = False


PLANTED: Final[tuple[type[Parts], ...]] = (
    FenceRemoved,
    DeletedKeysDropped,
    AckBeforeCommit,
    PositionBeforeCommit,
    ZombieNotFenced,
    TokenIgnored,
    ProgressOutside,
    CountersDoubled,
    CasesForgotten,
    DecisionsNotFenced,
    DecisionsPassedOver,
    IdleClaimsForgotten,
)
