"""Records as the Kafka client gives them, as our own frozen ones."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from trueup.model.event import LogRecord


def log_records(records: Iterable[Any]) -> list[LogRecord]:
    """Aiokafka's ConsumerRecords as LogRecords."""
    return [LogRecord(r.topic, r.partition, r.offset, r.timestamp, r.key, r.value, r.headers) for r in records]
