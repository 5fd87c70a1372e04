"""The decide worker: capture topics to truth topics, each batch one Kafka transaction (design 6).

`core.pipeline` decides; this file makes decisions durable and never looks into them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import assert_never

import msgspec
import structlog
from faust.types import TP

from trueup.adapters.kafka_consumer import log_records
from trueup.adapters.kafka_transactions import Outgoing, PartitionProducer
from trueup.adapters.schema_registry import SchemaRegistry
from trueup.adapters.truth_log import TruthLog
from trueup.adapters.truth_store import TruthStore
from trueup.core.capture_topic import CaptureLog
from trueup.core.case_decision import Obeyed, judge
from trueup.core.control import DecisionOrder, Sweep, Truncate, order_of, segments
from trueup.core.decode import truncate_event
from trueup.core.evolution import key_change
from trueup.core.ordering import Guard
from trueup.core.pipeline import DecidePlan, decide_batch, held_of
from trueup.core.truncation import Ordered, orders_of
from trueup.core.watermark import marker_headers, marker_key
from trueup.model.case import Case
from trueup.model.decision import Held, Outcome, Reject, Skip, TruthRecord
from trueup.model.errors import DeadLetterCapReached, Fenced
from trueup.model.event import ChangeEvent, LogRecord, Op
from trueup.model.registration import Table
from trueup.model.settings import Settings
from trueup.model.version import offset_of
from trueup.model.watermark import Watermark
from trueup.runtime.capture_check import check_capture
from trueup.runtime.captured_schemas import learn_captured, learn_kept
from trueup.runtime.case_table import CaseTable
from trueup.runtime.decided_records import dead_letter, outgoing_of
from trueup.runtime.lane import Batch
from trueup.runtime.metrics import DecideMetrics
from trueup.runtime.open_letters import read_letters
from trueup.runtime.owned_partition import OwnedPartition
from trueup.runtime.partition_memory import DECIDE_GROUP, PartitionMemory
from trueup.runtime.sweep_run import sweep
from trueup.runtime.truncate_run import truncate
from trueup.runtime.truth_schema_file import applied_anew
from trueup.runtime.truth_table import TruthTable
from trueup.runtime.watermarks import Watermarks

log = structlog.get_logger("trueup.decide")


class TableTopics(msgspec.Struct, frozen=True):
    """Identities of a table's topics, as `topic_identity` writes them."""

    capture: str
    truth: str


class DecideHandler:
    """Handler of the batch lane for capture partitions.

    :param new_producer: of a partition; with `open_store` the seam to what is outside, for tests/simulation.
    :param watermarks: says which beat a partition has passed; without it no copy knows how fresh it is.
    :param now_ms: the clock, milliseconds since 1970, for the hops.
    """

    def __init__(
        self,
        plans: dict[str, DecidePlan],
        settings: Settings,
        log_reader: TruthLog,
        registry: SchemaRegistry,
        metrics: DecideMetrics,
        state_dir: Path,
        topics_of: Callable[[Table], Awaitable[TableTopics]],
        new_producer: Callable[[str, str, int, int], PartitionProducer] = PartitionProducer,
        open_store: Callable[[Path, bytes], TruthStore] = TruthStore,
        watermarks: Watermarks | None = None,
        now_ms: Callable[[], float] = lambda: time.time() * 1000,
    ) -> None:
        self._plans = plans
        self._settings = settings
        self._log = log_reader
        self._registry = registry
        self._metrics = metrics
        self._state_dir = state_dir
        self._topics_of = topics_of
        self._new_producer = new_producer
        self._open_store = open_store
        self._watermarks = watermarks
        self._now_ms = now_ms
        self._owned: dict[TP, OwnedPartition] = {}
        self._epochs: dict[TP, int] = {}

    async def prepare(self, tp: TP) -> int:
        """Takes a partition over. The order is the guarantee (design 6): another one can read an offset about to move.

        1. start the producer: the former owner is fenced and its transaction has ended;
        2. read the committed offset with its totals;
        3. bring the truth table up to the end of the truth partition, and read the open cases;
        4. see that the capture topic still is the log that was decided so far. Raises TopicChanged.
        """
        await self.release(tp)
        plan = self._plans[tp.topic]
        kafka = self._settings.kafka
        producer = self._new_producer(kafka.bootstrap_servers, tp.topic, tp.partition, kafka.transaction_timeout_ms)
        await producer.start()  # 1
        table, cases = None, self._case_table(plan.table, tp.partition)
        try:
            committed = await self._log.committed(DECIDE_GROUP, tp.topic, tp.partition)  # 2
            offset, metadata = committed if committed is not None else (None, "")
            memory = PartitionMemory.read(metadata)
            self._epochs[tp] = memory.guard.epoch
            topics = await self._topics_of(plan.table)
            truth_topic = plan.table.truth_topic
            table = TruthTable(
                self._log,
                self._state_dir / "truth" / plan.table.table / str(tp.partition),
                truth_topic,
                tp.partition,
                topics.truth.encode(),
                self._open_store,
                keeps_rows=plan.keeps_rows,
            )
            read, seconds = await table.catch_up()  # 3
            await cases.catch_up()
            self._metrics.recovered(plan.table.table, read, seconds)
            begin, end = await self._log.bounds(tp.topic, tp.partition)
            found = CaptureLog(topic=topics.capture, partition=tp.partition, begin=begin, end=end)
            learn = partial(learn_captured, self._registry, plan=plan)
            start = await check_capture(self._log, plan, found, offset, memory, table, learn)  # 4
            letters = await read_letters(self._log, plan.table.dead_letter_topic, tp.partition, table)
        except BaseException:
            if table is not None:
                table.close()
            cases.close()
            await producer.stop()
            raise
        memory = msgspec.structs.replace(memory, topic=topics.capture)
        self._owned[tp] = OwnedPartition(plan, producer, table, cases, memory, letters)
        self._count_letters(tp)
        if self._watermarks is not None:
            self._watermarks.taken(tp, memory)
        log.info(
            "partition taken",
            topic=tp.topic,
            partition=tp.partition,
            offset=start,
            recovered=read,
            open_cases=len(cases.open),
            seconds=round(seconds, 3),
        )
        return start

    def _case_table(self, table: Table, partition: int) -> CaseTable:
        cases_max = self._settings.worker.dead_letters_per_table_max
        return CaseTable(self._log, table, partition, cases_max, self._metrics.cases)

    async def taken_over(self, tp: TP) -> bool:
        """Whether a command cured, perhaps, what stopped a partition here: another process began a new epoch there, or
        `trueup apply` took other columns over."""
        plan = self._plans[tp.topic]
        if await asyncio.to_thread(applied_anew, self._settings, plan.table.table, plan.codec.schema):
            return True
        committed = await self._log.committed(DECIDE_GROUP, tp.topic, tp.partition)
        owned = self._owned.get(tp)  # none where taking it over is what stopped
        known = self._epochs.get(tp, 0) if owned is None else owned.memory.guard.epoch
        return committed is not None and PartitionMemory.read(committed[1]).guard.epoch > known

    async def hold(self, tp: TP) -> None:
        """What Kafka committed stays; a fenced producer is told when it commits."""

    async def release(self, tp: TP) -> None:
        if self._watermarks is not None:
            self._watermarks.released(tp)
        owned = self._owned.pop(tp, None)
        if owned is not None:
            owned.table.close()
            owned.cases.close()
            self._metrics.letters(owned.plan.table.table, tp.partition, 0)
            await owned.producer.stop()

    def _count_letters(self, tp: TP) -> None:
        """Behind a commit: what is not durable is not said."""
        owned = self._owned[tp]
        self._metrics.letters(owned.plan.table.table, tp.partition, len(owned.letters))

    async def process(self, batch: Batch) -> None:
        """Decides a batch and commits it; what concerns the whole table is done with everything before it durable."""
        plan, records = self._plans[batch.tp.topic], log_records(batch.records)
        await learn_captured(self._registry, records, plan)

        def truncates(record: LogRecord) -> bool:
            return plan.follows_truncates and truncate_event(record, plan.decoders) is not None

        for segment in segments(records, batch.start, batch.end, truncates):
            await self._decide(batch.tp, segment.records, segment.next_offset)
            if segment.control is None:
                continue
            if (event := truncate_event(segment.control, plan.decoders)) is not None:
                await self._pass_on(batch.tp, event, segment.control)
            else:
                await self._obey(batch.tp, segment.control)
        if batch.start == batch.end:
            await self._mark(batch.tp, batch.end)

    async def _mark(self, tp: TP, position: int) -> None:
        """A turn without records: an idle partition is marked, in a transaction of its own."""
        if self._watermarks is None:
            return
        self._watermarks.check(tp)
        owned = self._owned[tp]
        markers, memory = self._markers(tp, position, owned.memory, {})
        if markers:
            await owned.commit(markers, memory, position, {}, {})

    def _markers(
        self, tp: TP, position: int, memory: PartitionMemory, cases: Mapping[bytes, Case]
    ) -> tuple[list[Outgoing], PartitionMemory]:
        """The markers that become true when everything below a position is durable, and the memory that knows of them.

        :param cases: that change in their transaction.
        """
        beats = [] if self._watermarks is None else self._watermarks.passed(tp, position, memory)
        if not beats:
            return [], memory
        topic, owned = self._plans[tp.topic].table.truth_topic, self._owned[tp]
        keys, truncated = (len(owned.letters), owned.cases.count_open_after(cases)), memory.guard.floor.change
        markers = [
            Outgoing(topic, marker_key(beat.system), None, marker_headers(Watermark(beat, *keys, truncated)))
            for beat in beats
        ]
        return markers, memory.marked(beats)

    async def _decide(self, tp: TP, records: Sequence[LogRecord], next_offset: int) -> None:
        """Truths, cases, dead letters, the offset and its totals in one transaction."""
        started = time.monotonic()
        owned, plan = self._owned[tp], self._plans[tp.topic]
        held = owned.table.get_many({record.key for record in records if record.key is not None})
        await learn_kept(self._registry, held, plan)
        decision = decide_batch(records, held, owned.memory.guard, plan, owned.cases.known)
        if (stop := key_change(decision.dead, plan.table, plan.codec.captured, decision.guard.epoch)) is not None:
            raise stop
        memory = owned.memory.plus(decision.counts, decision.guard)
        letters_before = owned.letters.counted
        owned.letters.follow(decision, held)
        self._check_cap(owned, letters_before)
        markers, memory = self._markers(tp, next_offset, memory, decision.cases)
        outgoing = outgoing_of(decision, plan) + markers
        decided = time.monotonic()
        await owned.commit(outgoing, memory, next_offset, decision.held, decision.cases)
        self._count_letters(tp)
        steps_s = {"decide": decided - started, "commit": time.monotonic() - decided}
        self._metrics.counted(plan.table.table, decision.counts, steps_s)
        self._measure(records, decision.truths, plan.table.table)

    def _measure(self, records: Sequence[LogRecord], truths: Sequence[TruthRecord], table: str) -> None:
        """The hops of what was published. Rows of a snapshot are no changes; a replayed letter waited for a person."""
        captured_ms = {record.offset: record.timestamp_ms for record in records}
        changes = [
            (at, truth.commit_time_us / 1000)
            for truth in truths
            if truth.op is not Op.READ and (at := captured_ms.get(offset_of(truth.version))) is not None
        ]
        now_ms = self._now_ms()
        captured_s = [(at - committed_ms) / 1000 for at, committed_ms in changes]
        self._metrics.hops(table, captured_s, [(now_ms - at) / 1000 for at, _ in changes])

    async def _obey(self, tp: TP, record: LogRecord) -> None:
        """A control record: one record, one outcome. What a sweep deletes is counted by those who apply it."""
        owned, plan = self._owned[tp], self._plans[tp.topic]
        order = order_of(record, owned.memory.guard, owned.memory.topic.encode())
        if isinstance(order, Sweep | Truncate):
            # Taken over anew: what was committed a moment ago can be read, and the table is what the topic says.
            if await self.prepare(tp) != record.offset:
                # Taking over fences whoever had it: one that lost the partition meanwhile must not go on from here.
                raise Fenced(f'partition {tp.partition} of "{tp.topic}" was carried on by another worker')
            owned = self._owned[tp]
            order = order_of(record, owned.memory.guard, owned.memory.topic.encode())
        outgoing, outcome, guard = list[Outgoing](), Outcome.IGNORED, owned.memory.guard
        held: dict[bytes, Held] = {}
        cases: dict[bytes, Case] = {}
        match order:
            case DecisionOrder(key=key):
                answer = judge(owned.cases.open.get(key), order, owned.table.get_many([key]).get(key), plan)
                outcome = answer.outcome
                if isinstance(answer, Obeyed):
                    held[key] = held_of(answer.truth, plan)
                    outgoing = [Outgoing(plan.table.truth_topic, key, plan.codec.encode(answer.truth))]
                if answer.case is not None:
                    cases[key] = answer.case
            case Sweep():
                deleted = await sweep(order, self._log, owned, tp.partition)
                log.info("swept", topic=tp.topic, partition=tp.partition, epoch=order.epoch, deleted=deleted)
                owned.memory = owned.memory.swept(order.epoch)
                guard = guard if guard.epoch == order.epoch else Guard(order.epoch, writers=guard.writers)
                owned.letters = await read_letters(self._log, plan.table.dead_letter_topic, tp.partition, owned.table)
            case Truncate():
                learn = partial(learn_captured, self._registry, plan=plan)
                learn_held = partial(learn_kept, self._registry, plan=plan)
                done = await truncate(order, self._log, owned, learn, learn_held)
                log.info("truncated", topic=tp.topic, partition=tp.partition, published=done)
                guard = (guard if guard.epoch == order.epoch else Guard(order.epoch)).truncated(order.position)
                owned.letters = await read_letters(self._log, plan.table.dead_letter_topic, tp.partition, owned.table)
            case Reject():
                log.warning("control record refused", topic=tp.topic, partition=tp.partition, offset=record.offset)
                outgoing, outcome = [dead_letter(plan.table.dead_letter_topic, record, order)], Outcome.REJECTED
            case Skip():
                outcome = order.outcome
            case _:
                assert_never(order)
        await self._settle(tp, record, outgoing, outcome, guard, held, cases)

    async def _pass_on(self, tp: TP, event: ChangeEvent, record: LogRecord) -> None:
        """A truncate: control records for all partitions, in the transaction that passes it. It counts as ignored, as
        they do: what it deletes is counted by those who apply it."""
        owned, plan = self._owned[tp], self._plans[tp.topic]
        partitions = await self._log.partitions(tp.topic)
        decided = orders_of(event, plan, owned.memory.guard, partitions, owned.memory.topic.encode())
        outgoing, outcome, guard = list[Outgoing](), Outcome.IGNORED, owned.memory.guard
        match decided:
            case Ordered(records=records):
                outgoing = [Outgoing(r.topic, None, None, r.headers, r.partition) for r in records]
                guard = decided.guard
                log.info("truncate met", topic=tp.topic, partition=tp.partition, offset=record.offset)
            case Reject():
                outgoing, outcome = [dead_letter(plan.table.dead_letter_topic, record, decided)], Outcome.REJECTED
                owned.letters.keyless += 1
            case Skip():
                outcome = decided.outcome
            case _:
                assert_never(decided)
        await self._settle(tp, record, outgoing, outcome, guard, {}, {})

    async def _settle(
        self,
        tp: TP,
        record: LogRecord,
        outgoing: list[Outgoing],
        outcome: Outcome,
        guard: Guard,
        held: dict[bytes, Held],
        cases: dict[bytes, Case],
    ) -> None:
        """One record, one outcome, one transaction."""
        owned, plan = self._owned[tp], self._plans[tp.topic]
        memory = owned.memory.plus({outcome: 1}, guard)
        await owned.commit(outgoing, memory, record.offset + 1, held, cases)
        owned.letters.supersede(held)
        self._count_letters(tp)
        self._metrics.counted(plan.table.table, {outcome: 1}, {})

    def _check_cap(self, owned: OwnedPartition, before: int) -> None:
        """Open letters, not those of a lifetime: what was corrected says nothing of the table. Their number is known
        whenever batches are decided, since `prepare` reads them. Above the cap goes on what adds none, as corrections.

        :param before: what was counted before the batch.
        """
        cap, table = self._settings.worker.dead_letters_per_table_max, owned.plan.table.table
        if owned.letters.counted > max(cap, before):
            raise DeadLetterCapReached(
                f'table "{table}" has too many dead letters',
                detail=f"{owned.letters.counted} are open in one partition, "
                f"the cap is {cap} (worker.dead_letters_per_table_max)",
                # Corrections lie behind the stop in the same log.
                hint=f"see what they have in common: trueup deadletters list --table {table}; "
                "raise worker.dead_letters_per_table_max, restart the decide workers, then correct them at their owner",
            )
