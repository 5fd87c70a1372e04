"""Step 4: which change is newer, and has the source gone back? (design 5)"""

import msgspec
import pytest

from tests.envelopes import COMMIT_TIME_US, SECRET, order
from trueup.core.ordering import Guard, check_position, compare, rank_of, version_of
from trueup.model.decision import DELETED_HASH, Escalate, Held, Outcome, Reject, Skip
from trueup.model.errors import SourceWentBack
from trueup.model.event import ChangeEvent, Op, Position
from trueup.model.registration import ColumnVersion
from trueup.model.version import RANK_MAX, RANK_MIN, make_version

A, B = b"a" * 16, b"b" * 16
BY_TIME = ColumnVersion(column="updated_at", uncertainty="2s")
BY_COUNTER = ColumnVersion(column="row_version")
BASE = ChangeEvent(
    op=Op.UPDATE,
    system="shop",
    schema="public",
    table="orders",
    key=b"{}",
    row=order(customer=SECRET),
    before=None,
    position=Position(100, 101),
    commit_time_us=COMMIT_TIME_US,
    epoch=1,
    offset=10,
)
DELETION = msgspec.structs.replace(BASE, op=Op.DELETE, row=None, before=order())
GUARD = Guard(1, Position(100, 101), COMMIT_TIME_US)


def at(position: Position | None, commit_time_us: int = COMMIT_TIME_US, epoch: int = 1) -> ChangeEvent:
    return msgspec.structs.replace(BASE, position=position, commit_time_us=commit_time_us, epoch=epoch)


# --- the guard --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("position", [Position(100, 102), Position(101, 1), Position(2**63, 0)])
def test_the_guard_moves_on_with_the_source(position: Position) -> None:
    assert check_position(at(position, COMMIT_TIME_US + 5), GUARD) == Guard(1, position, COMMIT_TIME_US + 5)


def test_the_guard_moves_on_even_when_the_clock_of_the_source_steps_back() -> None:
    assert check_position(at(Position(200, 201), 5), GUARD) == Guard(1, Position(200, 201), 5)


def test_rows_of_a_copy_share_one_position_and_all_are_taken() -> None:
    guard: Skip | Guard = GUARD
    for _ in range(3):
        assert isinstance(guard, Guard)
        guard = check_position(at(Position(100, 101)), guard)
    assert guard == GUARD


@pytest.mark.parametrize("commit_time_us", [COMMIT_TIME_US, COMMIT_TIME_US - 1])
@pytest.mark.parametrize("position", [Position(100, 100), Position(99, 500), Position(0, 1)])
def test_a_lower_position_that_is_not_newer_is_a_repetition(position: Position, commit_time_us: int) -> None:
    answer = check_position(at(position, commit_time_us), GUARD)
    assert isinstance(answer, Skip)
    assert answer.outcome is Outcome.DUPLICATE


def test_a_lower_position_that_is_newer_stops_with_the_cure() -> None:
    with pytest.raises(SourceWentBack) as caught:
        check_position(at(Position(99, 500), COMMIT_TIME_US + 1), GUARD)
    assert caught.value.hint is not None
    assert "trueup resync shop" in caught.value.hint
    assert SECRET not in str(caught.value)


def test_a_new_epoch_begins_a_new_guard_however_low() -> None:
    assert check_position(at(Position(1, 2), COMMIT_TIME_US + 9, epoch=2), GUARD) == Guard(
        2, Position(1, 2), COMMIT_TIME_US + 9
    )


@pytest.mark.parametrize("position", [Position(1, 2), Position(100, 100), Position(99, 999)])
def test_a_former_epoch_is_over(position: Position) -> None:
    guard = Guard(2, Position(100, 101), COMMIT_TIME_US)
    assert check_position(at(position, COMMIT_TIME_US + 9, epoch=1), guard) == Skip(Outcome.STALE, "epoch is over")


def test_a_former_epoch_is_over_at_any_position() -> None:
    """A capture of the former epoch that still writes must not win, nor take the guard back to its epoch."""
    guard = Guard(2, Position(100, 101), COMMIT_TIME_US)
    answer = check_position(at(Position(500, 501), COMMIT_TIME_US + 9, epoch=1), guard)
    assert isinstance(answer, Skip), f"the guard fell to epoch {answer.epoch}"
    assert answer.outcome is Outcome.STALE


def test_snapshot_rows_are_not_guarded() -> None:
    assert check_position(at(None), GUARD) == GUARD


def test_the_first_row_of_a_snapshot_begins_its_epoch() -> None:
    assert check_position(at(None, epoch=2), GUARD) == Guard(2)


@pytest.mark.parametrize("replay_of", [None, 3])
def test_a_snapshot_row_of_a_former_epoch_is_stale_and_so_is_its_replay(replay_of: int | None) -> None:
    """A dead letter of a key that was gone when the new epoch's snapshot was taken must not bring it back."""
    event = msgspec.structs.replace(at(None), replay_of=replay_of)
    assert check_position(event, Guard(2)) == Skip(Outcome.STALE, "epoch is over")


def test_a_replayed_dead_letter_is_not_guarded() -> None:
    replay = msgspec.structs.replace(at(Position(1, 1), COMMIT_TIME_US + 99), replay_of=3)
    assert check_position(replay, GUARD) == GUARD


# --- the version ------------------------------------------------------------------------------------------------------


def test_the_version_of_a_log_table_is_epoch_and_offset() -> None:
    assert version_of(msgspec.structs.replace(BASE, epoch=3), None) == make_version(3, 10)


def test_a_replayed_dead_letter_keeps_its_age() -> None:
    assert version_of(msgspec.structs.replace(BASE, replay_of=4), None) == make_version(1, 4)
    assert version_of(msgspec.structs.replace(BASE, replay_of=4), BY_COUNTER) == make_version(1, 4, 1)


def test_a_column_is_the_rank() -> None:
    assert version_of(BASE, BY_COUNTER) == make_version(1, 10, 1)
    assert version_of(BASE, BY_TIME) == make_version(1, 10, COMMIT_TIME_US)


def test_a_delete_carries_the_version_of_the_row_it_deletes() -> None:
    deletion = msgspec.structs.replace(DELETION, before=order(row_version=9))
    assert version_of(deletion, BY_COUNTER) == make_version(1, 10, 9)


@pytest.mark.parametrize(
    "event",
    [
        msgspec.structs.replace(BASE, row=order(row_version=None)),
        msgspec.structs.replace(BASE, row={}),
        msgspec.structs.replace(BASE, row=order(row_version=SECRET)),
        msgspec.structs.replace(DELETION, before=None),
        msgspec.structs.replace(DELETION, before={"order_id": 1}),
    ],
)
def test_without_a_version_the_event_is_rejected(event: ChangeEvent) -> None:
    answer = version_of(event, BY_COUNTER)
    assert isinstance(answer, Reject)
    assert (answer.stage, answer.error_class) == ("order", "VersionMissing")
    assert "row_version" in answer.reason
    assert SECRET not in f"{answer.reason} {answer.hint}"


@pytest.mark.parametrize(
    ("value", "rank"),
    [
        (0, 0),
        (-5, -5),
        (RANK_MAX, RANK_MAX),
        (RANK_MIN, RANK_MIN),
        ("42", 42),
        ("-42", -42),
        ("+7", 7),
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00.000001Z", 1),
        ("1970-01-01T00:00:00.1Z", 100_000),
        ("1969-12-31T23:59:59.999999Z", -1),
        ("1970-01-01T02:00:00+02:00", 0),
        ("1970-01-01T00:00:01", 1_000_000),
        ("1970-01-02", 86_400_000_000),
        ("9999-12-31T23:59:59.999999Z", 253_402_300_799_999_999),
    ],
)
def test_times_and_integers_are_ranks(value: object, rank: int) -> None:
    assert rank_of(value) == rank


@pytest.mark.parametrize(
    "value",
    [None, True, False, 1.0, "", " ", "1.5", "soon", "infinity", "٣", RANK_MAX + 1, RANK_MIN - 1, b"1", [1], {"a": 1}],
)
def test_nothing_else_is(value: object) -> None:
    assert rank_of(value) is None


@pytest.mark.parametrize("digits", [str(RANK_MAX + 1), str(RANK_MIN - 1), "9" * 5_000], ids=["over", "under", "long"])
def test_a_number_beyond_the_version_is_no_rank(digits: str) -> None:
    """Numeric arrives as text, of up to 131,072 digits."""
    assert rank_of(digits) is None


# --- newer, in log order ----------------------------------------------------------------------------------------------


def log_verdict(epoch: int, offset: int, content: bytes, held: Held | None) -> Skip | Escalate | None:
    return compare(BASE, make_version(epoch, offset), content, held, None)


HELD = Held(make_version(1, 10), A)


def outcome(answer: Skip | Escalate | None) -> Outcome | None:
    assert not isinstance(answer, Escalate)
    return None if answer is None else answer.outcome


def test_the_first_change_of_a_key_is_news() -> None:
    assert log_verdict(1, 0, A, None) is None


@pytest.mark.parametrize(
    ("epoch", "offset", "content", "expected"),
    [
        (1, 11, B, None),
        (1, 10, B, Outcome.DUPLICATE),
        (1, 9, B, Outcome.STALE),
        (1, 11, A, Outcome.UNCHANGED),
        (1, 10, A, Outcome.UNCHANGED),
        (1, 9, A, Outcome.UNCHANGED),
        (2, 0, B, None),
        (2, 0, A, None),
        (0, 99, B, Outcome.STALE),
        (0, 99, A, Outcome.STALE),
    ],
)
def test_later_in_the_log_is_newer(epoch: int, offset: int, content: bytes, expected: Outcome | None) -> None:
    assert outcome(log_verdict(epoch, offset, content, HELD)) is expected


def test_equal_content_of_a_new_epoch_is_published_or_a_sweep_would_delete_it() -> None:
    assert log_verdict(2, 0, A, HELD) is None
    assert log_verdict(2, 0, DELETED_HASH, Held(make_version(1, 10), DELETED_HASH)) is None


# --- newer, by a column -----------------------------------------------------------------------------------------------

SECOND = 1_000_000
HELD_RANK = 100 * SECOND
COLUMN_HELD = Held(make_version(1, 10, HELD_RANK), A)


def column_verdict(
    rank: int,
    *,
    column: ColumnVersion = BY_TIME,
    event: ChangeEvent = BASE,
    epoch: int = 1,
    offset: int = 11,
    content: bytes = B,
    held: Held = COLUMN_HELD,
) -> Skip | Escalate | None:
    return compare(event, make_version(epoch, offset, rank), content, held, column)


def test_the_higher_rank_wins_wherever_it_stands_in_the_log() -> None:
    assert column_verdict(HELD_RANK + 2 * SECOND + 1) is None
    assert column_verdict(HELD_RANK + 2 * SECOND + 1, offset=3) is None
    assert outcome(column_verdict(HELD_RANK - 2 * SECOND - 1)) is Outcome.STALE
    assert outcome(column_verdict(HELD_RANK - 2 * SECOND - 1, offset=99)) is Outcome.STALE


@pytest.mark.parametrize("distance", [0, 1, -1, 2 * SECOND, -2 * SECOND])
def test_too_close_is_a_case_and_no_tie_break(distance: int) -> None:
    answer = column_verdict(HELD_RANK + distance)
    assert isinstance(answer, Escalate)
    assert "updated_at" in answer.rule
    assert SECRET not in f"{answer.rule} {answer.reason} {answer.hint}"


def test_without_uncertainty_only_equal_counters_are_a_case() -> None:
    assert isinstance(column_verdict(HELD_RANK, column=BY_COUNTER), Escalate)
    assert column_verdict(HELD_RANK + 1, column=BY_COUNTER) is None
    assert outcome(column_verdict(HELD_RANK - 1, column=BY_COUNTER)) is Outcome.STALE


def test_equal_content_is_no_case() -> None:
    assert outcome(column_verdict(HELD_RANK, content=A)) is Outcome.UNCHANGED


def test_the_very_same_version_is_a_duplicate_and_no_case() -> None:
    assert outcome(column_verdict(HELD_RANK, offset=10)) is Outcome.DUPLICATE


@pytest.mark.parametrize("column", [BY_TIME, BY_COUNTER])
@pytest.mark.parametrize("ahead", [0, 1, SECOND, 60 * SECOND])
def test_a_delete_of_the_row_held_or_of_a_newer_one_deletes(column: ColumnVersion, ahead: int) -> None:
    verdict = column_verdict(HELD_RANK + ahead, column=column, event=DELETION, content=DELETED_HASH)
    assert verdict is None


def test_a_delete_of_an_older_row_does_not() -> None:
    far, near = HELD_RANK - 60 * SECOND, HELD_RANK - 1
    assert outcome(column_verdict(far, event=DELETION, content=DELETED_HASH)) is Outcome.STALE
    assert isinstance(column_verdict(near, event=DELETION, content=DELETED_HASH), Escalate)
    assert outcome(column_verdict(near, column=BY_COUNTER, event=DELETION, content=DELETED_HASH)) is Outcome.STALE


def test_a_late_delete_of_equal_rank_does_not_take_the_version_back() -> None:
    """A replayed delete keeps its old offset: published, the versions of the key would decrease in the truth topic."""
    verdict = column_verdict(HELD_RANK, column=BY_COUNTER, event=DELETION, content=DELETED_HASH, offset=4)
    assert verdict is not None, "published at 1/rank/4 after 1/rank/10"


@pytest.mark.parametrize("column", [BY_TIME, BY_COUNTER])
@pytest.mark.parametrize("behind", [0, 1, SECOND])
def test_what_was_deleted_is_no_case_when_it_is_read_once_more(column: ColumnVersion, behind: int) -> None:
    """F-23: with the group's offsets lost, every deleted row asked a person whether it was there."""
    deleted = Held(COLUMN_HELD.version, DELETED_HASH)
    answer = column_verdict(HELD_RANK - behind, column=column, offset=9, held=deleted)
    assert outcome(answer) is Outcome.STALE


def test_a_row_inserted_after_the_deletion_and_close_to_it_is_a_case() -> None:
    """Its time says that it may be older, and the log that it is newer."""
    deleted = Held(COLUMN_HELD.version, DELETED_HASH)
    assert isinstance(column_verdict(HELD_RANK - 1, held=deleted), Escalate)
    assert isinstance(column_verdict(HELD_RANK + 1, offset=9, held=deleted), Escalate)


def test_the_epoch_stands_above_the_column() -> None:
    assert column_verdict(HELD_RANK - 99 * SECOND, epoch=2) is None
    assert column_verdict(HELD_RANK, epoch=2) is None
    assert column_verdict(HELD_RANK, epoch=2, content=A) is None
    assert outcome(column_verdict(HELD_RANK + 99 * SECOND, epoch=0)) is Outcome.STALE
    assert outcome(column_verdict(HELD_RANK, epoch=0, content=A)) is Outcome.STALE
    assert outcome(column_verdict(HELD_RANK, epoch=0, event=DELETION, content=DELETED_HASH)) is Outcome.STALE
