"""The measure: the same records into the same rows by a bare loop. No order, no fence, no state, no dead letters.

confluent-kafka's consume, the same Avro decoding, binary COPY into a temporary table, one merge per batch. A program of
its own (python -m), so that nobody shares its interpreter; the benchmark's other half is `drain`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable
from typing import Any, Final

import msgspec
import psycopg
from confluent_kafka import Consumer, Message, TopicPartition

from tests.benchmarks.workload import COLUMNS
from trueup.adapters.schema_registry import SchemaRegistry
from trueup.core.decode import EnvelopeDecoder

_BATCH_ROWS_MAX: Final = 10_000
_POLL_S: Final = 0.1
_KEY, *_OTHERS = COLUMNS
# Times and decimals travel as text; their cast is the database's, as it is at our replicas.
_BINARY: Final = {"bigint": "int8", "integer": "int8", "text": "text"}


class Job(msgspec.Struct):
    """From where, and into what.

    :param starts: by partition, the first offset to read; the end is where the partition ends.
    """

    bootstrap_servers: str
    registry_url: str
    topic: str
    starts: dict[int, int]
    dsn: str
    table: str


class BareReplica:
    """One connection, one staging table."""

    def __init__(self, dsn: str, table: str) -> None:
        self._connection = psycopg.connect(dsn, options="-c synchronous_commit=off -c jit=off -c TimeZone=UTC")
        self._types = [_BINARY.get(kind, "text") for kind in COLUMNS.values()]
        staged = ", ".join(f"{name} {kind}" for name, kind in zip(COLUMNS, self._types, strict=True))
        self._connection.execute(f"CREATE TEMP TABLE staged ({staged}) ON COMMIT DELETE ROWS".encode())
        self._connection.commit()
        cast = ", ".join(f"{name}::{kind}" for name, kind in COLUMNS.items())
        self._merge = (
            f"INSERT INTO {table} ({', '.join(COLUMNS)}) SELECT {cast} FROM staged ORDER BY {_KEY}"
            f" ON CONFLICT ({_KEY}) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _OTHERS)}"
        ).encode()
        self._delete = f"DELETE FROM {table} WHERE {_KEY} = ANY(%s)".encode()

    def write(self, newest: dict[int, dict[str, Any] | None]) -> None:
        """One transaction: rows as they are now, None for those that are gone."""
        with self._connection.cursor() as cursor:
            with cursor.copy("COPY staged FROM STDIN (FORMAT BINARY)") as copy:
                copy.set_types(self._types)
                for row in newest.values():
                    if row is not None:
                        copy.write_row(list(row.values()))
            cursor.execute(self._merge)
            if gone := [key for key, row in newest.items() if row is None]:
                cursor.execute(self._delete, [gone])
        self._connection.commit()


def run(job: Job) -> dict[str, float]:
    """Read everything behind the offsets. Returns seconds, seconds of this process's CPU, and the number of changes."""
    registry, replica = SchemaRegistry(job.registry_url), BareReplica(job.dsn, job.table)
    decoders: dict[int, EnvelopeDecoder] = {}
    consumer = Consumer(
        {
            "bootstrap.servers": job.bootstrap_servers,
            "group.id": "bare-loop",  # never joined
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 50,
        }
    )
    changes, open_partitions = 0, set(job.starts)
    began, began_cpu = time.monotonic(), time.process_time()
    consumer.assign([TopicPartition(job.topic, number, offset) for number, offset in job.starts.items()])
    while open_partitions:
        messages = consumer.consume(_BATCH_ROWS_MAX, _POLL_S)
        newest: dict[int, dict[str, Any] | None] = {}
        for value in _values(messages, open_partitions):
            schema_id = int.from_bytes(value[1:5], "big")
            if schema_id not in decoders:
                decoders[schema_id] = EnvelopeDecoder(registry.schema_by_id(schema_id))
            envelope = decoders[schema_id].read(value)
            image = envelope["after"]
            newest[(image or envelope["before"])[_KEY]] = image
            changes += 1
        if newest:
            replica.write(newest)
    seconds, cpu_seconds = time.monotonic() - began, time.process_time() - began_cpu
    consumer.close()
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "changes": changes}


def _values(messages: Iterable[Message], open_partitions: set[int]) -> Iterable[bytes]:
    for message in messages:
        if message.error() is not None:  # nothing but the end of a partition is expected
            open_partitions.discard(message.partition() or 0)
        elif (value := message.value()) is not None:  # not the tombstone behind a delete
            yield value


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run(msgspec.json.decode(sys.stdin.buffer.read(), type=Job))) + "\n")
