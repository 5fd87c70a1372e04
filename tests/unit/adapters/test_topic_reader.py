"""Reading topics without a broker, or with one that does not say everything: Kafka is named, and the call ends."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any, ClassVar

import pytest
from confluent_kafka import KafkaError
from msgspec.structs import replace

from trueup.adapters import topic_reader
from trueup.adapters.topic_reader import TopicReader
from trueup.model.errors import Refused, TrueUpError, Unreachable
from trueup.model.event import LogRecord
from trueup.model.topic import MESSAGE_BYTES_MAX


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


class Message:
    def __init__(self, partition: int, offset: int = 0, error: int | None = None) -> None:
        self._place, self._error = (partition, offset), error

    def error(self) -> KafkaError | None:
        return None if self._error is None else KafkaError(self._error)

    def partition(self) -> int:
        return self._place[0]

    def offset(self) -> int:
        return self._place[1]

    def topic(self) -> str:
        return "a"

    def timestamp(self) -> tuple[int, int]:
        return 1, 0

    def key(self) -> None: ...

    value = headers = key


class Partitions:
    """A consumer of two partitions with a record each; between them a broker goes away."""

    def __init__(self, *_: object, **__: object) -> None:
        self.batches = [
            [Message(1, 0), Message(1, 1, KafkaError._PARTITION_EOF)],
            [Message(-1, 0, KafkaError._TRANSPORT)],
        ]

    def assign(self, _: object) -> None: ...

    def close(self) -> None: ...

    def consume(self, *_: object) -> list[Message]:
        return self.batches.pop(0) if self.batches else []


class PartitionsThatComeBack(Partitions):
    def __init__(self, *_: object, **__: object) -> None:
        super().__init__()
        self.batches += [[Message(0, 0)], [Message(0, 1, KafkaError._PARTITION_EOF)]]


@pytest.mark.parametrize("consumer", [Partitions, PartitionsThatComeBack])
def test_a_broker_that_goes_away_is_the_end_of_no_partition(
    reader: TopicReader, monkeypatch: pytest.MonkeyPatch, consumer: type[Partitions]
) -> None:
    monkeypatch.setattr(reader, "ends", lambda _: {("a", 0): 1, ("a", 1): 1})
    monkeypatch.setattr(topic_reader, "Consumer", consumer)
    read = reader.read("a")
    assert next(read).partition == 1
    if consumer is PartitionsThatComeBack:
        assert [record.partition for record in read] == [0]
    else:
        with pytest.raises(Unreachable, match="kafka") as error:
            next(read)
        assert "a was not read to its end" in str(error.value)


class Prompt:
    """Holds what librdkafka holds: a record or an end at a time, and who asks for more than there is waits."""

    waited_s = 0.0

    def __init__(self, *_: object, **__: object) -> None:
        self.there = [Message(0, 0), Message(0, 1), Message(0, 2, KafkaError._PARTITION_EOF)]

    def assign(self, _: object) -> None: ...

    def close(self) -> None: ...

    def consume(self, number: int, timeout_s: float) -> list[Message]:
        taken, self.there = self.there[:number], self.there[number:]
        if len(taken) < number:
            Prompt.waited_s += timeout_s
        return taken


def test_the_end_of_a_topic_is_not_waited_for(reader: TopicReader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "ends", lambda _: {("a", 0): 2})
    monkeypatch.setattr(topic_reader, "Consumer", Prompt)
    assert [record.offset for record in reader.read("a")] == [0, 1]
    assert Prompt.waited_s == 0


def test_a_dead_kafka_is_named(reader: TopicReader) -> None:
    with pytest.raises(Unreachable) as error:
        reader.ends(["a"])
    assert error.value.part == "kafka"


def test_a_leader_that_says_nothing_is_kafka_not_answering(reader: TopicReader) -> None:
    reader._admin = HalfSilent()  # type: ignore[assignment]
    with pytest.raises(Unreachable, match="kafka"):
        reader.ends(["a"])


class Broker:
    """A producer whose broker answers with an error, or an offset."""

    code: int | None = None
    settings: ClassVar[dict[str, Any]] = {}

    def __init__(self, settings: dict[str, Any], **_: object) -> None:
        Broker.settings = settings

    def produce(self, *_: object, on_delivery: Any, **__: object) -> None:
        error = None if self.code is None else KafkaError(self.code)
        on_delivery(error, Message(0, 41))

    def flush(self, _: float) -> None: ...


class Denying(Broker):
    code = KafkaError.TOPIC_AUTHORIZATION_FAILED


class Narrow(Broker):
    code = KafkaError.MSG_SIZE_TOO_LARGE


class Away(Broker):
    code = KafkaError._MSG_TIMED_OUT


LETTER = LogRecord("a", 0, -1, 0, b"k", b"v", (("h", b"x"),))


@pytest.mark.parametrize(
    ("broker", "error", "said"),
    [(Denying, Refused, 'denies access to topic "a"'), (Narrow, Refused, "too large"), (Away, Unreachable, "kafka")],
)
def test_what_the_broker_refuses_to_write_is_said(
    reader: TopicReader, monkeypatch: pytest.MonkeyPatch, broker: type[Broker], error: type[TrueUpError], said: str
) -> None:
    monkeypatch.setattr(topic_reader, "Producer", broker)
    with pytest.raises(error, match=said) as found:
        reader.write(LETTER)
    assert found.value.hint


def test_a_letter_as_large_as_a_topic_takes_is_sent(reader: TopicReader, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own limit at librdkafka is a megabyte, and a letter holds up to nine."""
    monkeypatch.setattr(topic_reader, "Producer", Broker)
    assert reader.write(LETTER) == 41
    assert Broker.settings["message.max.bytes"] == MESSAGE_BYTES_MAX


def test_what_librdkafka_itself_refuses_is_an_error_of_ours(reader: TopicReader) -> None:
    with pytest.raises(Refused, match="too large"):
        reader.write(replace(LETTER, value=bytes(MESSAGE_BYTES_MAX + 1)))
