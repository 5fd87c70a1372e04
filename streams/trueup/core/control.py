"""Control records: what TrueUp itself writes into a capture topic, so that it is met in the order of the log.

There are three kinds. The sweep: "the snapshot of this epoch is over here; what it did not bring is gone at the
source" (`core.sweep`). The truncate: "the table was emptied before here" (`core.truncation`). The decision: "this is
what a person decided about the case of this key" (`core.case_decision`). None has a value, only headers, so a reader
that does not know them takes them for tombstones.

Whoever may write to a capture topic can forge changes of rows too, so the topic's ACLs are what keeps strangers out.
The proof is no secret: it binds the record to this cluster, topic, partition, epoch and content, so that one that was
mirrored, restored or copied here from somewhere else is not obeyed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from trueup.core.decode import EPOCH_HEADER, epoch_of_headers
from trueup.core.ordering import Guard
from trueup.model.case import CaseDecision
from trueup.model.decision import Outcome, Reject, Skip
from trueup.model.event import LogRecord, Position

CONTROL_HEADER: Final = "trueup.control"
PROOF_HEADER: Final = "trueup.proof"
DECISION_HEADER: Final = "trueup.decision"  # the decision as JSON
POSITION_HEADER: Final = "trueup.position"
SWEEP: Final = b"sweep"
TRUNCATE: Final = b"truncate"
DECISION: Final = b"decision"
STAGE: Final = "control"
_NUMBERS: Final = 3
_DIGITS_MAX: Final = 19  # int() refuses thousands
_decode_decision = msgspec.json.Decoder(CaseDecision).decode


class Sweep(msgspec.Struct, frozen=True):
    """An order to sweep: `offset` is the record's own, `time_us` when it was written."""

    epoch: int
    offset: int
    time_us: int


class Truncate(msgspec.Struct, frozen=True):
    """An order to let go of the rows of before a truncate: `position` is where that stands in the source's log,
    `time_us` its commit; `offset` the record's own."""

    epoch: int
    offset: int
    time_us: int
    position: Position


class DecisionOrder(msgspec.Struct, frozen=True):
    """An order to decide the case of a key: `offset` is the record's own, `time_us` when it was written."""

    epoch: int
    offset: int
    time_us: int
    key: bytes
    decision: CaseDecision


class Segment(msgspec.Struct, frozen=True):
    """Records of a batch that are decided and committed together, then perhaps a control record.

    :param next_offset: the read position behind the records, before the control record.
    """

    records: Sequence[LogRecord]
    control: LogRecord | None
    next_offset: int


def proof_of(topic: str, partition: int, epoch: int, identity: bytes, *content: bytes) -> bytes:
    """What binds a control record to its place.

    :param identity: cluster id and topic id.
    :param content: of a decision its key and its JSON.
    """
    text = b"\0".join((identity, topic.encode(), b"%d" % partition, b"%d" % epoch, *content))
    return hashlib.sha256(text).hexdigest()[:32].encode()


def sweep_record(topic: str, partition: int, epoch: int, identity: bytes) -> LogRecord:
    """The record that orders the sweep of one capture partition."""
    headers = (
        (CONTROL_HEADER, SWEEP),
        (EPOCH_HEADER, b"%d" % epoch),
        (PROOF_HEADER, proof_of(topic, partition, epoch, identity)),
    )
    return LogRecord(topic, partition, -1, 0, None, None, headers)


def truncate_record(topic: str, partition: int, identity: bytes, order: Truncate) -> LogRecord:
    """The record that orders a truncate to be carried out in one capture partition."""
    where = b"%d/%d/%d" % (order.position.commit, order.position.change, order.time_us)
    headers = (
        (CONTROL_HEADER, TRUNCATE),
        (EPOCH_HEADER, b"%d" % order.epoch),
        (POSITION_HEADER, where),
        (PROOF_HEADER, proof_of(topic, partition, order.epoch, b"\0".join((identity, TRUNCATE, where)))),
    )
    return LogRecord(topic, partition, -1, 0, None, None, headers)


def decision_record(
    topic: str, partition: int, epoch: int, identity: bytes, key: bytes, decision: CaseDecision
) -> LogRecord:
    """The record that decides the case of a key. It has the key, so it goes where the key's changes go."""
    content = msgspec.json.encode(decision)
    headers = (
        (CONTROL_HEADER, DECISION),
        (EPOCH_HEADER, b"%d" % epoch),
        (PROOF_HEADER, proof_of(topic, partition, epoch, identity, key, content)),
        (DECISION_HEADER, content),
    )
    return LogRecord(topic, partition, -1, 0, key, None, headers)


def is_control(record: LogRecord) -> bool:
    """Whether a record is a control record, ours or not."""
    return record.value is None and any(name == CONTROL_HEADER for name, _ in record.headers or ())


def decision_in(record: LogRecord) -> CaseDecision | None:
    """What a person decided, as a control record says it, whoever wrote that: `order_of` tells whether it is obeyed."""
    if not is_control(record) or record.key is None:
        return None
    try:
        return _decode_decision(dict(record.headers).get(DECISION_HEADER) or b"")
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def segments(
    records: Sequence[LogRecord], start: int, end: int, also: Callable[[LogRecord], bool] = lambda _: False
) -> Iterator[Segment]:
    """A batch cut at its control records, each of which is obeyed with everything before it durable.

    :param start: read position before the batch; `end`: behind it, markers included.
    :param also: other records that concern the whole table.
    """
    begin, position = 0, start
    for index, record in enumerate(records):
        if is_control(record) or also(record):
            yield Segment(records[begin:index], record, record.offset)
            begin, position = index + 1, record.offset + 1
    if begin < len(records) or position < end:
        yield Segment(records[begin:], None, end)


def order_of(record: LogRecord, guard: Guard, identity: bytes) -> Sweep | Truncate | DecisionOrder | Skip | Reject:
    """What becomes of a control record.

    Skip when a newer epoch has begun: its own sweep follows, and what was decided on is not what is there any more; or
    when a later truncate was carried out. Reject, so a dead letter, when it was not written for this place by
    `trueup resync`, `trueup cases decide` or a decide worker.

    :param guard: knows the newest epoch that began before this record.
    """
    headers = dict(record.headers)
    kind, epoch = headers.get(CONTROL_HEADER), epoch_of_headers(record)
    keyed = record.key is not None
    if kind == TRUNCATE and epoch is not None and not keyed:
        return _truncate_of(record, headers, epoch, guard, identity)
    if epoch is None or kind != (DECISION if keyed else SWEEP):
        return _forged("it orders nothing that is known")
    content = (record.key, headers.get(DECISION_HEADER) or b"") if record.key is not None else ()
    if headers.get(PROOF_HEADER) != proof_of(record.topic, record.partition, epoch, identity, *content):
        return _forged("it was not written for this topic and partition")
    if epoch < guard.epoch:
        return Skip(Outcome.IGNORED, "epoch is over")
    time_us = record.timestamp_ms * 1000
    if record.key is None:
        return Sweep(epoch, record.offset, time_us)
    if (decision := decision_in(record)) is None:
        return _forged("it is no decision of this version of TrueUp")
    return DecisionOrder(epoch, record.offset, time_us, record.key, decision)


def _truncate_of(
    record: LogRecord, headers: Mapping[str, bytes], epoch: int, guard: Guard, identity: bytes
) -> Truncate | Skip | Reject:
    where = headers.get(POSITION_HEADER) or b""
    proof = proof_of(record.topic, record.partition, epoch, b"\0".join((identity, TRUNCATE, where)))
    numbers = where.split(b"/")
    if headers.get(PROOF_HEADER) != proof or len(numbers) != _NUMBERS or not all(map(_is_number, numbers)):
        return _forged("it was not written for this topic and partition")
    commit, change, time_us = map(int, numbers)
    position = Position(commit, change)
    if epoch < guard.epoch:
        return Skip(Outcome.IGNORED, "epoch is over")
    if epoch == guard.epoch and position <= guard.floor:
        return Skip(Outcome.IGNORED, "a truncate that is no older was carried out")
    return Truncate(epoch, record.offset, time_us, position)


def _is_number(text: bytes) -> bool:
    return text.isdigit() and len(text) <= _DIGITS_MAX and int(text) < 1 << 63


def _forged(why: str) -> Reject:
    return Reject(
        STAGE,
        "ControlForged",
        f"a control record is not obeyed: {why}",
        'see who else may write to the capture topic: "What Kafka and Connect must allow" in infra/README.md',
    )
