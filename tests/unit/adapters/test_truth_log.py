"""Reading Kafka beside the batch lane: what the client hands on without a word."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka.errors import TopicAuthorizationFailedError, UnknownTopicOrPartitionError

from trueup.adapters.truth_log import TruthLog
from trueup.model.errors import Stop, TopicChanged, TrueUpError


class Admin:
    """aiokafka's `describe_topics` raises nothing for a topic that is not there: it has no partitions."""

    def __init__(self, code: int, partitions: int) -> None:
        self._answer = {"error_code": code, "partitions": [{}] * partitions}

    async def describe_topics(self, _: list[str]) -> list[dict[str, Any]]:
        return [self._answer]


def partitions(code: int, count: int) -> int:
    log = TruthLog("127.0.0.1:1")
    log._offsets, log._admin = object(), Admin(code, count)
    return asyncio.run(log.partitions("orders"))


def test_the_partitions_of_a_topic_are_counted() -> None:
    assert partitions(0, 4) == 4


@pytest.mark.parametrize(
    ("code", "error"),
    [(UnknownTopicOrPartitionError.errno, TopicChanged), (TopicAuthorizationFailedError.errno, Stop)],
)
def test_a_topic_without_partitions_is_none(code: int, error: type[TrueUpError]) -> None:
    with pytest.raises(error, match="orders"):
        partitions(code, 0)
