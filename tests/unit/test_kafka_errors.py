"""Every exception of aiokafka has one of our classes, by its class and never by its text."""

import inspect
from asyncio import IncompleteReadError

import pytest
from aiokafka import errors as kafka

from trueup.adapters.kafka_errors import from_kafka
from trueup.model.errors import DecodeFailed, Fenced, NextStep, Stop, TopicChanged, TrueUpError, Unreachable

ALL = sorted(
    {
        cls
        for _, cls in inspect.getmembers(kafka, inspect.isclass)
        if issubclass(cls, kafka.KafkaError) and cls is not kafka.BrokerResponseError  # which has no code of its own
    },
    key=lambda cls: cls.__name__,
)

EXPECTED: dict[str, type[TrueUpError]] = {
    "ProducerFenced": Fenced,
    "InvalidProducerEpoch": Fenced,
    "UnknownTopicOrPartitionError": TopicChanged,
    "InvalidTopicError": TopicChanged,
    "OffsetOutOfRangeError": TopicChanged,
    "TopicAuthorizationFailedError": Stop,
    "GroupAuthorizationFailedError": Stop,
    "ClusterAuthorizationFailedError": Stop,
    "TransactionalIdAuthorizationFailed": Stop,
    "AuthenticationFailedError": Stop,
    "SaslAuthenticationFailed": Stop,
    "MessageSizeTooLargeError": DecodeFailed,
    "RecordTooLargeError": DecodeFailed,
    "RecordListTooLargeError": DecodeFailed,
    "OffsetMetadataTooLargeError": Stop,
}


@pytest.mark.parametrize("cls", ALL)
def test_every_error_of_the_client_is_one_of_ours(cls: type[Exception]) -> None:
    ours = from_kafka(cls(), "committing a batch of orders/2")
    assert type(ours) is EXPECTED.get(cls.__name__, Unreachable)
    assert ours.detail is not None
    assert ours.detail.startswith(f"committing a batch of orders/2: {cls.__name__}")


def test_the_table_names_errors_that_exist() -> None:
    assert EXPECTED.keys() <= {cls.__name__ for cls in ALL}


@pytest.mark.parametrize(
    "error", [OSError("gone"), TimeoutError(), ConnectionResetError(), IncompleteReadError(b"", 4)]
)
def test_a_broken_connection_is_time_as_well(error: Exception) -> None:
    assert isinstance(from_kafka(error, "connecting"), Unreachable)


@pytest.mark.parametrize(
    "error", [TypeError("x"), AttributeError("x"), KeyError("x"), AssertionError(), ValueError("x")]
)
def test_an_error_in_the_program_ends_the_process_instead_of_being_tried_for_ever(error: Exception) -> None:
    assert from_kafka(error, "committing a batch of orders/2").next_step is NextStep.EXIT


@pytest.mark.parametrize("text", ["ProducerFenced", "UnknownTopicOrPartition", "Authorization failed", "too large"])
def test_the_text_of_an_error_decides_nothing(text: str) -> None:
    assert type(from_kafka(kafka.KafkaError(text), "x")) is Unreachable


@pytest.mark.parametrize("cls", ALL)
def test_whatever_kafka_calls_retriable_is_tried_again_or_is_a_missing_topic(cls: type[kafka.KafkaError]) -> None:
    ours = from_kafka(cls(), "x")
    if cls.retriable and not isinstance(ours, TopicChanged):
        assert ours.next_step is NextStep.RETRY


def test_metadata_too_large_stops_also_as_the_cause_of_a_producer_that_broke() -> None:
    """The producer's sender raises it, and all that waits for it gets another error with that as its cause."""
    broke = kafka.KafkaError("Unexpected error during batch delivery")
    broke.__cause__ = kafka.OffsetMetadataTooLargeError()
    ours = from_kafka(broke, "committing a batch of orders/2")
    assert type(ours) is Stop
    assert "offset.metadata.max.bytes" in (ours.hint or "")
    assert "OffsetMetadataTooLargeError" in (ours.detail or "")


def test_a_fenced_coordinator_is_no_fenced_producer() -> None:
    assert isinstance(from_kafka(kafka.TransactionCoordinatorFenced(), "x"), Unreachable)
