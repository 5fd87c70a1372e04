"""Reading whole topics for commands: committed records only, without a group (confluent-kafka).

Workers read by the batch lane; recovery reads by `adapters.truth_log`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import TopicPartition as AioTopicPartition
from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec

from trueup.adapters.kafka_errors import PART, from_kafka, from_librdkafka
from trueup.model.errors import TrueUpError, Unreachable
from trueup.model.event import LogRecord
from trueup.model.topic import MESSAGE_BYTES_MAX

_TIMEOUT_S: Final = 10.0
_POLL_S: Final = 0.3
_BATCH_MAX: Final = 2_000
_END_WAIT_MS: Final = 20  # a broker holds a fetch at the end of a partition for half a second unless told
_SILENT = logging.getLogger("trueup.adapters.topic_reader.client")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False  # librdkafka reports each refused connection; we report the part once


class TopicReader:
    """Offsets, groups and records of one cluster."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._servers = bootstrap_servers
        self._admin = AdminClient({"bootstrap.servers": bootstrap_servers}, logger=_SILENT)

    def partitions(self, topics: list[str]) -> dict[str, int]:
        """How many partitions each existing topic has."""
        try:
            found = self._admin.list_topics(timeout=_TIMEOUT_S).topics
        except KafkaException as exc:
            raise self._error(exc.args[0], "its topics") from exc
        return {topic: len(found[topic].partitions) for topic in topics if topic in found}

    def ends(self, topics: list[str]) -> dict[tuple[str, int], int]:
        """Last stable offsets of every partition of the topics."""
        return self._offsets(topics, OffsetSpec.latest())  # type: ignore[no-untyped-call]

    def begins(self, topics: list[str]) -> dict[tuple[str, int], int]:
        """First offsets of every partition of the topics."""
        return self._offsets(topics, OffsetSpec.earliest())  # type: ignore[no-untyped-call]

    def _offsets(self, topics: list[str], which: OffsetSpec) -> dict[tuple[str, int], int]:
        asked = {
            TopicPartition(topic, number): which
            for topic, count in self.partitions(topics).items()
            for number in range(count)
        }
        if not asked:
            return {}
        try:
            answers = self._admin.list_offsets(
                asked, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=_TIMEOUT_S
            )
            return {(tp.topic, tp.partition): answer.result(_TIMEOUT_S).offset for tp, answer in answers.items()}
        except KafkaException as exc:
            raise self._error(exc.args[0], "the ends of topics") from exc
        except FutureTimeoutError as exc:  # the leader of one partition may be silent while the others answer
            raise Unreachable(PART, detail=f"{self._servers}: no answer within {_TIMEOUT_S:.0f} s") from exc

    def committed(self, group: str, topics: list[str]) -> dict[tuple[str, int], tuple[int, str]]:
        """A group's committed offsets with their metadata; partitions never committed are absent."""
        wanted = [TopicPartition(t, number) for t, count in self.partitions(topics).items() for number in range(count)]
        if not wanted:
            return {}
        return asyncio.run(self._committed(group, wanted))

    async def _committed(self, group: str, wanted: list[TopicPartition]) -> dict[tuple[str, int], tuple[int, str]]:
        """By aiokafka: confluent-kafka 2.16 reads the metadata of a committed offset beyond its end."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self._servers, client_id="trueup-command")
        try:
            await admin.start()
            asked = [AioTopicPartition(tp.topic, tp.partition) for tp in wanted]
            found = await admin.list_consumer_group_offsets(group, partitions=asked)
        except Exception as exc:
            raise from_kafka(exc, f"reading the offsets of group {group}") from exc
        finally:
            await admin.close()
        return {(tp.topic, tp.partition): (at.offset, at.metadata or "") for tp, at in found.items() if at.offset >= 0}

    def read(self, topic: str, starts: dict[int, int] | None = None) -> Iterator[LogRecord]:
        """Every committed record of a topic up to its present end, from the start or from given offsets.

        :raises Unreachable: nothing came for ten seconds although the end is not reached. What came may not be all.
        """
        ends = {number: end for (_, number), end in self.ends([topic]).items()}
        consumer = Consumer(
            {
                "bootstrap.servers": self._servers,
                "group.id": "trueup-command",  # never joined: partitions are assigned, nothing is committed
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
                "fetch.wait.max.ms": _END_WAIT_MS,
            },
            logger=_SILENT,
        )
        try:
            first = starts or {}
            consumer.assign([TopicPartition(topic, number, first.get(number, 0)) for number in ends])
            open_partitions = {number for number, end in ends.items() if end > first.get(number, 0)}
            why, deadline = "", time.monotonic() + _TIMEOUT_S
            while open_partitions:
                messages = _next_of(consumer)
                for message in messages:
                    if (error := message.error()) is None:
                        yield _record(message)
                    elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
                        open_partitions.discard(message.partition() or 0)
                    else:  # librdkafka tries again by itself; that a broker is away is the end of no partition
                        why = f": {error.str()}"
                if any(message.error() is None for message in messages):
                    deadline = time.monotonic() + _TIMEOUT_S
                elif open_partitions and time.monotonic() > deadline:
                    raise Unreachable(PART, detail=f"{self._servers}: {topic} was not read to its end{why}")
        finally:
            consumer.close()

    def write(self, record: LogRecord) -> int:
        """Appends one record to the partition it names, and says at which offset. Raises Unreachable; Refused where the
        login may not write there, or the record is too large."""
        settings = {"bootstrap.servers": self._servers, "acks": "all", "message.max.bytes": MESSAGE_BYTES_MAX}
        producer = Producer(settings, logger=_SILENT)
        answers: list[tuple[KafkaError | None, int]] = []
        try:
            producer.produce(
                record.topic,
                record.value,
                record.key,
                record.partition,
                headers=[(k, v) for k, v in record.headers],
                on_delivery=lambda error, message: answers.append((error, message.offset() or 0)),
            )
        except KafkaException as exc:
            raise self._error(exc.args[0], f'topic "{record.topic}"') from exc
        producer.flush(_TIMEOUT_S)
        if not answers:
            raise Unreachable(PART, detail=f"{self._servers}: the record was not acknowledged")
        error, offset = answers[0]
        if error is not None:
            raise self._error(error, f'topic "{record.topic}"')
        return offset

    def _error(self, error: KafkaError, what: str) -> TrueUpError:
        return from_librdkafka(error, self._servers, what)


def _next_of(consumer: Consumer) -> list[Message]:
    """What has come, or the first that comes: for a whole batch consume() waits as long as it may, at every end."""
    return consumer.consume(1, _POLL_S) + consumer.consume(_BATCH_MAX, 0)


def _record(message: Any) -> LogRecord:
    return LogRecord(
        message.topic(),
        message.partition(),
        message.offset(),
        message.timestamp()[1],
        message.key(),
        message.value(),
        tuple(message.headers() or ()),
    )
