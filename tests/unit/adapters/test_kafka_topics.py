"""Topics without a broker: the part is named, and the call ends in time."""

import time

import pytest

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
