"""Writing to Kafka, transactionally: the one client that produces truth (design 6).

One producer per capture partition, with `transactional.id = trueup-decide-<topic>-<partition>`: starting it fences the
former owner of the partition, wherever that still runs, and waits until its open transaction has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from trueup.adapters.kafka_errors import from_kafka
from trueup.model.errors import TrueUpError
from trueup.model.topic import MESSAGE_BYTES_MAX

_BATCH_BYTES_MAX: Final = 512 << 10  # several batches per request keep the broker's append short; arbitrary
_RETRY_BACKOFF_MS: Final = 20  # the KIP-890 check answers NotEnoughReplicas once per transaction; 100 ms was the tail


class Outgoing(msgspec.Struct, frozen=True, gc=False):
    """A record to write. Its partition is the partition of the capture record it comes from, unless it says another."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    partition: int | None = None


class PartitionProducer:
    """Writes the batches of one capture partition, each as one transaction.

    :param client: makes the Kafka client, None: aiokafka's; tests/simulation has one without Kafka.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        topic: str,
        partition: int,
        transaction_timeout_ms: int,
        client: Callable[..., Any] | None = None,
    ) -> None:
        self.source = TopicPartition(topic, partition)
        self._what = f"{topic}/{partition}"
        self._producer = (client or _Client)(
            bootstrap_servers=bootstrap_servers,
            client_id=f"trueup-decide-{topic}-{partition}",
            transactional_id=f"trueup-decide-{topic}-{partition}",
            transaction_timeout_ms=transaction_timeout_ms,
            acks="all",
            max_batch_size=_BATCH_BYTES_MAX,
            max_request_size=MESSAGE_BYTES_MAX,
            retry_backoff_ms=_RETRY_BACKOFF_MS,
            request_timeout_ms=transaction_timeout_ms,
        )

    async def start(self) -> None:
        """Fences the former owner and waits for its transaction to end. Raises Unreachable."""
        try:
            await self._producer.start()
        except Exception as exc:
            await self.stop()
            raise from_kafka(exc, f"starting the producer of {self._what}") from exc

    async def stop(self) -> None:
        """Gives the producer up; an open transaction is aborted by the broker or by the next owner."""
        try:
            await self._producer.stop()
        except Exception as exc:
            # A producer in a fatal state raises its state again on stop; there is nothing left to lose in it.
            _ = from_kafka(exc, f"stopping the producer of {self._what}")

    async def commit(
        self, records: Iterable[Outgoing], *, group: str, next_offset: int, metadata: str
    ) -> dict[str, int]:
        """Writes records and the input offset as one transaction, all or nothing.

        1. begin; 2. records, each topic in the given order; 3. the group's offset with its metadata; 4. commit.

        :return: by topic, the offset behind the last record written to the own partition.
        :raises Fenced: a newer owner exists. Any other error leaves the outcome unknown: the caller starts a new
            producer and reads the committed offset.
        """
        try:
            await self._producer.begin_transaction()  # 1
            written = await self._send(records)  # 2
            offsets = {self.source: OffsetAndMetadata(next_offset, metadata)}
            await self._producer.send_offsets_to_transaction(offsets, group)  # 3
            await self._producer.commit_transaction()  # 4
        except asyncio.CancelledError:
            raise
        except TrueUpError:
            raise
        except Exception as exc:
            raise from_kafka(exc, f"committing a batch of {self._what}") from exc
        return written

    async def _send(self, records: Iterable[Outgoing]) -> dict[str, int]:
        builders: dict[tuple[str, int], Any] = {}
        pending: list[tuple[tuple[str, int], asyncio.Future[Any]]] = []
        for record in records:
            place = (record.topic, self.source.partition if record.partition is None else record.partition)
            builder = builders.get(place)
            if builder is None:
                builder = builders[place] = self._producer.create_batch()
            if not self._append(builder, record):
                pending.append((place, await self._submit(builder, *place)))
                builder = builders[place] = self._producer.create_batch()
                self._append(builder, record)
        for place, builder in builders.items():
            pending.append((place, await self._submit(builder, *place)))
        written: dict[tuple[str, int], int] = {}
        for place, future in pending:
            metadata = await future
            written[place] = metadata.offset
        own = self.source.partition
        return {
            topic: offset + builders[topic, number].record_count()
            for (topic, number), offset in written.items()
            if number == own
        }

    @staticmethod
    def _append(builder: Any, record: Outgoing) -> bool:
        appended = builder.append(key=record.key, value=record.value, timestamp=None, headers=list(record.headers))
        return appended is not None

    async def _submit(self, builder: Any, topic: str, partition: int) -> asyncio.Future[Any]:
        builder.close()
        future: asyncio.Future[Any] = await self._producer.send_batch(builder, topic, partition=partition)
        future.add_done_callback(_fetch_exception)
        return future


class _Client(AIOKafkaProducer):  # type: ignore[misc] # aiokafka has no types
    """aiokafka's producer, without the reports that nobody looked at how its transaction failed.

    aiokafka sets the error that ended a transaction on all of its futures. The first to be awaited raises it; the
    others would be logged with a traceback when they are collected: "Future exception was never retrieved".
    """

    async def stop(self) -> None:
        try:
            await super().stop()
        finally:
            unsent = self._message_accumulator._batches.values()  # noqa: SLF001
            drained = [batch._drain_waiter for batches in unsent for batch in batches]  # noqa: SLF001
            for future in (self._txn_manager.wait_for_transaction_end(), *drained):
                if future is not None:
                    future.add_done_callback(_fetch_exception)


def _fetch_exception(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()
