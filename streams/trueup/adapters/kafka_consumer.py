"""What every aiokafka consumer here needs: its records as our own frozen ones, and a stop that works."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from aiokafka import AIOKafkaConsumer

from trueup.model.event import LogRecord


def log_records(records: Iterable[Any]) -> list[LogRecord]:
    """Aiokafka's ConsumerRecords as LogRecords."""
    return [LogRecord(r.topic, r.partition, r.offset, r.timestamp, r.key, r.value, r.headers) for r in records]


async def stop_consumer(consumer: AIOKafkaConsumer) -> None:
    """Stops a consumer without a group, however young it is.

    aiokafka 0.14 cancels a task of the consumer and awaits it; one that had no turn yet answers with CancelledError,
    which the caller would take for its own. One turn of the loop lets it begin.
    """
    await asyncio.sleep(0)
    await consumer.stop()
