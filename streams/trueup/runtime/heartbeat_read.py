"""Reads a system's heartbeat topic: is its stream visible, and how often was its snapshot begun?"""

from __future__ import annotations

import msgspec

from trueup.adapters.schema_registry import SchemaRegistry
from trueup.adapters.topic_reader import TopicReader
from trueup.core.connector_config import heartbeat_topic
from trueup.core.decode import EnvelopeDecoder, decode, schema_ids
from trueup.model.event import ChangeEvent, Op


class Heartbeats(msgspec.Struct, frozen=True):
    """What was seen of an epoch.

    :param snapshots: how often a snapshot began: each reads the heartbeat row.
    :param streams: a heartbeat came through the log, so every row of the snapshot is visible: Connect commits in order.
    :param position: where to read on.
    """

    snapshots: int
    streams: bool
    position: int


class HeartbeatReader:
    """The heartbeat topic of one system; it has one partition."""

    def __init__(self, topics: TopicReader, registry: SchemaRegistry, system: str) -> None:
        self._topics, self._registry, self._system = topics, registry, system
        self._topic = heartbeat_topic(system)
        self._decoders: dict[int, EnvelopeDecoder] = {}

    def end(self) -> int:
        """The end of the topic; 0 when there is none yet."""
        return self._topics.ends([self._topic]).get((self._topic, 0), 0)

    def since(self, position: int, epoch: int, before: Heartbeats | None = None) -> Heartbeats:
        """What came from a position on, added to what was seen before. Raises Unreachable."""
        snapshots, streams = (0, False) if before is None else (before.snapshots, before.streams)
        if position > self.end():  # the topic was made anew
            position = 0
        records = [r for r in self._topics.read(self._topic, {0: position}) if r.value is not None]
        for schema_id in schema_ids(records) - self._decoders.keys():
            self._decoders[schema_id] = EnvelopeDecoder(self._registry.schema_by_id(schema_id))
        for record in records:
            position = max(position, record.offset + 1)
            event = decode(record, self._decoders)
            if (
                isinstance(event, ChangeEvent)
                and event.epoch == epoch
                and (event.row or {}).get("system") == self._system
            ):
                snapshots += event.op is Op.READ
                streams = streams or event.op is Op.UPDATE
        return Heartbeats(snapshots, streams, position)
