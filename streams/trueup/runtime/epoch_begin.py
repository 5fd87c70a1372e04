"""Begins an epoch at the capture partitions of a system: from then on, what earlier epochs say is stale there.

The same protocol by which a worker takes a partition over (design 6): start the partition's producer, which fences the
owner, read what is committed, commit. The owner ends at its next commit and is started anew. It needs no group to be
empty, and it is what lets a partition pass a record at which the source went back, and a topic that was made anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from trueup.adapters.kafka_transactions import PartitionProducer
from trueup.adapters.truth_log import TruthLog
from trueup.core.capture_topic import CaptureLog
from trueup.model.errors import Fenced, Refused, Retryable
from trueup.model.registration import Table
from trueup.model.settings import Settings
from trueup.runtime.partition_memory import DECIDE_GROUP, PartitionMemory, begun

_TRIES_MAX: Final = 20  # a worker that starts at this moment fences us once; a partition made now has no leader yet
_PAUSE_S: Final = 0.5


async def begin_epoch(
    settings: Settings,
    system: str,
    tables: list[Table],
    epoch: int,
    identity_of: Callable[[Table], Awaitable[str]],
    on_partition: Callable[[], None],
) -> None:
    """Begin the epoch at every partition of the tables. Safe to repeat. Raises Unreachable, Refused.

    :param identity_of: identity of a table's capture topic.
    """
    log = TruthLog(settings.kafka.bootstrap_servers)
    try:
        for table in tables:
            identity = await identity_of(table)
            for partition in range(await log.partitions(table.capture_topic)):
                await _begin_patiently(settings, log, table, partition, (system, epoch), identity)
                on_partition()
    finally:
        await log.stop()


async def _begin_patiently(
    settings: Settings, log: TruthLog, table: Table, partition: int, begins: tuple[str, int], identity: str
) -> None:
    for _ in range(_TRIES_MAX):
        try:
            await _begin(settings, log, table, partition, begins, identity)
        except (Fenced, Retryable):
            await asyncio.sleep(_PAUSE_S)
        else:
            return
    raise Refused(
        f'partition {partition} of "{table.capture_topic}" cannot be taken over',
        detail=f"tried {_TRIES_MAX} times: decide workers take it back again and again, or Kafka does not answer",
        hint="see the logs of the decide workers; then run the command again",
    )


async def _begin(
    settings: Settings, log: TruthLog, table: Table, partition: int, begins: tuple[str, int], identity: str
) -> None:
    system, epoch = begins
    kafka = settings.kafka
    producer = PartitionProducer(kafka.bootstrap_servers, table.capture_topic, partition, kafka.transaction_timeout_ms)
    await producer.start()
    try:
        committed = await log.committed(DECIDE_GROUP, table.capture_topic, partition)
        begin, end = await log.bounds(table.capture_topic, partition)
        offset, metadata = committed if committed is not None else (None, "")
        capture = CaptureLog(topic=identity, partition=partition, begin=begin, end=end)
        memory, next_offset = begun(
            PartitionMemory.read(metadata), offset, capture, epoch, system if table.several_writers else None
        )
        await producer.commit([], group=DECIDE_GROUP, next_offset=next_offset, metadata=memory.write())
    finally:
        await producer.stop()
