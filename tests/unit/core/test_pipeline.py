"""decide() and decide_batch(): how the steps stand together. What each step finds is tested in its own file."""

import copy
from typing import Any

import pytest

from tests.decisions import CHECKED, PLAN, applied, batch, content, counts, decided, held_of
from tests.envelopes import (
    BY_COUNTER,
    BY_TIME,
    COMMIT_TIME_US,
    HOLE,
    SCHEMA_ID,
    SECRET,
    change,
    envelope,
    envelope_schema,
    framed,
    key_of,
    log_record,
    order,
    orders_plan,
)
from trueup.core.decode import EnvelopeDecoder
from trueup.core.ordering import Guard
from trueup.core.pipeline import decide, decide_batch
from trueup.model.decision import DELETED_HASH, Apply, Held, Outcome, Reject, Skip
from trueup.model.errors import SourceWentBack
from trueup.model.event import LogRecord, Op, Position
from trueup.model.version import make_version, split_version
from trueup.runtime.decided_records import dead_letter

# --- apply ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("op", "expected"), [("c", Op.CREATE), ("u", Op.UPDATE), ("r", Op.READ)])
def test_a_change_becomes_truth_with_everything_it_brought(op: str, expected: Op) -> None:
    truth = applied(change(12, op, order(3), epoch=2, position=(50, 60))).truth
    assert truth.key == key_of(3)
    assert truth.version == make_version(2, 12)
    assert truth.op is expected
    assert truth.row == order(3)
    assert truth.row_bytes == PLAN.codec.encode_row(order(3))
    assert truth.content_hash == content(order(3))
    assert truth.commit_time_us == COMMIT_TIME_US + 12_000
    assert truth.position == (None if op == "r" else Position(50, 60))
    assert truth.cause == "ordered"
    assert truth.flags == ()


def test_a_delete_is_a_truth_with_a_version_and_without_a_row() -> None:
    truth = applied(change(12, "d", order(3, change_reason="cancelled")), held_of(change(1, row=order(3)))).truth
    assert (truth.op, truth.row, truth.row_bytes) == (Op.DELETE, None, None)
    assert truth.content_hash == DELETED_HASH
    assert truth.version == make_version(1, 12)
    assert truth.cause == "cancelled"


def test_a_delete_without_its_old_row_has_no_cause() -> None:
    keyed = dict.fromkeys(order()) | {"order_id": 3}
    assert applied(change(12, "d", keyed)).truth.cause is None


def test_a_delete_of_a_key_never_seen_is_published() -> None:
    """The replica may have it from a time before this topic; a delete it does not need does no harm."""
    assert applied(change(0, "d", order(3))).truth.op is Op.DELETE


def test_a_row_is_inserted_again_after_its_delete() -> None:
    answer = batch(change(0), change(1, "d"), change(2))
    assert [truth.op for truth in answer.truths] == [Op.CREATE, Op.DELETE, Op.CREATE]


def test_checks_are_not_asked_about_what_is_deleted() -> None:
    assert applied(change(2, "d", order(amount="-1.00", state="gone")), plan=CHECKED).truth.flags == ()


def test_a_flagged_row_is_published_with_its_flag() -> None:
    truth = applied(change(2, row=order(state="gone")), plan=CHECKED).truth
    assert truth.flags == ("state must be one of the registered values",)
    assert truth.row == order(state="gone")


# --- skip -------------------------------------------------------------------------------------------------------------


def test_tombstones_and_messages_are_ignored_and_leave_the_guard() -> None:
    guard = Guard(1, Position(5, 5), 5)
    for record in (log_record(3, None), change(3, "m")):
        answer, after = decide(record, None, guard, PLAN)
        assert isinstance(answer, Skip)
        assert answer.outcome is Outcome.IGNORED
        assert after == guard


def test_the_same_content_is_unchanged_until_the_epoch_is_another() -> None:
    held = held_of(change(1))
    again = decided(change(2, "u", order()), held)
    assert isinstance(again, Skip)
    assert again.outcome is Outcome.UNCHANGED
    assert applied(change(3, "r", order(), epoch=2), held).truth.version == make_version(2, 3)


def test_a_second_delete_is_unchanged() -> None:
    assert counts(batch(change(0, "d"), change(1, "d"))) == {Outcome.APPLIED: 1, Outcome.UNCHANGED: 1}


def test_an_older_change_never_beats_a_newer_one() -> None:
    held = held_of(change(9, row=order(amount="9.00")))
    older = decided(change(4, "u", order(amount="4.00")), held)
    assert isinstance(older, Skip)
    assert older.outcome is Outcome.STALE
    deleted = Held(make_version(1, 9), DELETED_HASH)
    assert isinstance(decided(change(4, "u", order()), deleted), Skip)


def test_an_event_repeated_by_the_capture_is_a_duplicate() -> None:
    first, second = change(0, row=order(1)), change(1, "u", order(1, amount="2.00"))
    repeated = change(2, "c", order(1), position=(1_000, 1_001), commit_time_us=COMMIT_TIME_US)
    answer = batch(first, second, repeated)
    assert counts(answer) == {Outcome.APPLIED: 2, Outcome.DUPLICATE: 1}
    assert answer.truths[-1].row == order(1, amount="2.00")


# --- the guard along a partition --------------------------------------------------------------------------------------


def test_the_guard_moves_with_every_change_that_has_a_position() -> None:
    held = held_of(change(1))
    moved = Guard(1, Position(1_090, 1_091), COMMIT_TIME_US + 9_000)
    for record, state in (
        (change(9, "u", order(amount="3.00")), held),  # applied
        (change(9, "u", order()), held),  # unchanged
        (change(9, "u", order(amount="-3.00")), held),  # rejected by a check
    ):
        assert decide(record, state, Guard(), CHECKED)[1] == moved


def test_the_source_going_back_stops_although_the_key_is_another() -> None:
    with pytest.raises(SourceWentBack):
        batch(change(5, row=order(1)), change(6, row=order(2), position=(10, 11)))


def test_a_foreign_record_does_not_move_the_guard() -> None:
    forged = change(3, source={"name": "evil"}, position=(10**9, 10**9))
    assert decide(forged, None, Guard(), PLAN)[1] == Guard()


def test_rows_of_one_copy_command_share_their_position() -> None:
    rows = [change(n, row=order(n), position=(500, 510), commit_time_us=COMMIT_TIME_US) for n in range(5)]
    assert counts(batch(*rows)) == {Outcome.APPLIED: 5}


def test_a_snapshot_after_the_stream_is_not_guarded() -> None:
    """An incremental snapshot reads rows while the stream goes on; its rows have no position of their own."""
    answer = batch(change(5, row=order(1)), change(6, "r", order(2)), change(7, "r", order(1)), change(8, row=order(3)))
    assert counts(answer) == {Outcome.APPLIED: 3, Outcome.UNCHANGED: 1}


# --- replay of a dead letter ------------------------------------------------------------------------------------------


def test_a_replayed_dead_letter_heals_a_key_nobody_changed_since() -> None:
    truth = applied(change(90, "u", order(amount="2.00"), replay_of=5), held_of(change(3))).truth
    assert truth.version == make_version(1, 5)


def test_a_replayed_dead_letter_does_not_beat_what_came_after_it() -> None:
    held = held_of(change(8, row=order(amount="8.00")))
    answer = decided(change(90, "u", order(amount="2.00"), replay_of=5), held)
    assert isinstance(answer, Skip)
    assert answer.outcome is Outcome.STALE


def test_a_replayed_dead_letter_is_old_and_the_source_did_not_go_back() -> None:
    guard = Guard(1, Position(10**6, 10**6), 0)
    answer, after = decide(change(90, "u", replay_of=5), None, guard, PLAN)
    assert isinstance(answer, Apply)
    assert after == guard


@pytest.mark.parametrize("held_op", ["c", "d"])
def test_a_replayed_delete_never_takes_the_version_of_its_key_back(held_op: str) -> None:
    plan = orders_plan(BY_COUNTER)
    held = held_of(change(8, held_op, order(row_version=4, amount="8.00")), plan)
    answer = decided(change(90, "d", order(row_version=4), replay_of=5), held, plan)
    assert not isinstance(answer, Apply), f"{split_version(answer.truth.version)} after {split_version(held.version)}"


# --- reject -----------------------------------------------------------------------------------------------------------

TRUNCATED = (change(0, row=order(customer=SECRET)).value or b"")[:-3]
SECRET_ROW = order(customer=SECRET)

MALFORMED: dict[str, tuple[LogRecord, str, str]] = {
    "not framed": (log_record(4, SECRET.encode()), "decode", "NotFramed"),
    "empty": (log_record(4, b""), "decode", "NotFramed"),
    "truncated": (log_record(4, TRUNCATED), "decode", "NotAvro"),
    "trailing": (log_record(4, (change(0, row=SECRET_ROW).value or b"") + b"!"), "decode", "NotAvro"),
    "unknown schema": (log_record(4, b"\x00\x00\x00\x00\x63" + SECRET.encode()), "decode", "SchemaMissing"),
    "missing op": (change(4, "", SECRET_ROW), "decode", "OpMissing"),
    "unknown op": (change(4, "q", SECRET_ROW), "decode", "OpMissing"),
    "truncate": (change(4, "t"), "decode", "Truncate"),
    "no key": (log_record(4, change(4, row=SECRET_ROW).value, key=None), "decode", "KeyMissing"),
    "no epoch": (change(4, row=SECRET_ROW, epoch=None), "decode", "EpochMissing"),
    "no position": (change(4, row=SECRET_ROW, source={"sequence": None}), "decode", "PositionMissing"),
    "key not JSON": (change(4, row=SECRET_ROW, key=SECRET.encode()), "validate", "KeyMalformed"),
    "key not UTF-8": (change(4, row=SECRET_ROW, key=b'{"order_id":"\xff"}'), "validate", "KeyMalformed"),
    "key arity": (change(4, row=SECRET_ROW, key=b'{"order_id":1,"line":1}'), "validate", "KeyChanged"),
    "no row": (log_record(4, framed(envelope(4) | {"after": None}, envelope_schema())), "validate", "RowMissing"),
    "hole": (change(4, row=SECRET_ROW | {"change_reason": HOLE}), "validate", "ValueUnavailable"),
    "hole in bytes": (change(4, row=SECRET_ROW | {"photo": HOLE.encode()}), "validate", "ValueUnavailable"),
    "hole in array": (change(4, row=SECRET_ROW | {"tags": [HOLE]}), "validate", "ValueUnavailable"),
    "system": (change(4, row=SECRET_ROW, source={"name": "evil"}), "authority", "WrongAuthority"),
    "schema": (change(4, row=SECRET_ROW, source={"schema": "evil"}), "authority", "WrongAuthority"),
    "table": (change(4, row=SECRET_ROW, source={"table": "evil"}), "authority", "WrongAuthority"),
    "check": (change(4, row=SECRET_ROW | {"amount": "-1.00"}), "rules", "CheckViolated"),
    "uncomputable": (change(4, row=SECRET_ROW | {"amount": SECRET}), "rules", "CheckViolated"),
    "NaN": (change(4, row=SECRET_ROW | {"amount": "NAN"}), "rules", "CheckViolated"),
}


@pytest.mark.parametrize("name", list(MALFORMED))
def test_what_cannot_be_used_is_a_dead_letter_with_stage_and_class_and_without_values(name: str) -> None:
    record, stage, error_class = MALFORMED[name]
    before, after = change(0, row=order(2)), change(9, "u", order(2, amount="5.00"))
    answer = batch(before, record, after, plan=CHECKED)
    assert counts(answer) == {Outcome.APPLIED: 2, Outcome.REJECTED: 1}, "the next records go on"
    (dead, why), *_ = answer.dead
    assert dead is record
    assert isinstance(why, Reject)
    assert (why.stage, why.error_class) == (stage, error_class)
    assert SECRET not in f"{why.reason} {why.hint}"
    assert key_of(1) not in answer.held


@pytest.mark.parametrize("name", list(MALFORMED))
def test_what_is_held_stays_as_it_is(name: str) -> None:
    record, _, _ = MALFORMED[name]
    answer = batch(change(0, row=order(1)), record, plan=CHECKED)
    assert [truth.row for truth in answer.truths] == [order(1)]


def test_a_missing_version_column_is_a_dead_letter() -> None:
    answer = decided(change(4, row=order(row_version=None, customer=SECRET)), plan=orders_plan(BY_COUNTER))
    assert isinstance(answer, Reject)
    assert answer.error_class == "VersionMissing"


def test_a_corrected_row_replaces_what_was_rejected() -> None:
    answer = batch(change(0), change(1, "u", order(amount="-1.00")), change(2, "u", order(amount="1.00")), plan=CHECKED)
    assert counts(answer) == {Outcome.APPLIED: 2, Outcome.REJECTED: 1}
    assert answer.truths[-1].row == order(amount="1.00")


@pytest.mark.parametrize(
    ("column", "pg_type", "value"),
    [("weight", "string", SECRET), ("row_version", "string", SECRET), ("customer", "long", 4711)],
)
def test_a_type_changed_at_the_source_is_an_answer_and_its_error_shows_no_value(
    column: str, pg_type: str, value: Any
) -> None:
    """ALTER COLUMN ... TYPE: the same names in another schema. It may not end the worker."""
    schema = copy.deepcopy(envelope_schema())
    fields = schema["fields"][0]["type"][1]["fields"]
    next(field for field in fields if field["name"] == column)["type"] = ["null", pg_type]
    plan = orders_plan(decoders=[(SCHEMA_ID + 1, EnvelopeDecoder(schema))])
    record = log_record(0, framed(envelope(0, row=order(**{column: value})), schema, SCHEMA_ID + 1))
    answer = decided(record, plan=plan)
    assert isinstance(answer, Reject)
    assert SECRET not in answer.reason


@pytest.mark.parametrize("position", [(2**63, 1), (1, 2**63), (-1, 5), (10**30, 1)])
def test_a_position_beyond_the_truth_schema_is_an_answer(position: tuple[int, int]) -> None:
    """It is written as Avro long; PostgreSQL's own positions are far below."""
    record = change(0, source={"sequence": f'["{position[0]}","{position[1]}"]'})
    answer = decided(record)
    if isinstance(answer, Apply):
        PLAN.codec.encode(answer.truth)


# --- escalate ---------------------------------------------------------------------------------------------------------


def test_two_contents_of_one_version_are_a_case_and_the_held_one_stays() -> None:
    first = order(row_version=4, customer="Ada")
    second = order(row_version=4, customer=SECRET)
    answer = batch(change(0, row=first), change(1, "u", second), plan=orders_plan(BY_COUNTER))
    assert counts(answer) == {Outcome.APPLIED: 1, Outcome.ESCALATED: 1}
    (case,) = answer.cases.values()
    assert case.id == "orders/1/0/1"
    assert SECRET not in f"{case.rule} {case.reason}"
    assert [side.row and side.row["customer"] for side in case.sides] == ["Ada", SECRET]
    assert [truth.row for truth in answer.truths] == [first]


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("2026-01-05T10:00:02.000001Z", Outcome.APPLIED),
        ("2026-01-05T10:00:02.000000Z", Outcome.ESCALATED),
        ("2026-01-05T09:59:58.000000Z", Outcome.ESCALATED),
        ("2026-01-05T09:59:57.999999Z", Outcome.STALE),
    ],
)
def test_last_write_wins_beyond_the_uncertainty(time: str, expected: Outcome) -> None:
    answer = batch(change(0), change(1, "u", order(updated_at=time)), plan=orders_plan(BY_TIME))
    assert answer.counts[expected] == 1 + (expected is Outcome.APPLIED)


def test_a_row_deleted_within_the_uncertainty_of_its_last_write_is_deleted() -> None:
    answer = batch(change(0), change(1, "d", order()), plan=orders_plan(BY_TIME))
    assert [truth.op for truth in answer.truths] == [Op.CREATE, Op.DELETE]
    assert answer.held[key_of(1)].content_hash == DELETED_HASH


def test_a_replay_that_is_accepted_leaves_the_mark_of_what_was_refused_after_it() -> None:
    """Two changes were refused, the rule is mended, the first is replayed; then the owner takes the second back. That
    is published once more, so that a replay of the second, which is newer than the first, loses."""
    key, first, second = key_of(1), order(amount="-1.00"), order(amount="-2.00")
    batch = decide_batch([change(0, "c", order()), change(1, "u", first), change(2, "u", second)], {}, Guard(), CHECKED)
    assert batch.held[key].refused_at == 2
    batch = decide_batch([change(3, "u", first, replay_of=1)], batch.held, batch.guard, PLAN)
    assert batch.counts[Outcome.APPLIED] == 1
    batch = decide_batch([change(4, "u", first)], batch.held, batch.guard, PLAN)
    assert batch.counts[Outcome.APPLIED] == 1, "said once more, above the letter"
    batch = decide_batch([change(5, "u", second, replay_of=2)], batch.held, batch.guard, PLAN)
    assert batch.counts[Outcome.STALE] == 1


def test_a_replay_that_is_refused_is_as_old_as_its_letter() -> None:
    refused = order(amount="-1.00")
    records = [change(0, "c", order()), change(2, "u", refused), change(5, "u", refused, replay_of=2)]
    batch = decide_batch(records, {}, Guard(), CHECKED)
    assert batch.held[key_of(1)].refused_at == 2
    letters = [dead_letter("letters", record, why) for record, why in batch.dead]
    assert [dict(letter.headers)["trueup.offset"] for letter in letters] == [b"2", b"2"]
