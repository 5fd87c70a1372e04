"""Kafka's exceptions as ours, by class, code and their own `retriable` mark; never by message text."""

from __future__ import annotations

from typing import Final

from aiokafka import errors as kafka
from confluent_kafka import KafkaError

from trueup.model.errors import (
    BrokenInvariant,
    DecodeFailed,
    Fenced,
    Refused,
    Stop,
    TopicChanged,
    TrueUpError,
    Unreachable,
)

PART: Final = "kafka"
_HINT_DENIED: Final = 'see "What Kafka and Connect must allow" in infra/README.md'

# A newer producer with the same transactional id exists: this process is the zombie. TransactionCoordinatorFenced is
# about brokers and retriable; it is not among them.
_FENCED: Final = (kafka.ProducerFenced, kafka.InvalidProducerEpoch)
_TOPIC: Final = (kafka.UnknownTopicOrPartitionError, kafka.InvalidTopicError, kafka.OffsetOutOfRangeError)
_DENIED: Final = (
    kafka.TopicAuthorizationFailedError,
    kafka.GroupAuthorizationFailedError,
    kafka.ClusterAuthorizationFailedError,
    kafka.TransactionalIdAuthorizationFailed,
    kafka.AuthenticationFailedError,
    kafka.SaslAuthenticationFailed,
)
# TimeoutError is an OSError, asyncio's IncompleteReadError an EOFError.
_TIME: Final = (kafka.KafkaError, OSError, EOFError)
_TOO_LARGE: Final = (kafka.MessageSizeTooLargeError, kafka.RecordTooLargeError, kafka.RecordListTooLargeError)


_DENIED_CODES: Final = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.SASL_AUTHENTICATION_FAILED,
    }
)
_INVALID_CODES: Final = frozenset(
    {
        KafkaError.INVALID_CONFIG,
        KafkaError.INVALID_PARTITIONS,
        KafkaError.INVALID_REPLICATION_FACTOR,
        KafkaError.POLICY_VIOLATION,
        KafkaError.TOPIC_EXCEPTION,
    }
)


def from_librdkafka(error: KafkaError, servers: str, what: str) -> TrueUpError:
    """Our error for one of confluent-kafka's, for commands.

    :param what: what was asked for: 'topic "orders"'.
    """
    detail = f"{servers}: {error.name()}: {error.str()}"
    if error.code() in _DENIED_CODES:
        return Refused(f"kafka denies access to {what}", detail=detail, hint=_HINT_DENIED)
    if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
        return Refused(f"the record is too large for {what}", detail=detail, hint="raise its max.message.bytes")
    if error.code() in _INVALID_CODES:
        return Refused(f"kafka refuses {what}", detail=detail, hint="see the settings of the cluster and trueup.toml")
    # Everything else is time: no broker answers, the controller moves, the request took too long.
    return Unreachable(PART, detail=detail)


def from_kafka(exc: BaseException, doing: str) -> TrueUpError:
    """Our error for an exception of aiokafka.

    :param doing: what was tried, for the detail line: "committing the batch of orders/2".
    """
    if isinstance(exc.__cause__, kafka.OffsetMetadataTooLargeError):
        exc = exc.__cause__  # what the client's sender met; its callers get a KafkaError that does not say so
    detail = f"{doing}: {type(exc).__name__}: {exc}"
    if isinstance(exc, _FENCED):
        return Fenced("this worker no longer owns the partition", detail=detail, hint="its supervisor starts it anew")
    if isinstance(exc, _TOPIC):
        return TopicChanged("a topic is not what the workers were built on", detail=detail, hint="run: trueup apply")
    if isinstance(exc, _DENIED):
        return Stop("Kafka denies the worker access", detail=detail, hint=_HINT_DENIED)
    if isinstance(exc, _TOO_LARGE):
        return DecodeFailed("a record is larger than the topic allows", detail=detail, hint="raise max.message.bytes")
    if isinstance(exc, kafka.OffsetMetadataTooLargeError):
        return Stop(
            "the broker takes less metadata beside an offset than the workers need",
            detail=detail,
            hint="raise offset.metadata.max.bytes of the brokers (Kafka's default is 4096), then restart the worker",
        )
    if isinstance(exc, _TIME):
        # Leaders move, coordinators load, connections break, requests time out. A producer whose state is unknown is
        # thrown away by the caller, so a retry starts from the committed state.
        return Unreachable(PART, detail=detail)
    # Not the broker's doing: tried again it would fail for ever, and look like an outage.
    return BrokenInvariant(
        "an error in the program, met while talking to Kafka", detail=detail, hint="see the traceback"
    )
