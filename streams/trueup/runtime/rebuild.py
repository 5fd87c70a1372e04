"""`trueup apply --rebuild`: fills a copy anew from the truth topic, beside the old one, and swaps the two.

    1. the shadow is made, unless a killed run left one for the same registration
    2. it is filled up to the present end, by the apply agent, with progress, deleted keys and dead letters of its own
    3. the swap: the progress of the old copy is locked, the shadow catches up with it, and takes its place

The apply worker goes on with the old table until 3, finds its token gone then, and asks the replica what the copy is
now. A run that was killed is completed by the next: whatever it did is recorded where it was done. Two runs at once
fence each other at the shadow's progress. The source is not read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import Final

import msgspec
from faust.types import TP
from prometheus_client import CollectorRegistry

from trueup.adapters.kafka_topics import KafkaTopics
from trueup.adapters.postgres_rebuild import look_at_old, plan_shadow, swap
from trueup.adapters.postgres_replica import PostgresReplica, connect
from trueup.adapters.postgres_replica_ddl import execute
from trueup.adapters.schema_registry import SchemaRegistry
from trueup.adapters.truth_log import TruthLog
from trueup.core.rules import CompiledRule
from trueup.core.truth_codec import TruthReader
from trueup.model.errors import TopicChanged, TransientReplica
from trueup.model.rebuild import Rebuild, shadow_progress
from trueup.model.settings import Settings
from trueup.model.write import BatchResult, Claim, CopyPlan, Replica, ReplicaBatch
from trueup.runtime.apply_agent import ApplyHandler, ApplyTable
from trueup.runtime.lane import Batch
from trueup.runtime.metrics import ApplyMetrics
from trueup.runtime.partition_memory import topic_identity

_SWAP_ATTEMPTS: Final = 20  # of up to 2 s each, with a pause: half a minute of readers that do not let go
_SWAP_PAUSE_S: Final = 0.5

OnFill = Callable[[int, int], None]
"""Records read, and how many there are to read."""


class RebuildAddresses(msgspec.Struct, frozen=True, kw_only=True):
    """Where a rebuild works.

    :param writer_dsn: fills the shadow, as an apply worker would. `ddl_dsn` makes it and swaps it in.
    """

    settings: Settings
    writer_dsn: str
    writer_role: str
    ddl_dsn: str


class RebuildRun:
    """The rebuild of one copy. `run` may be called again after it ended in any way.

    :param checks: the copy's own, which judge what the shadow is filled with (`core.boundary`).
    """

    def __init__(
        self,
        rebuild: Rebuild,
        where: RebuildAddresses,
        on_fill: OnFill = lambda _done, _total: None,
        checks: tuple[CompiledRule, ...] = (),
    ) -> None:
        self._rebuild, self._where, self._on_fill, self._checks = rebuild, where, on_fill, checks
        self._topic = rebuild.new.truth_topic
        self._log = TruthLog(where.settings.kafka.bootstrap_servers)
        self._registry = SchemaRegistry(where.settings.registry.url)
        self._identity = ""
        self._handler = self._fill_handler()
        self._starts: dict[TP, int] = {}
        self._positions: dict[TP, int] = {}
        self._ends: dict[TP, int] = {}

    async def run(self) -> None:
        """Raises Refused, Stop, Fenced (another run took over), and Retryable: a further run goes on there."""
        try:
            await self._make_shadow()
            await self._take_partitions()
            await self._fill_to_end()
            await self._swap()
        finally:
            await self._handler.close()
            await self._log.stop()
            self._registry.close()

    async def _make_shadow(self) -> None:
        replica = self._rebuild.new.replica
        async with await connect(replica, self._where.ddl_dsn, application_name="trueup rebuild") as connection:
            await connection.execute("SET synchronous_commit = on")
            old = await look_at_old(connection, self._rebuild)
            statements = await plan_shadow(connection, self._rebuild, old, self._where.writer_role)
            await execute(connection, statements, replica=replica)

    async def _take_partitions(self) -> None:
        kafka = KafkaTopics(self._where.settings.kafka.bootstrap_servers)
        found = kafka.describe([self._topic])
        if self._topic not in found:
            raise TopicChanged(f'topic "{self._topic}" does not exist', hint="run: trueup apply")
        self._identity = topic_identity(kafka.cluster().cluster_id, found[self._topic].topic_id)
        for number in range(found[self._topic].partitions):
            tp = TP(self._topic, number)
            self._positions[tp] = await self._handler.prepare(tp)
            self._starts[tp], _ = await self._log.bounds(tp.topic, tp.partition)

    async def _fill_to_end(self) -> None:
        for tp in self._positions:
            _, self._ends[tp] = await self._log.bounds(tp.topic, tp.partition)
        for tp in self._positions:
            await self._fill(tp, self._ends[tp])

    async def _fill(self, tp: TP, end: int) -> None:
        self._tell()
        batch_rows = self._where.settings.worker.batch_rows_max
        reading = self._log.read_records(tp.topic, tp.partition, self._positions[tp], end, records_max=batch_rows)
        async with aclosing(reading) as batches:
            async for records, position in batches:
                await self._handler.process(Batch(tp, records, self._positions[tp], position, 0))
                self._positions[tp] = position
                self._tell()

    def _tell(self) -> None:
        done = sum(self._positions[tp] - start for tp, start in self._starts.items())
        self._on_fill(done, max(done, sum(self._ends[tp] - start for tp, start in self._starts.items())))

    async def _swap(self) -> None:
        """Readers in a long transaction keep the old table; then the shadow catches up meanwhile and tries again."""
        for attempt in range(_SWAP_ATTEMPTS):
            await self._fill_to_end()  # what is left to do while nobody may write is then little
            try:
                await self._try_to_swap()
            except TransientReplica:
                if attempt == _SWAP_ATTEMPTS - 1:
                    raise
                await asyncio.sleep(_SWAP_PAUSE_S)
            else:
                return

    async def _try_to_swap(self) -> None:
        replica = self._rebuild.new.replica
        async with await connect(replica, self._where.ddl_dsn, application_name="trueup rebuild") as connection:
            await connection.execute("SET synchronous_commit = on")
            await swap(connection, self._rebuild, self._catch_up)

    async def _catch_up(self, held: dict[int, int | None]) -> None:
        for number, offset in held.items():
            tp = TP(self._topic, number)
            if offset is not None and offset > self._positions[tp]:
                await self._fill(tp, offset)

    def _fill_handler(self) -> ApplyHandler:
        where, shadow = self._where, self._rebuild.shadow
        cap = where.settings.worker.dead_letters_per_table_max
        return ApplyHandler(
            # Heard of by nobody: what a shadow is as of is said once it is the copy, by the next markers.
            {self._topic: ApplyTable(shadow, (), TruthReader(), self._checks, complete=True)},
            lambda: _ShadowReplica(PostgresReplica(shadow.replica, where.writer_dsn, dead_letters_per_table_max=cap)),
            self._log,
            self._registry,
            ApplyMetrics(CollectorRegistry(), [shadow.table], shadow.replica),
            self._identity_of,
        )

    async def _identity_of(self, _topic: str) -> str:
        """Of the one topic there is, asked when its partitions are taken."""
        return self._identity


class _ShadowReplica:
    """A replica whose progress stands under the name of the shadow, beside that of the copy it will replace."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    async def claim(self, topic: str, partition: int, topic_identity: str) -> Claim:
        return await self._replica.claim(shadow_progress(topic), partition, topic_identity)

    async def recorded(self, registered: CopyPlan) -> CopyPlan:
        return await self._replica.recorded(registered)

    async def apply(self, batch: ReplicaBatch) -> BatchResult:
        return await self._replica.apply(msgspec.structs.replace(batch, topic=shadow_progress(batch.topic)))

    async def ping(self) -> None:
        await self._replica.ping()

    async def hold(self, topic: str, partition: int, token: int) -> None:
        await self._replica.hold(shadow_progress(topic), partition, token)

    async def close(self) -> None:
        await self._replica.close()
