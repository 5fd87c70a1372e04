"""Looks whether a capture partition still is the log that was decided so far, before anything is read from it.

`core.capture_topic` judges; here the facts are fetched.
"""

from __future__ import annotations

import heapq
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Final

from trueup.adapters.truth_log import TruthLog
from trueup.core.capture_topic import CaptureLog, log_problem, made_anew, probes
from trueup.core.control import is_control
from trueup.model.decision import Held
from trueup.model.event import LogRecord
from trueup.model.registration import Table
from trueup.model.version import epoch_of, offset_of
from trueup.runtime.partition_memory import PartitionMemory
from trueup.runtime.truth_table import TruthTable

_PROBES: Final = 8  # one would do, unless a row was written back as it had been; arbitrary
_SCAN_KEYS: Final = 20_000

Decided = Callable[[LogRecord], Awaitable[Held | None]]


async def check_capture(
    log: TruthLog,
    table: Table,
    found: CaptureLog,
    committed: int | None,
    memory: PartitionMemory,
    truths: TruthTable,
    decided: Decided,
) -> int:
    """Where reading starts. Raises TopicChanged.

    Kafka deletes a group's offsets together with a topic. Without a committed offset the truth itself is the witness:
    the records its newest versions name must be there, and be decided as they were. (Keys alone prove nothing: rows
    written again in the same order lie at the same offsets.)

    Of a table with several writers only the key is asked: a version there follows from what was held, and the truth
    that a loser got stands at the loser's offset.

    :param decided: what a record taken by itself would make of its key.
    """
    problem = log_problem(table, found, committed, memory.topic)
    if problem is not None:
        raise problem
    if committed is not None:
        return committed
    for key, held in probes(await _newest(truths)):
        offset = offset_of(held.version)
        again = None if table.several_writers else decided
        if offset >= found.end or not await _holds(log, table.capture_topic, found.partition, key, held, again):
            raise made_anew(table, found.partition, offset)
    return found.begin


async def _newest(truths: TruthTable) -> list[tuple[bytes, Held]]:
    newest: list[tuple[bytes, Held]] = []
    async for batch in truths.scan(_SCAN_KEYS):
        newest = heapq.nlargest(
            _PROBES, [*newest, *batch], key=lambda pair: (epoch_of(pair[1].version), offset_of(pair[1].version))
        )
    return newest


async def _holds(log: TruthLog, topic: str, partition: int, key: bytes, held: Held, decided: Decided | None) -> bool:
    offset = offset_of(held.version)
    async with aclosing(log.records(topic, partition, offset, offset + 1)) as batches:
        async for records in batches:
            for record in records[:1]:
                if record.offset != offset:
                    return False
                if (
                    is_control(record) or record.key is None
                ):  # a truncate has no key: what it deleted stands at its offset
                    return True
                if decided is None:
                    return record.key == key
                again = await decided(record)
                same = again is not None and (again.version, again.content_hash) == (held.version, held.content_hash)
                return same and record.key == key
    return False
