"""An independent reader of a topic's committed records: a plain client, none of TrueUp's own code."""

from collections.abc import Iterator

from confluent_kafka import Consumer, Message, TopicPartition


def committed_messages(bootstrap_servers: str, topic: str) -> Iterator[Message]:
    """Every committed record of a topic from its beginning to its end, in order within a partition."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": "tests-independent-reader",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
        }
    )
    partitions = consumer.list_topics(topic, 10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
    ended: set[int] = set()
    try:
        while len(ended) < len(partitions):
            for message in consumer.consume(5_000, 0.3):
                if message.error() is not None:
                    ended.add(message.partition() or 0)
                else:
                    ended.discard(message.partition() or 0)
                    yield message
    finally:
        consumer.close()
