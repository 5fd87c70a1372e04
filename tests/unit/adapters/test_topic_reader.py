"""Reading topics without a broker, or with one that does not say everything: Kafka is named, and the call ends."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest

from trueup.adapters import topic_reader
from trueup.adapters.topic_reader import TopicReader
from trueup.model.errors import Unreachable


class HalfSilent:
    """A cluster whose metadata are there, while the leader of a partition says nothing."""

    def list_topics(self, **_: object) -> Any:
        return type("Metadata", (), {"topics": {"a": type("Topic", (), {"partitions": {0: None}})()}})()

    def list_offsets(self, asked: dict[Any, Any], **_: object) -> dict[Any, Future[Any]]:
        return {place: Future() for place in asked}


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> TopicReader:
    monkeypatch.setattr(topic_reader, "_TIMEOUT_S", 0.2)
    return TopicReader("127.0.0.1:1")


def test_a_dead_kafka_is_named(reader: TopicReader) -> None:
    with pytest.raises(Unreachable) as error:
        reader.ends(["a"])
    assert error.value.part == "kafka"


def test_a_leader_that_says_nothing_is_kafka_not_answering(reader: TopicReader) -> None:
    reader._admin = HalfSilent()  # type: ignore[assignment]
    with pytest.raises(Unreachable, match="kafka"):
        reader.ends(["a"])
