"""What the real adapters see of Kafka: the surfaces of aiokafka's producer, consumer and admin client that they use.

`adapters.kafka_transactions` and `adapters.truth_log` run on these as they are.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from aiokafka import errors as kafka
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from tests.simulation.log import Offered, Offset, SimulatedLog, Stored
from tests.simulation.schedule import Process
from trueup.adapters.truth_log import TruthLog

_RETRY_S = 0.02
_RECOVERY_ROWS_MAX = 16


def connection_lost() -> Exception:
    error: Exception = kafka.KafkaConnectionError("by the simulation")
    return error


class RecordMetadata(NamedTuple):
    """Where a batch went."""

    offset: int


class BatchBuilder:
    """A batch that is being filled."""

    def __init__(self, records_max: int) -> None:
        self.records: list[Offered] = []
        self._records_max = records_max

    def append(self, *, key: bytes | None, value: bytes | None, timestamp: None, headers: Any) -> object | None:
        assert timestamp is None
        if len(self.records) == self._records_max:
            return None
        self.records.append(Offered(key, value, tuple(headers)))
        return self

    def close(self) -> None: ...

    def record_count(self) -> int:
        return len(self.records)


class SimulatedProducer:
    """AIOKafkaProducer, transactional."""

    def __init__(self, log: SimulatedLog, process: Process, effects: Mapping[str, str], **options: Any) -> None:
        self._log, self._process, self._effects = log, process, effects
        self._id: str = options["transactional_id"]
        self._timeout_s: float = options["transaction_timeout_ms"] / 1000
        self._batch_records_max = log.world.rng.choice((3, 50))
        self._epoch = 0

    async def start(self) -> None:
        await self._effect("producer start", self._init)

    def _init(self) -> None:
        self._epoch = self._log.init_producer(self._id)

    async def stop(self) -> None:
        await self._effect("producer stop", lambda: None)

    async def begin_transaction(self) -> None:
        await self._effect("begin transaction", lambda: None)

    def create_batch(self) -> BatchBuilder:
        return BatchBuilder(self._batch_records_max)

    async def send_batch(self, builder: BatchBuilder, topic: str, *, partition: int) -> asyncio.Future[RecordMetadata]:
        effect = self._effects.get(topic, "send truths")
        sent: asyncio.Future[RecordMetadata] = asyncio.get_running_loop().create_future()
        place, records = (topic, partition), builder.records
        first = await self._effect(
            effect, lambda: self._log.append(self._id, self._epoch, self._timeout_s, place, records)
        )
        sent.set_result(RecordMetadata(first))
        return sent

    async def send_offsets_to_transaction(self, offsets: dict[TopicPartition, OffsetAndMetadata], group: str) -> None:
        for tp, (offset, metadata) in offsets.items():
            asked = Offset(group, (tp.topic, tp.partition), offset, metadata)
            await self._effect(
                "send offsets",
                functools.partial(self._log.add_offset, self._id, self._epoch, self._timeout_s, asked),
            )

    async def commit_transaction(self) -> None:
        await self._effect("commit transaction", lambda: self._log.end(self._id, self._epoch, commit=True))

    async def _effect(self, name: str, request: Callable[[], Any]) -> Any:
        """A request: lost before the broker has it, carried out, or carried out and its answer lost."""
        await self._process.reach(f"before {name}", connection_lost)
        answer = await self._answered(request)
        await self._process.reach(f"after {name}", connection_lost)
        return answer

    async def _answered(self, request: Callable[[], Any]) -> Any:
        while True:
            try:
                return request()
            except kafka.ConcurrentTransactions:
                await self._process.passes(_RETRY_S)


class SimulatedReader:
    """AIOKafkaConsumer without a group, and AIOKafkaAdminClient: what TruthLog uses of them."""

    def __init__(self, log: SimulatedLog, process: Process) -> None:
        self._log, self._process = log, process
        self._position = 0

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def close(self) -> None: ...

    def assign(self, tps: list[TopicPartition]) -> None: ...

    def seek(self, tp: TopicPartition, position: int) -> None:
        self._position = position

    async def position(self, tp: TopicPartition) -> int:
        return self._position

    async def getmany(
        self, tp: TopicPartition, *, timeout_ms: int, max_records: int | None
    ) -> dict[TopicPartition, list[Stored]]:
        rows_max = min(max_records or _RECOVERY_ROWS_MAX, _RECOVERY_ROWS_MAX)
        await self._process.reach("before recovery read", connection_lost)
        records, position = self._log.partitions[tp.topic, tp.partition].read(self._position, rows_max)
        if position == self._position:
            await self._process.passes(timeout_ms / 1000)
        self._position = position
        await self._process.reach("after recovery read", connection_lost)
        return {tp: records} if records else {}

    async def beginning_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(tps, 0)

    async def end_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        await self._process.reach("before read bounds", connection_lost)
        ends = {tp: self._log.partitions[tp.topic, tp.partition].stable_end() for tp in tps}
        await self._process.reach("after read bounds", connection_lost)
        return ends

    async def describe_topics(self, topics: list[str]) -> list[dict[str, Any]]:
        found = {topic: [tp for tp in self._log.partitions if tp[0] == topic] for topic in topics}
        unknown = kafka.UnknownTopicOrPartitionError.errno
        return [{"error_code": 0 if places else unknown, "partitions": places} for places in found.values()]

    async def list_consumer_group_offsets(
        self, group: str, *, partitions: list[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata]:
        await self._process.reach("before read committed offset", connection_lost)
        found = {}
        for tp in partitions:
            offset, metadata = self._log.committed.get((group, tp.topic, tp.partition), (-1, ""))
            found[tp] = OffsetAndMetadata(offset, metadata)
        await self._process.reach("after read committed offset", connection_lost)
        return found


class SimulatedTruthLog(TruthLog):
    """The real reader on simulated clients."""

    def __init__(self, log: SimulatedLog, process: Process) -> None:
        super().__init__("simulated:9092")
        self._log, self._process = log, process

    async def start(self) -> None:
        if self._offsets is None:
            self._offsets = self._admin = SimulatedReader(self._log, self._process)

    def _consumer(self) -> Any:
        return SimulatedReader(self._log, self._process)
