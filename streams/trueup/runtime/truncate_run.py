"""A truncate in one partition, carried out: finds what the capture log says came after it, and deletes the other rows.

Safe at any kill, as `runtime.sweep_run` is: every transaction but the last leaves the offset before the control record,
so the next owner meets it again and finds what is left to do, key by key.

Millions of records may lie between the two. They are walked over in batches, of which one is kept at a time, and other
partitions get their turns in between. Of a key little is kept, and of so many keys at a time that it stays some hundred
megabytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from itertools import islice
from typing import Final

import msgspec

from trueup.adapters.truth_log import TruthLog
from trueup.core.control import Truncate, decision_in
from trueup.core.decided_again import Part, Replay, Stretch, written_in
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
from trueup.model.decision import Held, TruthRecord
from trueup.model.event import LogRecord
from trueup.runtime.owned_partition import OwnedPartition

_SCAN_KEYS: Final = 20_000
_BACK_RECORDS: Final = 4_096  # a second of a busy partition; four times as many with each further look
_BACK_RECORDS_MAX: Final = 65_536
_BACK_GROWTH: Final = 4
_TURN_RECORDS: Final = 256  # some 30 ms of deciding: a transaction elsewhere needs dozens of turns, and has 20 s
_TURN_KEYS: Final = 2_000
_PART_RECORDS: Final = 500_000  # about as many keys at most are kept; for each part all records are read once more
_PART_RECORDS_WITH_ROWS: Final = 100_000  # where the table keeps rows, those of the keys are kept too

Learn = Callable[[Sequence[LogRecord]], Awaitable[None]]
LearnHeld = Callable[[Mapping[bytes, Held]], Awaitable[None]]


async def truncate(order: Truncate, log: TruthLog, owned: OwnedPartition, learn: Learn, learn_held: LearnHeld) -> int:
    """Publishes what a truncate changes in its partition, the offset staying at the control record. Returns how much.

    A case of a key that was not written again is over: its row is gone, or never was.

    :param learn: makes the schemas of records known to the plan, `learn_held` those of what is held of keys.
    """
    plan, memory, source = owned.plan, owned.memory, owned.producer.source
    capture = _Capture(log, source.topic, source.partition)
    stretch = Stretch(order.offset, order)
    # Without a change from after the truncate no row of after it can be there: whoever inserted it is in the log.
    if (memory.guard.epoch, memory.guard.position) > (order.epoch, order.position):
        stretch = await _since(order, capture, plan, learn)
    records_max = _PART_RECORDS_WITH_ROWS if plan.keeps_rows else _PART_RECORDS
    parts = 1 + (order.offset - stretch.boundary) // records_max
    return sum([await _settle(stretch, Part(number, parts), capture, owned, learn_held) for number in range(parts)])


async def _settle(stretch: Stretch, part: Part, capture: _Capture, owned: OwnedPartition, learn_held: LearnHeld) -> int:
    """Carries a truncate out for some of the keys. Returns how much was published."""
    order, cases = stretch.order, owned.cases
    again = Replay(stretch, owned.plan, cases.known, part)
    async with aclosing(capture.walk(stretch.boundary, order.offset)) as walk:
        async for records in walk:
            held = owned.table.get_many(keys_of(records))
            await learn_held(held)
            again.feed(records, held)
    changed = again.changed_cases(owned.table.get_many(again.keys_of_cases)) | {
        key: case_over(case, order)
        for key, case in cases.open.items()
        if part.has(key) and key not in again.keys and is_case_of_before(case, order)
    }
    if changed:
        await owned.publish([], changed, order.offset)

    async def gone() -> AsyncGenerator[list[TruthRecord], None]:
        keys = iter(again.keys)
        while some := list(islice(keys, _TURN_KEYS)):
            yield again.truths(some, owned.table.get_many(some))
            await asyncio.sleep(0)
        if again.wants_records:
            async with aclosing(capture.walk(stretch.boundary, order.offset)) as walk:
                async for records in walk:
                    yield [truth for record in records if (truth := again.truth_of(record)) is not None]
        async for held in owned.table.scan(_SCAN_KEYS):
            yield [
                deletion(key, version_deleted(known.version, order), order)
                for key, known in held
                if part.has(key) and key not in again.keys and is_row_of_before(known, order)
            ]

    async with aclosing(gone()) as truths:
        return await owned.publish_all(truths, {}, order.offset)


async def boundary_of(
    order: Truncate, log: TruthLog, topic: str, partition: int, plan: DecidePlan, learn: Learn
) -> int:
    """The offset before which a truncate would stand in a partition."""
    boundary, _ = await _place(order, _Capture(log, topic, partition), plan, learn)
    return boundary


async def _since(order: Truncate, capture: _Capture, plan: DecidePlan, learn: Learn) -> Stretch:
    """What lies between a truncate and its control record, without what every record says."""
    boundary, decisions = await _place(order, capture, plan, learn)
    keys, written = keys_of(decisions), set[tuple[bytes, int]]()
    if decisions:
        async with aclosing(capture.walk(boundary, order.offset)) as walk:
            async for records in walk:
                written |= written_in(records, keys)
    return Stretch(boundary, order, decisions, written)


async def _place(order: Truncate, capture: _Capture, plan: DecidePlan, learn: Learn) -> tuple[int, list[LogRecord]]:
    """The offset before which a truncate would stand, and what people decided from there to the control record.

    Read backwards, until a whole stretch is from before and nothing in it from afterwards.
    """
    begin, _ = await capture.log.bounds(capture.topic, capture.partition)
    end, width = order.offset, _BACK_RECORDS
    boundary, decisions = order.offset, list[LogRecord]()
    while end > begin:
        start = max(begin, end - width)
        first_after, is_before = None, False
        async with aclosing(capture.walk(start, end)) as walk:
            async for records in walk:
                await learn(records)
                place = place_in(records, order, plan.decoders)
                is_before = is_before or place.before
                if first_after is None and place.first_after is not None:
                    first_after = records[place.first_after].offset
                decisions += [record for record in records if decision_in(record) is not None]
        if first_after is not None:
            boundary = first_after
        elif is_before:
            break
        end, width = start, min(width * _BACK_GROWTH, _BACK_RECORDS_MAX)
    decisions = [record for record in decisions if record.offset >= boundary]
    return boundary, sorted(decisions, key=lambda record: record.offset)


class _Capture(msgspec.Struct, frozen=True):
    """The capture partition that is read."""

    log: TruthLog
    topic: str
    partition: int

    async def walk(self, start: int, end: int) -> AsyncGenerator[list[LogRecord], None]:
        """Its records from start to end, in batches; behind each the event loop is let in. Close it when leaving
        early."""
        if start >= end:
            return
        async with aclosing(self.log.records(self.topic, self.partition, start, end)) as batches:
            async for found in batches:
                for first in range(0, len(found), _TURN_RECORDS):
                    records = found[first : first + _TURN_RECORDS]
                    if within := [record for record in records if start <= record.offset < end]:
                        yield within
                    await asyncio.sleep(0)
