"""Control records: who is obeyed, when, and how a batch is cut at them."""

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from tests.envelopes import change, log_record
from trueup.core.control import (
    CONTROL_HEADER,
    DECISION_HEADER,
    PROOF_HEADER,
    DecisionOrder,
    Sweep,
    decision_record,
    is_control,
    order_of,
    proof_of,
    segments,
    sweep_record,
)
from trueup.core.decode import EPOCH_HEADER, decode
from trueup.core.ordering import Guard
from trueup.core.sweep import brought_by_letter
from trueup.model.case import CaseDecision
from trueup.model.decision import Outcome, Reject, Skip
from trueup.model.event import Ignorable, LogRecord

TOPIC, IDENTITY = "shop.public.orders", b"cluster/topic-1"
NOTHING: Any = None  # Kafka's header values may be null


def sweep_at(offset: int, epoch: int = 2, partition: int = 0) -> LogRecord:
    """As the broker hands it on: with an offset and a time."""
    return replace(sweep_record(TOPIC, partition, epoch, IDENTITY), offset=offset, timestamp_ms=1_000)


@pytest.mark.parametrize("guard", [Guard(), Guard(1), Guard(2)], ids=lambda guard: f"epoch {guard.epoch}")
def test_ours_is_obeyed_for_the_epoch_it_names(guard: Guard) -> None:
    """Also where no record of the epoch came before it: the snapshot may have brought nothing to this partition."""
    assert order_of(sweep_at(7), guard, IDENTITY) == Sweep(2, 7, 1_000_000)


def test_it_is_not_obeyed_when_a_newer_epoch_has_begun() -> None:
    assert order_of(sweep_at(7), Guard(3), IDENTITY) == Skip(Outcome.IGNORED, "epoch is over")


def with_header(record: LogRecord, name: str, value: bytes) -> LogRecord:
    return replace(record, headers=tuple((n, value if n == name else v) for n, v in record.headers))


@pytest.mark.parametrize(
    "record",
    [
        replace(sweep_at(7), topic="crm.public.orders"),
        replace(sweep_at(7), partition=1),
        with_header(sweep_at(7), EPOCH_HEADER, b"3"),
        with_header(sweep_at(7), EPOCH_HEADER, b"-1"),
        with_header(sweep_at(7), EPOCH_HEADER, b"9" * 30),
        with_header(sweep_at(7), EPOCH_HEADER, "२".encode()),
        with_header(sweep_at(7), EPOCH_HEADER, NOTHING),
        with_header(sweep_at(7), PROOF_HEADER, b""),
        with_header(sweep_at(7), "trueup.control", b"truncate"),
        replace(sweep_at(7), headers=(("trueup.control", b"sweep"),)),
    ],
    ids=["topic", "partition", "epoch", "negative", "too high", "no ascii", "null", "proof", "order", "bare"],
)
def test_one_that_was_not_written_for_this_place_is_a_dead_letter(record: LogRecord) -> None:
    assert is_control(record)
    answer = order_of(record, Guard(1), IDENTITY)
    assert isinstance(answer, Reject)
    assert answer.error_class == "ControlForged"


KEY = b'{"order_id":1}'
DECISION = CaseDecision(
    id="d1",
    case="orders/1/0/1",
    based_on=("00", "01"),
    take="B",
    because="asked",
    by="fatima",
    at_us=5,
    set={"a": None},
)


def decision_at(offset: int, epoch: int = 1) -> LogRecord:
    made = decision_record(TOPIC, 0, epoch, IDENTITY, KEY, DECISION)
    return replace(made, offset=offset, timestamp_ms=1_000)


def test_a_decision_is_met_as_it_was_made() -> None:
    assert is_control(decision_at(7))
    assert order_of(decision_at(7), Guard(1), IDENTITY) == DecisionOrder(1, 7, 1_000_000, KEY, DECISION)


def test_a_decision_of_an_epoch_that_is_over_is_not_obeyed() -> None:
    assert order_of(decision_at(7), Guard(2), IDENTITY) == Skip(Outcome.IGNORED, "epoch is over")


@pytest.mark.parametrize(
    "record",
    [
        replace(decision_at(7), key=b'{"order_id":2}'),
        replace(decision_at(7), key=None),
        replace(decision_at(7), partition=1),
        replace(sweep_at(7), key=KEY),
        with_header(decision_at(7), EPOCH_HEADER, b"2"),
        with_header(decision_at(7), CONTROL_HEADER, b"sweep"),
        with_header(decision_at(7), DECISION_HEADER, msgspec.json.encode(replace(DECISION, take="A"))),
        with_header(decision_at(7), DECISION_HEADER, b"{}"),
    ],
    ids=["key", "no key", "partition", "a sweep with a key", "epoch", "kind", "content", "no decision"],
)
def test_a_decision_that_was_tampered_with_is_a_dead_letter(record: LogRecord) -> None:
    assert isinstance(order_of(record, Guard(1), IDENTITY), Reject)


def test_a_proof_does_not_make_any_json_a_decision() -> None:
    content = b'{"id":1}'
    record = with_header(decision_at(7), DECISION_HEADER, content)
    record = with_header(record, PROOF_HEADER, proof_of(TOPIC, 0, 1, IDENTITY, KEY, content))
    answer = order_of(record, Guard(1), IDENTITY)
    assert isinstance(answer, Reject)
    assert "no decision" in answer.reason


def test_a_refused_decision_brought_no_key() -> None:
    """Its dead letter has a key and an epoch, as the letter of a change has."""
    letter = decision_at(7)
    assert not brought_by_letter(letter, 1)
    assert brought_by_letter(replace(letter, headers=((EPOCH_HEADER, b"1"),)), 1)


def test_one_of_a_topic_that_was_made_anew_is_not_obeyed() -> None:
    assert isinstance(order_of(sweep_at(7), Guard(1), b"cluster/topic-2"), Reject)


def test_who_does_not_know_control_records_takes_one_for_a_tombstone() -> None:
    assert decode(sweep_at(7), {}) == Ignorable("tombstone")


def test_changes_and_tombstones_are_no_control_records() -> None:
    assert not is_control(change(3))
    assert not is_control(log_record(4, None))
    forged = replace(change(3), headers=(*change(3).headers, ("trueup.control", b"sweep")))
    assert not is_control(forged), "a record with a key is decided as what it is"


def test_a_batch_is_cut_at_control_records_and_nothing_is_lost() -> None:
    batch = [change(10), sweep_at(12), change(13), change(14), sweep_at(15)]
    found = list(segments(batch, 9, 18))
    assert [[r.offset for r in s.records] for s in found] == [[10], [13, 14], []]
    assert [s.control and s.control.offset for s in found] == [12, 15, None]
    assert [s.next_offset for s in found] == [12, 15, 18]


@pytest.mark.parametrize(("start", "end", "count"), [(4, 6, 1), (4, 4, 0)])
def test_a_batch_of_markers_is_one_segment(start: int, end: int, count: int) -> None:
    found = list(segments([], start, end))
    assert [(list(s.records), s.control, s.next_offset) for s in found] == [([], None, end)] * count


def test_a_batch_that_ends_with_a_control_record_needs_no_more() -> None:
    assert [s.next_offset for s in segments([change(1), sweep_at(2)], 1, 3)] == [2]
