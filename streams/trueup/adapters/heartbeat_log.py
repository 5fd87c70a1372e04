"""Heartbeat topics as the decide worker follows them, and where capture partitions end (aiokafka, without a group)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from trueup.adapters.kafka_consumer import log_records, stop_consumer
from trueup.adapters.kafka_errors import from_kafka
from trueup.model.event import LogRecord

_FETCH_BYTES_MAX: Final = 1 << 20  # a beat is some 300 bytes, and the names of its tables
Place = tuple[str, int]


class HeartbeatLog:
    """Committed records of heartbeat topics, which have one partition each. Use from the event loop that started it."""

    def __init__(self, bootstrap_servers: str, topics: Iterable[str]) -> None:
        self._servers = bootstrap_servers
        self._topics = [TopicPartition(topic, 0) for topic in topics]
        self._beats: AIOKafkaConsumer | None = None
        self._ends: AIOKafkaConsumer | None = None

    async def start(self, starts: Mapping[str, int]) -> None:
        """Reads on from these offsets, and from the end of the topics that are not named. Raises Unreachable."""
        await self.stop()
        beats, ends = self._consumer("read_committed"), self._consumer("read_uncommitted")
        try:
            await beats.start()
            await ends.start()
            beats.assign(self._topics)
            found = await beats.end_offsets(self._topics)
            for tp in self._topics:
                beats.seek(tp, min(starts.get(tp.topic, found[tp]), found[tp]))
        except BaseException as exc:
            await stop_consumer(beats)
            await stop_consumer(ends)
            raise from_kafka(exc, "connecting to heartbeat topics") if isinstance(exc, Exception) else exc from exc
        self._beats, self._ends = beats, ends

    def _consumer(self, isolation: str) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            bootstrap_servers=self._servers,
            client_id="trueup-heartbeats",
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",  # a beat that retention removed is not missed: a later one says more
            isolation_level=isolation,
            max_partition_fetch_bytes=_FETCH_BYTES_MAX,
            check_crcs=False,
        )

    async def poll(self, timeout_s: float) -> list[LogRecord]:
        """What came since the last call; empty when nothing did for so long. Raises Unreachable."""
        assert self._beats is not None, "start() comes first"
        try:
            fetched = await self._beats.getmany(timeout_ms=int(timeout_s * 1000))
        except Exception as exc:
            raise from_kafka(exc, "reading heartbeats") from exc
        return [record for records in fetched.values() for record in log_records(records)]

    async def ends(self, places: Iterable[Place]) -> dict[Place, int]:
        """Where partitions end, behind everything that was written, committed or not. Raises Unreachable.

        Not the last stable offset: a transaction becomes visible partition by partition, so a beat can be seen while
        the changes before it, of the same transaction, are not (`runtime.watermarks`).
        """
        assert self._ends is not None, "start() comes first"
        tps = [TopicPartition(topic, number) for topic, number in places]
        if not tps:
            return {}
        try:
            found = await self._ends.end_offsets(tps)
        except Exception as exc:
            raise from_kafka(exc, "reading the ends of capture partitions") from exc
        return {(tp.topic, tp.partition): end for tp, end in found.items()}

    async def stop(self) -> None:
        beats, ends, self._beats, self._ends = self._beats, self._ends, None, None
        for consumer in (beats, ends):
            if consumer is not None:
                await stop_consumer(consumer)
