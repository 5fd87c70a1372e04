"""What a decided batch writes to Kafka: truth records and dead letters, as `runtime.decide_agent` commits them."""

from __future__ import annotations

from trueup.adapters.kafka_transactions import Outgoing
from trueup.core.decode import age_of
from trueup.core.pipeline import BatchDecision, DecidePlan
from trueup.model.decision import Reject
from trueup.model.event import LogRecord
from trueup.model.topic import PAYLOAD_BYTES_MAX


def outgoing_of(decision: BatchDecision, plan: DecidePlan) -> list[Outgoing]:
    """Truths in order, then dead letters, for the partition the batch came from."""
    topic, encode = plan.table.truth_topic, plan.codec.encode
    truths = [Outgoing(topic, truth.key, encode(truth)) for truth in decision.truths]
    return truths + [dead_letter(plan.table.dead_letter_topic, record, why) for record, why in decision.dead]


def dead_letter(topic: str, record: LogRecord, why: Reject) -> Outgoing:
    """The original bytes, with why they could not be used; a value too large for the topic is cut, and says so.

    A replay that is refused keeps the age of its letter: what was captured since is newer.
    """
    headers = {
        "trueup.stage": why.stage,
        "trueup.error_class": why.error_class,
        "trueup.reason": why.reason,
        "trueup.hint": why.hint,
        "trueup.topic": record.topic,
        "trueup.partition": str(record.partition),
        "trueup.offset": str(age_of(record)),
    }
    value = record.value
    if value is not None and len(value) > PAYLOAD_BYTES_MAX:
        headers["trueup.value_cut_from_bytes"] = str(len(value))
        value = value[:PAYLOAD_BYTES_MAX]
    original = tuple(record.headers)
    return Outgoing(topic, record.key, value, original + tuple((k, v.encode()) for k, v in headers.items()))
