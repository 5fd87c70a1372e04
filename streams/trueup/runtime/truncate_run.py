"""A truncate in one partition, carried out: finds what the capture log says came after it, and deletes the other rows.

Safe at any kill, as `runtime.sweep_run` is: every transaction but the last leaves the offset before the control record,
so the next owner meets it again and finds what is left to do.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from trueup.adapters.kafka_transactions import Outgoing, PartitionProducer
from trueup.adapters.truth_log import TruthLog
from trueup.core.cases import superseded
from trueup.core.control import Truncate
from trueup.core.pipeline import DecidePlan, held_of
from trueup.core.truncation import (
    Settled,
    deletion,
    is_row_of_before,
    keys_of,
    order_version,
    place_in,
    settled,
    version_deleted,
)
from trueup.model.case import Case
from trueup.model.decision import TruthRecord
from trueup.model.event import LogRecord
from trueup.runtime.case_table import CaseTable
from trueup.runtime.partition_memory import DECIDE_GROUP, PartitionMemory
from trueup.runtime.truth_table import TruthTable

_SCAN_KEYS: Final = 20_000
_TRUTHS_MAX: Final = 4_000  # of one transaction, as many as the largest batch has records
_BACK_RECORDS: Final = 4_096  # a second of a busy partition; four times as many with each further look
_BACK_GROWTH: Final = 4

Learn = Callable[[Sequence[LogRecord]], Awaitable[None]]


async def truncate(
    order: Truncate,
    log: TruthLog,
    plan: DecidePlan,
    producer: PartitionProducer,
    table: TruthTable,
    cases: CaseTable,
    memory: PartitionMemory,
    learn: Learn,
) -> int:
    """Publishes what a truncate changes in its partition, the offset staying at the control record. Returns how much.

    A case of a key that was not written again is over: its row is gone, or never was.

    :param table: caught up with the truth topic, as `cases` is with theirs.
    :param learn: makes the schemas of records known to the plan.
    """
    source = producer.source
    boundary, after = order.offset, list[LogRecord]()
    # Without a change from after the truncate no row of after it can be there: whoever inserted it is in the log.
    if (memory.guard.epoch, memory.guard.position) > (order.epoch, order.position):
        boundary, after = await _since(order, log, source.topic, source.partition, plan, learn)
    topic, published = plan.table.truth_topic, 0

    async def publish(truths: Sequence[TruthRecord], changed: dict[bytes, Case]) -> int:
        records = [Outgoing(topic, truth.key, truth.encoded or plan.codec.encode(truth)) for truth in truths]
        written = await producer.commit(
            records + cases.outgoing(changed), group=DECIDE_GROUP, next_offset=order.offset, metadata=memory.write()
        )
        table.put_many({truth.key: held_of(truth, plan) for truth in truths}, written.get(topic))
        cases.put_many(changed)
        return len(truths)

    seen, open_cases = keys_of(after), cases.open
    now = settled(after, boundary, order, table.get_many(seen), open_cases, plan) if after else Settled([], {})
    changed = now.cases | {
        key: superseded(case, order_version(order), order.time_us)
        for key, case in open_cases.items()
        if key not in seen
    }
    waiting = now.truths
    if changed:
        await publish([], changed)
    async for held in table.scan(_SCAN_KEYS):
        waiting += [
            deletion(key, version_deleted(known.version, order), order)
            for key, known in held
            if key not in seen and is_row_of_before(known, order)
        ]
        while len(waiting) >= _TRUTHS_MAX:
            published += await publish(waiting[:_TRUTHS_MAX], {})
            del waiting[:_TRUTHS_MAX]
    if waiting:
        published += await publish(waiting, {})
    return published


async def _since(
    order: Truncate, log: TruthLog, topic: str, partition: int, plan: DecidePlan, learn: Learn
) -> tuple[int, list[LogRecord]]:
    """Where in the partition the truncate would stand, and the records from there to the control record.

    Read backwards, until a whole stretch is from before and nothing in it from afterwards.
    """
    begin, _ = await log.bounds(topic, partition)
    end, width = order.offset, _BACK_RECORDS
    boundary, after, between = order.offset, list[LogRecord](), list[LogRecord]()
    while end > begin:
        start = max(begin, end - width)
        records = [
            record
            async for batch in log.records(topic, partition, start, end)
            for record in batch
            if start <= record.offset < end
        ]
        await learn(records)
        place = place_in(records, order, plan.decoders)
        if place.first_after is not None:
            boundary = records[place.first_after].offset
            after = records[place.first_after :] + between + after
            between = []
        elif place.before:
            break
        else:
            between = records + between
        end, width = start, width * _BACK_GROWTH
    return boundary, after
