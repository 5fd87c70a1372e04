"""Records that no connector of ours writes, put into a capture topic: repeated, late, broken, foreign, forged.

They are made from what was really captured, so that only what a test names is wrong with them.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import fastavro
import msgspec
from confluent_kafka import Producer

from tests.committed_reader import quiet_client
from trueup.adapters.schema_registry import SchemaRegistry
from trueup.adapters.topic_reader import TopicReader
from trueup.model.event import LogRecord
from trueup.model.settings import Settings

_FRAME_BYTES = 5
_WITHIN_S = 20.0


class Forged(msgspec.Struct, frozen=True):
    """A change that never was. `jump_us` is how far its commit time lies from that of the record before it."""

    op: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    jump_us: int


class Forger:
    """Writes to one capture topic as somebody who may write to it."""

    def __init__(self, settings: Settings, topic: str) -> None:
        self.topic = topic
        self._servers = settings.kafka.bootstrap_servers
        self._registry = SchemaRegistry(settings.registry.url)
        self._reader = TopicReader(self._servers)

    def close(self) -> None:
        self._registry.close()

    def history(self, key: bytes) -> list[LogRecord]:
        """Every captured record of a key, oldest first."""
        return [record for record in self._reader.read(self.topic) if record.key == key]

    def envelope(self, record: LogRecord) -> dict[str, Any]:
        """What a record says."""
        assert record.value is not None, "a tombstone says nothing"
        stream = io.BytesIO(record.value[_FRAME_BYTES:])
        decoded: Any = fastavro.schemaless_reader(stream, self._schema(record), None)
        return dict(decoded)

    def altered(self, record: LogRecord, *, source: dict[str, Any] | None = None, **fields: Any) -> LogRecord:
        """A record that says something else: fields of its envelope, and of its source block."""
        envelope = self.envelope(record) | fields
        envelope["source"] = envelope["source"] | (source or {})
        out = io.BytesIO()
        fastavro.schemaless_writer(out, self._schema(record), envelope)
        assert record.value is not None
        return msgspec.structs.replace(record, value=record.value[:_FRAME_BYTES] + out.getvalue())

    def newest_changes(self) -> dict[int, LogRecord]:
        """By partition the newest record that is a change with a position: nothing in the log is behind it."""
        found: dict[int, LogRecord] = {}
        for record in self._reader.read(self.topic):
            if record.key is not None and record.value and record.value[0] == 0:
                envelope = self.envelope(record)
                if envelope["op"] in {"c", "u", "d"} and envelope["source"]["sequence"]:
                    found[record.partition] = record
        return found

    def following(self, record: LogRecord, key: bytes, changes: Sequence[Forged]) -> list[LogRecord]:
        """Changes of a key right behind a record in the source's log, each at a time of its own."""
        source = self.envelope(record)["source"]
        commit, change = msgspec.json.decode(source["sequence"], type=list[str | None])
        made = []
        for number, forged in enumerate(changes, start=1):
            time_us = source["ts_us"] + forged.jump_us
            sequence = msgspec.json.encode([commit, str(int(change or "0") + number)]).decode()
            claim = {"ts_us": time_us, "ts_ms": time_us // 1000, "sequence": sequence}
            altered = self.altered(record, source=claim, op=forged.op, before=forged.before, after=forged.after)
            made.append(msgspec.structs.replace(altered, key=key))
        return made

    def write(self, records: Sequence[LogRecord]) -> None:
        """Append them in order, each to the partition it names."""
        producer = Producer(quiet_client(self._servers) | {"acks": "all", "enable.idempotence": True})
        self._produce(producer, records)

    def write_and_abort(self, records: Sequence[LogRecord]) -> None:
        """Append them in a transaction that is given up."""
        producer = Producer(quiet_client(self._servers) | {"transactional.id": f"tests-{self.topic}"})
        producer.init_transactions(_WITHIN_S)
        producer.begin_transaction()
        self._produce(producer, records)
        producer.abort_transaction(_WITHIN_S)

    def _produce(self, producer: Producer, records: Sequence[LogRecord]) -> None:
        for record in records:
            headers: list[tuple[str, str | bytes | None]] = [*record.headers]
            producer.produce(self.topic, record.value, record.key, record.partition, headers=headers)
        assert producer.flush(_WITHIN_S) == 0, "not every record was acknowledged"

    def _schema(self, record: LogRecord) -> Any:
        assert record.value is not None
        schema_id = int.from_bytes(record.value[1:_FRAME_BYTES], "big")
        return fastavro.parse_schema(self._registry.schema_by_id(schema_id))
