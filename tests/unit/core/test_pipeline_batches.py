"""decide_batch: records of a batch see each other, in order, and each is counted once."""

from collections.abc import Callable

from tests.decisions import CHECKED, PLAN, batch, content, counts, held_of
from tests.envelopes import (
    change,
    key_of,
    log_record,
    order,
)
from trueup.core.ordering import Guard
from trueup.core.pipeline import decide_batch
from trueup.model.decision import DELETED_HASH, Held, Outcome
from trueup.model.event import LogRecord
from trueup.model.version import make_version

# --- batches ----------------------------------------------------------------------------------------------------------


def test_a_record_sees_what_an_earlier_one_of_its_batch_decided() -> None:
    answer = batch(change(0), change(1, "u", order()), change(2, "u", order(amount="3.00")), change(3, "d"))
    assert counts(answer) == {Outcome.APPLIED: 3, Outcome.UNCHANGED: 1}
    assert answer.held == {key_of(1): Held(make_version(1, 3), DELETED_HASH)}


def test_what_the_batch_decided_stands_above_what_was_held() -> None:
    old = held_of(change(0, row=order(amount="1.00")))
    records = [change(5, "u", order(amount="2.00")), change(6, "u", order(amount="1.00"))]
    answer = decide_batch(records, {key_of(1): old}, Guard(), PLAN)
    assert [truth.row for truth in answer.truths] == [order(amount="2.00"), order(amount="1.00")]


def test_keys_do_not_see_each_other() -> None:
    answer = batch(change(0, row=order(1)), change(1, row=order(2)), change(2, "d", order(1)))
    assert set(answer.held) == {key_of(1), key_of(2)}
    assert answer.held[key_of(2)].content_hash == content(order(2))


def test_an_empty_batch_counts_nothing() -> None:
    assert not any(batch().counts.values())


def test_truths_stand_in_the_order_of_the_log() -> None:
    answer = batch(*(change(n, row=order(n % 3, amount=f"{n}.00")) for n in range(12)))
    assert [truth.version for truth in answer.truths] == [make_version(1, n) for n in range(12)]


def test_one_of_each_outcome_is_counted_once() -> None:
    records: list[Callable[[], LogRecord]] = [
        lambda: change(0, row=order(1)),  # applied
        lambda: change(1, "u", order(1)),  # unchanged
        lambda: log_record(2, None),  # ignored
        lambda: log_record(3, b"junk"),  # rejected
        lambda: change(4, "c", order(1), position=(1, 2), commit_time_us=1),  # duplicate
        lambda: change(5, "u", order(1, amount="5.00"), replay_of=0, epoch=0),  # stale
    ]
    assert counts(batch(*(make() for make in records))) == {
        Outcome.APPLIED: 1,
        Outcome.UNCHANGED: 1,
        Outcome.IGNORED: 1,
        Outcome.REJECTED: 1,
        Outcome.DUPLICATE: 1,
        Outcome.STALE: 1,
    }


def test_a_refused_change_that_is_taken_back_supersedes_its_letter() -> None:
    """The row is as it was, yet it is published: who replays the letter later must not bring it to the replicas."""
    held_row, letter = change(1), order(amount="-1.00")
    refused, taken_back, again = change(3, "u", letter), change(5, "u", order()), change(7, "u", order())
    before = batch(held_row, refused, taken_back, again, plan=CHECKED)
    assert counts(before) == {Outcome.APPLIED: 2, Outcome.REJECTED: 1, Outcome.UNCHANGED: 1}
    assert before.truths[-1].version == make_version(1, 5)
    replayed = change(9, "u", letter, replay_of=3)  # the check has been relaxed meanwhile
    after = decide_batch([replayed], before.held, before.guard, PLAN)
    assert after.truths == [], "the replicas would hold what the owner no longer says"
    assert counts(after) == {Outcome.STALE: 1}


def test_a_refused_change_read_again_publishes_nothing_anew() -> None:
    records = [change(1), change(2, "u", order()), change(3, "u", order(amount="-1.00"))]
    before = batch(*records, plan=CHECKED)
    again = decide_batch(records, before.held, Guard(), CHECKED)
    assert again.truths == []
    assert again.held == {}, "nothing else is held than before"
