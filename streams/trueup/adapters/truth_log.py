"""Reading Kafka outside the batch lane: committed offsets of the deciding group, and truth topics for recovery.

Readers here have no group; they read committed records only, of partitions they name.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, Final

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import for_code
from aiokafka.structs import TopicPartition

from trueup.adapters.kafka_consumer import log_records, stop_consumer
from trueup.adapters.kafka_errors import from_kafka
from trueup.model.errors import Stalled
from trueup.model.event import LogRecord

_POLL_MS: Final = 500
_FETCH_BYTES_MAX: Final = 4 << 20
_SILENCE_S_MAX: Final = 60.0  # a partition below its end that delivers nothing for so long is stuck (faust#176, #597)


class TruthLog:
    """One consumer for offsets, one per recovery. Use from the event loop that started it."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._offsets: AIOKafkaConsumer | None = None
        self._admin: AIOKafkaAdminClient | None = None
        self._starting = asyncio.Lock()

    async def start(self) -> None:
        """Connects. Raises Unreachable."""
        async with self._starting:
            if self._offsets is not None:
                return
            consumer = self._consumer()
            admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap_servers, client_id="trueup-truth-log")
            try:
                await consumer.start()
                await admin.start()
            except Exception as exc:
                await stop_consumer(consumer)
                await admin.close()
                raise from_kafka(exc, "connecting") from exc
            self._offsets, self._admin = consumer, admin

    async def stop(self) -> None:
        consumer, admin, self._offsets, self._admin = self._offsets, self._admin, None, None
        if consumer is not None:
            await stop_consumer(consumer)
        if admin is not None:
            await admin.close()

    def _consumer(self) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap_servers,
            client_id="trueup-truth-log",
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            max_partition_fetch_bytes=_FETCH_BYTES_MAX,
            check_crcs=False,
        )

    async def ping(self) -> None:
        """Ask the cluster for its topics. Raises Unreachable when no broker answers."""
        await self.start()
        assert self._offsets is not None
        try:
            await self._offsets.topics()
        except Exception as exc:
            raise from_kafka(exc, "asking for metadata") from exc

    async def committed(self, group: str, topic: str, partition: int) -> tuple[int, str] | None:
        """The group's committed offset of a partition and its metadata; None when it never committed."""
        await self.start()
        assert self._admin is not None
        tp = TopicPartition(topic, partition)
        try:
            offsets = await self._admin.list_consumer_group_offsets(group, partitions=[tp])
        except Exception as exc:
            raise from_kafka(exc, f"reading the committed offset of {topic}/{partition}") from exc
        found = offsets.get(tp)
        return None if found is None or found.offset < 0 else (found.offset, found.metadata or "")

    async def partitions(self, topic: str) -> int:
        """How many partitions a topic has. Raises TopicChanged when there is no such topic."""
        await self.start()
        assert self._admin is not None
        try:
            (found,) = await self._admin.describe_topics([topic])
            if (code := found["error_code"]) != 0:  # the client hands it on with no partitions, and says nothing
                raise for_code(code)(topic)
        except Exception as exc:
            raise from_kafka(exc, f"looking at topic {topic}") from exc
        return len(found["partitions"])

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """First offset and last stable offset of a partition."""
        await self.start()
        assert self._offsets is not None
        tp = TopicPartition(topic, partition)
        try:
            begin = (await self._offsets.beginning_offsets([tp]))[tp]
            end = (await self._offsets.end_offsets([tp]))[tp]
        except Exception as exc:
            raise from_kafka(exc, f"reading the offsets of {topic}/{partition}") from exc
        return begin, end

    async def read(
        self, topic: str, partition: int, start: int, end: int
    ) -> AsyncIterator[tuple[list[tuple[bytes, bytes | None]], int]]:
        """Committed (key, value) pairs from start to end, in batches with the position behind each.

        :raises Stalled: nothing arrives although the end is not reached.
        """
        async with aclosing(self.read_records(topic, partition, start, end)) as batches:
            async for records, position in batches:
                yield [(r.key, r.value) for r in records], position

    async def records(self, topic: str, partition: int, start: int, end: int) -> AsyncGenerator[list[LogRecord], None]:
        """Committed records from start to end, in batches. Raises Stalled. Close it when leaving early."""
        async with aclosing(self.read_records(topic, partition, start, end)) as batches:
            async for found, _ in batches:
                yield log_records(found)

    async def read_records(
        self, topic: str, partition: int, start: int, end: int, *, records_max: int | None = None
    ) -> AsyncGenerator[tuple[list[Any], int], None]:
        """Committed records, as aiokafka has them, from start to end, in batches with the position behind each.

        The end may lie behind a transaction marker, which is no record: the position decides, not the last record.
        :raises Stalled: nothing arrives although the end is not reached.
        """
        if start >= end:
            return
        consumer = self._consumer()
        tp = TopicPartition(topic, partition)
        loop = asyncio.get_running_loop()
        try:
            await consumer.start()
            consumer.assign([tp])
            consumer.seek(tp, start)
            position, moved_at = start, loop.time()
            while position < end:
                fetched = await consumer.getmany(tp, timeout_ms=_POLL_MS, max_records=records_max)
                now_at = await consumer.position(tp)
                if now_at > position:
                    position, moved_at = now_at, loop.time()
                    yield fetched.get(tp, []), position
                elif loop.time() - moved_at > _SILENCE_S_MAX:
                    raise Stalled(
                        f'reading "{topic}" partition {partition} stands still',
                        detail=f"position {position}, end {end}",
                        hint="see the broker's log; the worker is started anew",
                    )
        except Stalled:
            raise
        except Exception as exc:
            raise from_kafka(exc, f"reading {topic}/{partition}") from exc
        finally:
            await stop_consumer(consumer)
