"""Topics without a broker: the part is named, and the call ends in time."""

import time
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicCollection

from trueup.adapters.kafka_topics import KafkaTopics
from trueup.model.errors import Unreachable


@pytest.mark.parametrize("call", ["cluster", "describe"])
def test_a_dead_kafka_is_named_in_time(call: str) -> None:
    topics = KafkaTopics("127.0.0.1:1", timeout_s=1)
    began = time.monotonic()
    with pytest.raises(Unreachable) as error:
        topics.cluster() if call == "cluster" else topics.describe(["a"])
    assert error.value.part == "kafka"
    assert time.monotonic() - began < 5


def test_nothing_is_asked_for_no_topics() -> None:
    assert KafkaTopics("127.0.0.1:1", timeout_s=1).describe([]) == {}


def answered(value: Any) -> Future[Any]:
    future: Future[Any] = Future()
    if isinstance(value, Exception):
        future.set_exception(value)
    else:
        future.set_result(value)
    return future


class Deleting:
    """A broker that deletes "gone" between two questions."""

    def describe_topics(self, topics: TopicCollection, **_: Any) -> dict[str, Future[Any]]:
        one = SimpleNamespace(partitions=[SimpleNamespace(replicas=[1])], topic_id="id")
        return {name: answered(one) for name in topics.topic_names}

    def describe_configs(self, resources: list[Any], **_: Any) -> dict[Any, Future[Any]]:
        unknown = KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))
        return {resource: answered(unknown if resource.name == "gone" else {}) for resource in resources}


def test_a_topic_that_is_deleted_while_it_is_looked_at_is_not_there() -> None:
    """`resync` waits so until a name is free: an outage of Kafka it is not."""
    topics = KafkaTopics("127.0.0.1:1")
    topics._admin = Deleting()  # type: ignore[assignment]
    assert list(topics.describe(["gone", "there"])) == ["there"]
