"""Looks whether a capture partition still is the log that was decided so far, before anything is read from it.

`core.capture_topic` judges; here the facts are fetched.
"""

from __future__ import annotations

import heapq
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

import msgspec

from trueup.adapters.truth_log import TruthLog
from trueup.core.capture_topic import CaptureLog, log_problem, made_anew, probes
from trueup.core.control import Truncate, is_control, order_of
from trueup.core.ordering import Guard
from trueup.core.pipeline import DecidePlan, decided_alone
from trueup.model.decision import DELETED_HASH, Held, Reject
from trueup.model.event import LogRecord
from trueup.model.version import offset_of, place_of
from trueup.runtime.partition_memory import PartitionMemory
from trueup.runtime.truncate_run import Learn, boundary_of
from trueup.runtime.truth_table import TruthTable

_PROBES: Final = 8  # one would do, unless a row was written back as it had been; arbitrary
_SCAN_KEYS: Final = 20_000


async def check_capture(
    log: TruthLog,
    plan: DecidePlan,
    found: CaptureLog,
    committed: int | None,
    memory: PartitionMemory,
    truths: TruthTable,
    learn: Learn,
) -> int:
    """Where reading starts. Raises TopicChanged.

    Kafka deletes a group's offsets together with a topic. Without a committed offset the truth itself is the witness:
    the records its newest versions name must be there, and be decided as they were. (Keys alone prove nothing: rows
    written again in the same order lie at the same offsets.)
    """
    problem = log_problem(plan.table, found, committed, memory.topic)
    if problem is not None:
        raise problem
    if committed is not None:
        return committed
    capture = _Capture(log, plan, found, learn)
    gone = list[int]()
    for key, held in probes(await _newest(truths)):
        if await capture.says(key, held):
            continue
        if held.content_hash != DELETED_HASH:
            raise made_anew(plan.table, found.partition, offset_of(held.version))
        gone.append(offset_of(held.version))
    places = await capture.truncated(min(gone)) if gone else set[int]()
    if lost := [offset for offset in gone if offset not in places]:
        raise made_anew(plan.table, found.partition, lost[0])
    return found.begin


async def _newest(truths: TruthTable) -> list[tuple[bytes, Held]]:
    newest: list[tuple[bytes, Held]] = []
    async for batch in truths.scan(_SCAN_KEYS):
        newest = heapq.nlargest(_PROBES, [*newest, *batch], key=lambda pair: place_of(pair[1].version))
    return newest


class _Capture(msgspec.Struct, frozen=True):
    """A capture partition that is asked for what the truth names.

    :param learn: makes the schemas of records known to the plan.
    """

    log: TruthLog
    plan: DecidePlan
    found: CaptureLog
    learn: Learn

    async def says(self, key: bytes, held: Held) -> bool:
        """Whether the record at its offset says what is held of a key."""
        offset = offset_of(held.version)
        async with aclosing(self._records(offset, min(offset + 1, self.found.end))) as records:
            async for record in records:
                return record.offset == offset and await self._is(record, key, held)
        return False

    async def truncated(self, start: int) -> set[int]:
        """Offsets under which truncates of the log delete what no record at them says (`core.decided_again`): each
        right before where the truncate would stand, or there.

        :param start: their control records lie behind it.
        """
        places = set[int]()
        async with aclosing(self._records(start, self.found.end)) as records:
            async for record in records:
                order = self._order_of(record) if is_control(record) else None
                if isinstance(order, Truncate):
                    boundary = await boundary_of(order, self.log, record.topic, record.partition, self.plan, self.learn)
                    places |= {boundary - 1, boundary}
        return places

    async def _is(self, record: LogRecord, key: bytes, held: Held) -> bool:
        """Whether a record by itself says what is held of a key.

        Of a table with several writers only the key is asked: a version there follows from what was held, and the
        truth that a loser got stands at the loser's offset.
        """
        if is_control(record):  # a sweep and a truncate have no key: what they deleted stands at their offset
            return record.key in {None, key} and not isinstance(self._order_of(record), Reject)
        if record.key != key:
            return False
        if self.plan.table.several_writers:
            return True
        await self.learn([record])
        again = decided_alone(record, self.plan)
        return again is not None and (again.version, again.content_hash) == (held.version, held.content_hash)

    def _order_of(self, record: LogRecord) -> object:
        return order_of(record, Guard(), self.found.topic.encode())

    async def _records(self, start: int, end: int) -> AsyncGenerator[LogRecord, None]:
        batches = self.log.records(self.plan.table.capture_topic, self.found.partition, start, end)
        async with aclosing(batches):
            async for records in batches:
                for record in records:
                    yield record
