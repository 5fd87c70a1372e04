"""An independent reader of a topic's committed records: a plain client, none of TrueUp's own code."""

import time
from collections.abc import Iterable, Iterator, Mapping
from functools import cache

from confluent_kafka import Consumer, IsolationLevel, KafkaError, Message, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

PARTITIONS = 4
ANSWER_WITHIN_S = 15.0
SILENT_S_MAX = 60.0

Ends = dict[tuple[str, int], int]


MARKER_KEY = b'["trueup.watermark",'
"""What the keys of watermarks in truth topics begin with: they are no records of the table, and counted by nobody."""


def quiet_client(bootstrap_servers: str) -> dict[str, str | int | float | bool]:
    """Settings of a client that says nothing of refused connections: brokers are down because a test wants it."""
    return {"bootstrap.servers": bootstrap_servers, "log_level": 0}


def committed_messages(
    bootstrap_servers: str, topics: Iterable[str], starts: Mapping[tuple[str, int], int] = {}
) -> Iterator[Message]:
    """Every committed record of topics up to their ends, in order within a partition; no watermarks.

    :param starts: where to begin; at the beginning of partitions that are not named.
    """
    consumer = Consumer(
        {
            **quiet_client(bootstrap_servers),
            "group.id": "tests-independent-reader",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 20,
        }
    )
    known = consumer.list_topics(timeout=10).topics
    places = {(topic, number) for topic in topics for number in known[topic].partitions}
    consumer.assign([TopicPartition(*place, starts.get(place, 0)) for place in places])
    ended: set[tuple[str | None, int | None]] = set()
    deadline = time.monotonic() + SILENT_S_MAX
    try:
        while not places <= ended:
            assert time.monotonic() < deadline, f"nothing came of {sorted(places - ended)}"
            # One at first: a batch is waited for as long as one may, even at the end.
            for message in consumer.consume(1, 0.3) + consumer.consume(5_000, 0):
                place = (message.topic(), message.partition())
                if (error := message.error()) is None:
                    deadline = time.monotonic() + SILENT_S_MAX
                    ended.discard(place)
                    if not (message.key() or b"").startswith(MARKER_KEY):
                        yield message
                elif error.code() == KafkaError._PARTITION_EOF:  # others: librdkafka tries again by itself
                    ended.add(place)
    finally:
        consumer.close()


def topic_ends(bootstrap_servers: str, topics: Iterable[str], *, committed: bool = True) -> Ends:
    """Where partitions end: behind the last committed record and its marker, or behind everything that was written."""
    level = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
    latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
    asked = {TopicPartition(topic, number): latest for topic in topics for number in range(PARTITIONS)}
    admin = _admin(bootstrap_servers)
    admin.list_topics(timeout=ANSWER_WITHIN_S)  # leaders may have changed since it was asked
    answers = admin.list_offsets(asked, isolation_level=level, request_timeout=ANSWER_WITHIN_S)
    return {(tp.topic, tp.partition): future.result(2 * ANSWER_WITHIN_S).offset for tp, future in answers.items()}


@cache
def _admin(bootstrap_servers: str) -> AdminClient:
    """Kept: a new one looks for its brokers first, and without it the answers never come."""
    return AdminClient({**quiet_client(bootstrap_servers), "reconnect.backoff.max.ms": 500})
