"""A truncate in one partition, carried out: finds what the capture log says came after it, and deletes the other rows.

Safe at any kill, as `runtime.sweep_run` is: every transaction but the last leaves the offset before the control record,
so the next owner meets it again and finds what is left to do.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final

from trueup.adapters.truth_log import TruthLog
from trueup.core.control import Truncate
from trueup.core.decided_again import Settled, settled
from trueup.core.pipeline import DecidePlan
from trueup.core.truncation import (
    case_over,
    deletion,
    is_case_of_before,
    is_row_of_before,
    keys_of,
    place_in,
    version_deleted,
)
from trueup.model.decision import TruthRecord
from trueup.model.event import LogRecord
from trueup.runtime.owned_partition import OwnedPartition

_SCAN_KEYS: Final = 20_000
_BACK_RECORDS: Final = 4_096  # a second of a busy partition; four times as many with each further look
_BACK_GROWTH: Final = 4

Learn = Callable[[Sequence[LogRecord]], Awaitable[None]]


async def truncate(order: Truncate, log: TruthLog, owned: OwnedPartition, learn: Learn) -> int:
    """Publishes what a truncate changes in its partition, the offset staying at the control record. Returns how much.

    A case of a key that was not written again is over: its row is gone, or never was.

    :param learn: makes the schemas of records known to the plan.
    """
    plan, memory, source = owned.plan, owned.memory, owned.producer.source
    boundary, after = order.offset, list[LogRecord]()
    # Without a change from after the truncate no row of after it can be there: whoever inserted it is in the log.
    if (memory.guard.epoch, memory.guard.position) > (order.epoch, order.position):
        boundary, after = await _since(order, log, source.topic, source.partition, plan, learn)
    seen, cases = keys_of(after), owned.cases
    now = settled(after, boundary, order, owned.table.get_many(seen), cases.known, plan) if after else Settled([], {})
    changed = now.cases | {
        key: case_over(case, order)
        for key, case in cases.open.items()
        if key not in seen and is_case_of_before(case, order)
    }
    if changed:
        await owned.publish([], changed, order.offset)

    async def gone() -> AsyncIterator[list[TruthRecord]]:
        yield now.truths
        async for held in owned.table.scan(_SCAN_KEYS):
            yield [
                deletion(key, version_deleted(known.version, order), order)
                for key, known in held
                if key not in seen and is_row_of_before(known, order)
            ]

    return await owned.publish_all(gone(), {}, order.offset)


async def boundary_of(
    order: Truncate, log: TruthLog, topic: str, partition: int, plan: DecidePlan, learn: Learn
) -> int:
    """The offset before which a truncate would stand in a partition."""
    return (await _since(order, log, topic, partition, plan, learn))[0]


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
