"""Many keys for the state of the decide worker: one envelope that Debezium wrote, repeated under fresh keys.

Only memory and recovery are measured with them. A million rows through Debezium would take longer than all the rest,
and what the state holds of a key does not depend on its row.
"""

from __future__ import annotations

from itertools import islice
from typing import Final

from confluent_kafka import Producer

from trueup.adapters.topic_reader import TopicReader
from trueup.model.event import LogRecord

FIRST_KEY: Final = 1_000_000_000
"""Beyond every key the source has."""

_FRAME: Final = 5
_LOOKED_AT: Final = 50_000
_SERVED_EVERY: Final = 10_000


def flood(bootstrap_servers: str, topic: str, partitions: int, keys: int) -> None:
    """Append a record for each fresh key, spread over the partitions."""
    template = _snapshot_record(bootstrap_servers, topic)
    assert template.value is not None
    # frame | no image before | the image after, which begins with the key | the rest
    head, body = template.value[: _FRAME + 2], template.value[_FRAME + 2 :]
    rest = body[next(place for place, byte in enumerate(body) if byte < 0x80) + 1 :]
    producer = Producer({"bootstrap.servers": bootstrap_servers, "linger.ms": 20, "acks": "all"})
    for number in range(FIRST_KEY, FIRST_KEY + keys):
        key = b'{"account_id":%d}' % number
        value = head + _avro_long(number) + rest
        producer.produce(topic, value, key, number % partitions, headers=list(template.headers))
        if number % _SERVED_EVERY == 0:
            producer.flush()
    left = producer.flush(60)
    assert left == 0, f"{left} records were not acknowledged"


def _snapshot_record(bootstrap_servers: str, topic: str) -> LogRecord:
    """A row of the first snapshot: it has no image before and no position in the log."""
    for record in islice(TopicReader(bootstrap_servers).read(topic), _LOOKED_AT):
        if record.value is not None and record.value[_FRAME : _FRAME + 2] == b"\x00\x02":
            return record
    raise AssertionError(f"{topic} has no record of a snapshot")


def _avro_long(number: int) -> bytes:
    """A number that is not negative, as Avro writes it."""
    rest, written = number << 1, bytearray()
    while rest > 0x7F:
        written.append(rest & 0x7F | 0x80)
        rest >>= 7
    written.append(rest)
    return bytes(written)
