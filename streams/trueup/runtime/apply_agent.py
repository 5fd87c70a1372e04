"""The apply worker: truth topics to one replica, each batch one database transaction (design 8).

`core.reduce` and `core.boundary` say what is written, `adapters.postgres_replica` writes it. Kafka's offsets
of the group are for lag tools only: where reading starts is what the replica says.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import structlog
from faust.types import TP

from trueup.adapters.kafka_consumer import log_records
from trueup.adapters.schema_registry import SchemaRegistry
from trueup.adapters.truth_log import TruthLog
from trueup.core.boundary import Boundary
from trueup.core.reduce import reduce_batch
from trueup.core.rules import CompiledRule
from trueup.core.truth_codec import TruthReader
from trueup.core.watermark import Arriving
from trueup.model.decision import Outcome
from trueup.model.errors import SchemaChanged, TopicChanged
from trueup.model.event import LogRecord, Op
from trueup.model.watermark import AsOf
from trueup.model.write import Claim, CopyPlan, Replica, ReplicaBatch
from trueup.runtime.lane import Batch
from trueup.runtime.metrics import ApplyMetrics

_CONNECTIONS: Final = 3  # decoding of one batch overlaps with the merge of others; more only queue on 2 cores

log = structlog.get_logger("trueup.apply")


class ApplyTable:
    """One copy, ready to be applied.

    :param systems: those that write the table.
    :param complete: see `core.rules_copy.CopyRules`: what a rebuild asks for.
    """

    def __init__(
        self,
        plan: CopyPlan,
        systems: Sequence[str],
        reader: TruthReader,
        checks: tuple[CompiledRule, ...] = (),
        *,
        complete: bool = False,
    ) -> None:
        self.plan = plan
        self.systems = systems
        self.reader = reader
        self.complete = complete
        self.boundary = Boundary(plan, checks, complete=complete)


class ApplyHandler:
    """Handler of the batch lane for truth partitions, for one replica.

    :param connect: makes a connection object to the replica; partitions are spread over a few of them.
    :param identity_of: which topic has a name now, as `topic_identity` writes it.
    :param now_us: the clock, microseconds since 1970, for convergence.
    """

    def __init__(
        self,
        tables: dict[str, ApplyTable],
        connect: Callable[[], Replica],
        log_reader: TruthLog,
        registry: SchemaRegistry,
        metrics: ApplyMetrics,
        identity_of: Callable[[str], Awaitable[str]],
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._tables = tables
        self._replicas: Sequence[Replica] = [connect() for _ in range(_CONNECTIONS)]
        self._log = log_reader
        self._registry = registry
        self._metrics = metrics
        self._identity_of = identity_of
        self._now_us = now_us
        self._held: dict[TP, tuple[Claim, ApplyTable]] = {}
        self._arriving: dict[TP, Arriving] = {}

    def _replica_of(self, tp: TP) -> Replica:
        return self._replicas[tp.partition % len(self._replicas)]

    async def prepare(self, tp: TP) -> int:
        """Claims the partition at the replica; a former writer is fenced. The replica knows what it has, and as what
        the copy was made: an edited registration does not reach the rows before `trueup apply --rebuild`.

        Raises TopicChanged when the topic was made anew: an offset of the old one says nothing in it, within its bounds
        or not.
        """
        self._held.pop(tp, None)
        replica, table = self._replica_of(tp), self._tables[tp.topic]
        self._arriving[tp] = Arriving(table.systems)
        identity = await self._identity_of(tp.topic)
        claim = await replica.claim(tp.topic, tp.partition, identity)
        if claim.topic_identity != identity:
            detail = f"partition {tp.partition} was read from topic {claim.topic_identity}, which is now {identity}"
            raise _topic_changed(tp, table, detail)
        begin, end = await self._log.bounds(tp.topic, tp.partition)
        position = begin if claim.next_offset is None else claim.next_offset
        if not begin <= position <= end:
            detail = f"partition {tp.partition} holds offsets {begin} to {end}, the replica is at {position}"
            raise _topic_changed(tp, table, detail)
        self._held[tp] = (claim, self._as_made(table, await replica.recorded(table.plan)))
        self._metrics.as_of(table.plan.table, tp.partition, claim.as_of_us)
        log.info("partition claimed", topic=tp.topic, partition=tp.partition, offset=position, token=claim.token)
        return position

    @staticmethod
    def _as_made(table: ApplyTable, made: CopyPlan) -> ApplyTable:
        if made == table.plan:
            return table
        hint = (
            "trueup apply --rebuild; if that was done, this worker is older than the registration, which does no harm"
        )
        log.warning("the copy is not as registered", table=made.table, hint=hint)
        return ApplyTable(made, table.systems, table.reader, table.boundary.checks, complete=table.complete)

    async def hold(self, tp: TP) -> None:
        """A replica that crashed may have lost its latest commits: only its connection tells (ARCHITECTURE, 11)."""
        if tp in self._held:
            claim, _ = self._held[tp]
            await self._replica_of(tp).hold(tp.topic, tp.partition, claim.token)

    async def release(self, tp: TP) -> None:
        self._held.pop(tp, None)
        self._metrics.given_up(self._tables[tp.topic].plan.table, tp.partition)

    async def ping(self) -> None:
        """Raises Unreachable when the replica does not answer."""
        await self._replicas[0].ping()

    async def close(self) -> None:
        for replica in self._replicas:
            await replica.close()

    async def process(self, batch: Batch) -> None:
        """Applies a batch and its progress in one transaction of the replica."""
        started = time.monotonic()
        claim, table = self._held[batch.tp]
        records = log_records(batch.records)
        reduced = reduce_batch(records)
        as_of = self._arrived(batch, reduced.markers)
        # A check that keeps out the newest record of a key makes the older ones count: they are decoded then, too.
        await self._learn_schemas(table, records if table.boundary.checks else reduced.records)
        judged = table.boundary.judge(reduced, records, table.reader.decode)
        decoded = time.monotonic()
        result = await self._replica_of(batch.tp).apply(
            ReplicaBatch(
                plan=table.plan,
                topic=batch.tp.topic,
                partition=batch.tp.partition,
                token=claim.token,
                start_offset=batch.start,
                next_offset=batch.end,
                records=len(batch.records) - len(reduced.markers),
                writes=tuple(judged.writes),
                refused=tuple(judged.refused),
                counts=judged.counts,
                as_of=as_of,
            )
        )
        if as_of is not None:
            self._metrics.as_of(table.plan.table, batch.tp.partition, as_of.time_us)
        if len(batch.records) == len(reduced.markers):
            return  # of an idle table
        steps_s = {"decode": decoded - started, "apply": time.monotonic() - decoded}
        self._metrics.counted(table.plan.table, result.counts, steps_s)
        if result.counts.get(Outcome.APPLIED):
            now_us = self._now_us()
            # Rows of a snapshot are no changes: they were true long before anybody captured them.
            changes = [truth for truth in judged.truths if truth.op is not Op.READ]
            self._metrics.converged(table.plan.table, [(now_us - t.commit_time_us) / 1e6 for t in changes])
            published_ms = {record.key: record.timestamp_ms for record in reduced.records}
            hops = [now_us / 1e6 - at / 1e3 for t in changes if (at := published_ms.get(t.key)) is not None]
            self._metrics.hops(table.plan.table, hops)

    def _arrived(self, batch: Batch, markers: Sequence[LogRecord]) -> AsOf | None:
        arriving = self._arriving[batch.tp]
        arriving.meet(markers, batch.stable_end)
        return arriving.take(batch.end)

    async def _learn_schemas(self, table: ApplyTable, records: Sequence[LogRecord]) -> None:
        """Truth records of an earlier registration carry an earlier schema; the registry has it."""
        for schema_id in table.reader.unknown_ids(record.value for record in records if record.value is not None):
            try:
                schema: dict[str, Any] = await asyncio.to_thread(self._registry.schema_by_id, schema_id)
            except LookupError as exc:
                raise SchemaChanged(
                    f'truth of "{table.plan.table}" is written in a schema the registry does not have',
                    detail=f"schema id {schema_id}",
                    hint=f"restore the registry, or publish the table anew: trueup resync {table.systems[0]}",
                ) from exc
            table.reader.learn(schema_id, schema)


def _topic_changed(tp: TP, table: ApplyTable, detail: str) -> TopicChanged:
    return TopicChanged(
        f'topic "{tp.topic}" is not the one this replica was filled from',
        detail=detail,
        hint="restore the topic, else set next_offset to NULL in trueup.progress there; then restart this "
        f"worker, and when it has caught up: trueup verify {table.plan.table}",
    )
