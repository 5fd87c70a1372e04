"""Reads a connector's notifications: which tables it has read, and how that ended."""

from __future__ import annotations

from contextlib import suppress

from fastavro.types import Schema

from trueup.adapters.schema_registry import SchemaRegistry
from trueup.adapters.topic_reader import TopicReader
from trueup.core.connector_config import notification_topic
from trueup.core.decode import schema_ids
from trueup.core.filling import Scan, notification_schema, scan_of


class ScanReader:
    """The topics of notifications; each has one partition."""

    def __init__(self, topics: TopicReader, registry: SchemaRegistry) -> None:
        self._topics, self._registry = topics, registry
        self._schemas: dict[int, Schema] = {}

    def end(self, system: str) -> int:
        """The end of a system's topic; 0 when there is none yet. Raises Unreachable."""
        topic = notification_topic(system)
        return self._topics.ends([topic]).get((topic, 0), 0)

    def since(self, system: str, offset: int) -> list[Scan]:
        """The scans that ended from an offset on, as far as they can be read. Raises Unreachable, Refused."""
        records = list(self._topics.read(notification_topic(system), {0: offset}))
        for schema_id in schema_ids(records) - self._schemas.keys():
            with suppress(LookupError, ValueError):
                self._schemas[schema_id] = notification_schema(self._registry.schema_by_id(schema_id))
        return [scan for record in records if (scan := scan_of(record, self._schemas)) is not None]
