"""Kafka's exceptions as ours, by class and by their own `retriable` mark; never by message text."""

from __future__ import annotations

from typing import Final

from aiokafka import errors as kafka

from trueup.model.errors import BrokenInvariant, DecodeFailed, Fenced, Stop, TopicChanged, TrueUpError, Unreachable

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
        return Stop("Kafka denies the worker access", detail=detail, hint="see the ACLs in infra/README.md")
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
        return Unreachable("kafka", detail=detail)
    # Not the broker's doing: tried again it would fail for ever, and look like an outage.
    return BrokenInvariant(
        "an error in the program, met while talking to Kafka", detail=detail, hint="see the traceback"
    )
