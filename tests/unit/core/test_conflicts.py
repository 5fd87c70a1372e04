"""Several writers: what is sequential, what each policy makes of a concurrent change, and what the loser gets."""

from typing import Any

import msgspec
import pytest

from tests.several_writers import (
    BASE,
    CRM,
    SHOP,
    TIME_US,
    batch,
    event,
    held_by,
    plan_of,
    row,
)
from trueup.core.ordering import Guard
from trueup.core.pipeline import decide
from trueup.core.truth_codec import TruthReader
from trueup.core.truth_schema import truth_schema
from trueup.model.decision import Again, Apply, Decision, Escalate, Held, Outcome, Skip
from trueup.model.event import LogRecord, Op
from trueup.model.version import epoch_of, make_version, offset_of, rank_in

LAST_WINS = plan_of("last_write_wins")
COMPARED = plan_of("version_comparison")
PREFER_SHOP = plan_of("prefer", system="shop")
ESCALATED = plan_of("escalate")
PLANS = {"last write": LAST_WINS, "version": COMPARED, "prefer": PREFER_SHOP, "escalate": ESCALATED}


def decided(record: LogRecord, held: Held | None, plan: Any = LAST_WINS, guard: Guard | None = None) -> Decision:
    return decide(record, held, guard or Guard(), plan)[0]


def accepted(decision: Decision) -> Apply:
    assert isinstance(decision, Apply), decision
    return decision


# --- sequential: accepted by every policy, whatever the clock says ----------------------------------------------------


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_a_change_of_the_writer_whose_change_is_held_is_sequential(plan: Any) -> None:
    held = held_by(SHOP, row("a", at=50), plan)
    later = accepted(decided(event(SHOP, 20, "u", row("b", at=3), before=row("never seen")), held, plan))
    assert later.truth.origin == SHOP
    assert later.truth.version > held.version, "the clock went back, the version does not"


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
@pytest.mark.parametrize("op", ["u", "d"])
def test_a_change_made_upon_the_held_row_of_another_writer_is_sequential(op: str, plan: Any) -> None:
    held = held_by(CRM, row("a", at=50), plan)
    after = row("b", at=3) if op == "u" else None
    truth = accepted(decided(event(SHOP, 20, op, after, before=row("a", at=50)), held, plan)).truth
    assert (truth.origin, truth.op) == (SHOP, Op(op))
    assert truth.version > held.version


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_an_insert_upon_a_delete_and_the_first_of_a_key_are_sequential(plan: Any) -> None:
    assert accepted(decided(event(SHOP, 3, "c", row("a")), None, plan)).truth.origin == SHOP
    gone = batch(plan, event(CRM, 3, "c", row("a", at=50)), event(CRM, 4, "d", None, before=row("a", at=50)))
    assert accepted(decided(event(SHOP, 5, "c", row("b", at=1)), gone.held[BASE], plan)).truth.origin == SHOP


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_the_same_content_is_no_conflict(plan: Any) -> None:
    held = held_by(CRM, row("a", at=50), plan)
    answer = decided(event(SHOP, 20, "u", row("a", at=50), before=row("other")), held, plan)
    assert answer == Skip(Outcome.UNCHANGED, "same content")


# --- last write wins --------------------------------------------------------------------------------------------------


def test_the_newer_write_wins_whichever_arrives_first() -> None:
    older = event(SHOP, 20, "u", row("older", at=60), before=row("a"))
    newer = event(CRM, 21, "u", row("newer", at=100), before=row("a"))
    first = batch(LAST_WINS, event(SHOP, 1, "c", row("a")), older, newer)
    assert [truth.origin for truth in first.truths] == [SHOP, SHOP, CRM]
    assert first.counts[Outcome.APPLIED] == 3

    newer = event(CRM, 20, "u", row("newer", at=100), before=row("a"))
    older = event(SHOP, 21, "u", row("older", at=60), before=row("a"))
    second = batch(LAST_WINS, event(CRM, 1, "c", row("a")), newer, older)
    assert (second.counts[Outcome.APPLIED], second.counts[Outcome.STALE]) == (2, 1)
    assert first.held[BASE].content_hash == second.held[BASE].content_hash


def test_what_the_loser_gets_is_the_held_truth_above_its_own_change() -> None:
    held = held_by(CRM, row("newer", at=100), LAST_WINS, offset=20)
    answer = decided(event(SHOP, 21, "u", row("older", at=60), before=row("a"), commit_time_us=777), held)
    assert isinstance(answer, Again)
    again = answer.truth
    assert again.version == make_version(1, 21, rank_in(held.version))
    assert (again.content_hash, again.origin, again.op) == (held.content_hash, CRM, Op.CREATE)
    assert held.record is not None
    assert again.encoded is not None
    reader = TruthReader()
    reader.learn(LAST_WINS.codec.schema_id, truth_schema(LAST_WINS.table, LAST_WINS.codec.captured))
    was, now = reader.decode(BASE, held.record), reader.decode(BASE, again.encoded)
    assert now == msgspec.structs.replace(was, version=again.version, commit_time_us=777), "all else is as it was"


@pytest.mark.parametrize("apart_s", [-2.0, -1.0, 0.0, 1.0, 2.0])
def test_within_the_window_nobody_guesses(apart_s: float) -> None:
    held = held_by(CRM, row("theirs", at=100), LAST_WINS)
    answer = decided(event(SHOP, 20, "u", row("ours", at=100 + apart_s), before=row("a")), held)
    assert isinstance(answer, Escalate)
    assert answer.rule == "last write wins by updated_at"


@pytest.mark.parametrize(("apart_s", "wins"), [(2.000001, True), (-2.000001, False)])
def test_a_microsecond_outside_the_window_the_clock_decides(apart_s: float, wins: bool) -> None:
    held = held_by(CRM, row("theirs", at=100), LAST_WINS)
    answer = decided(event(SHOP, 20, "u", row("ours", at=100 + apart_s), before=row("a")), held)
    assert isinstance(answer, Apply if wins else Again)


def test_two_inserts_of_a_key_are_concurrent() -> None:
    held = held_by(CRM, row("theirs", at=100), LAST_WINS)
    assert isinstance(decided(event(SHOP, 20, "c", row("ours", at=101)), held), Escalate)
    assert isinstance(decided(event(SHOP, 20, "c", row("ours", at=110)), held), Apply)
    assert isinstance(decided(event(SHOP, 20, "c", row("ours", at=10)), held), Again)


def test_a_delete_is_as_new_as_the_row_it_deletes() -> None:
    held = held_by(CRM, row("theirs", at=100), LAST_WINS)
    assert isinstance(decided(event(SHOP, 20, "d", None, before=row("old", at=10)), held), Again)
    assert accepted(decided(event(SHOP, 20, "d", None, before=row("newer", at=110)), held)).truth.op is Op.DELETE


def test_a_deleted_row_comes_back_where_a_newer_update_did_not_know_of_the_delete() -> None:
    gone = batch(LAST_WINS, event(CRM, 1, "c", row("a")), event(CRM, 2, "d", None, before=row("a"))).held[BASE]
    back = accepted(decided(event(SHOP, 3, "u", row("b", at=60), before=row("a")), gone)).truth
    assert (back.op, back.origin) == (Op.UPDATE, SHOP)


# --- the other policies -----------------------------------------------------------------------------------------------


def test_version_comparison_takes_what_was_made_upon_a_newer_row_and_asks_about_the_same_base() -> None:
    held = held_by(CRM, row("theirs", version=6), COMPARED)
    same_base = event(SHOP, 20, "u", row("ours", version=7), before=row("a", version=5))
    assert isinstance(decided(same_base, held, COMPARED), Escalate)
    equal = event(SHOP, 20, "u", row("ours", version=6), before=row("a", version=5))
    assert isinstance(decided(equal, held, COMPARED), Escalate)
    newer = event(SHOP, 20, "u", row("ours", version=8), before=row("not here yet", version=7))
    assert isinstance(decided(newer, held, COMPARED), Apply)
    assert isinstance(decided(event(SHOP, 20, "c", row("ours", version=8)), held, COMPARED), Escalate)


def test_the_preferred_writer_wins_whichever_arrives_first() -> None:
    ours, theirs = row("ours"), row("theirs")
    held = held_by(CRM, theirs, PREFER_SHOP)
    assert isinstance(decided(event(SHOP, 20, "u", ours, before=row("a")), held, PREFER_SHOP), Apply)
    held = held_by(SHOP, ours, PREFER_SHOP)
    assert isinstance(decided(event(CRM, 20, "u", theirs, before=row("a")), held, PREFER_SHOP), Again)


def test_of_two_that_are_not_preferred_the_log_decides() -> None:
    held = held_by(CRM, row("theirs"), PREFER_SHOP)
    assert isinstance(decided(event("erp", 20, "u", row("erp"), before=row("a")), held, PREFER_SHOP), Apply)


def test_escalate_decides_nothing() -> None:
    held = held_by(CRM, row("theirs"), ESCALATED)
    answer = decided(event(SHOP, 20, "u", row("ours"), before=row("a")), held, ESCALATED)
    assert isinstance(answer, Escalate)
    assert answer.error_class == "Undecided: escalate"


# --- snapshots, epochs, letters ---------------------------------------------------------------------------------------


def test_rows_of_a_snapshot_are_compared_not_believed() -> None:
    held = held_by(CRM, row("theirs", at=100), LAST_WINS)
    assert isinstance(decided(event(SHOP, 20, "r", row("older", at=60)), held), Again)
    assert isinstance(decided(event(SHOP, 20, "r", row("newer", at=160)), held), Apply)
    assert isinstance(decided(event(SHOP, 20, "r", row("close", at=101)), held), Escalate)


def test_a_snapshot_that_read_the_row_before_the_delete_got_there_does_not_bring_it_back() -> None:
    gone = batch(LAST_WINS, event(CRM, 1, "c", row("a")), event(CRM, 2, "d", None, before=row("a"))).held[BASE]
    assert isinstance(decided(event(SHOP, 3, "r", row("a")), gone), Again)


def test_a_restored_writer_gets_back_what_it_had_said_later() -> None:
    """Its new epoch brings an older row; what it said before the restore is held, and newer."""
    held = held_by(SHOP, row("later", at=100), LAST_WINS)
    answer = decided(event(SHOP, 20, "r", row("restored", at=60), epoch=2), held)
    assert isinstance(answer, Again)
    assert epoch_of(answer.truth.version) == 2
    fresh = decided(event(SHOP, 20, "r", row("while blind", at=100.5), epoch=2), held)
    assert isinstance(fresh, Apply), "its own log needs no window"


def test_versions_carry_the_highest_epoch_that_began_and_each_writer_has_its_own() -> None:
    guard = Guard(3, writers={SHOP: Guard(3), CRM: Guard(1)})
    decision, after = decide(event(CRM, 20, "c", row("a"), epoch=1), None, guard, LAST_WINS)
    assert epoch_of(accepted(decision).truth.version) == 3
    assert after.epoch == 3
    assert after.of(CRM).epoch == 1
    assert after.of(CRM).position > guard.of(CRM).position
    assert after.of(SHOP) == guard.of(SHOP), "another log"
    late, same = decide(event(SHOP, 21, "c", row("a"), epoch=2), None, after, LAST_WINS)
    assert late == Skip(Outcome.STALE, "epoch is over")
    assert same == after


def test_a_repeated_event_of_one_writer_is_a_duplicate_whatever_the_other_did() -> None:
    answer = batch(
        LAST_WINS,
        event(SHOP, 1, "c", row("a"), position=(500, 500)),
        event(CRM, 2, "u", row("b", at=60), before=row("a"), position=(7, 7)),
        event(SHOP, 3, "c", row("a"), position=(400, 400), commit_time_us=TIME_US),
    )
    assert [answer.counts[o] for o in (Outcome.APPLIED, Outcome.DUPLICATE)] == [2, 1]


def test_unchanged_rows_of_a_new_epoch_are_published_for_the_sweep() -> None:
    held = held_by(CRM, row("a"), LAST_WINS)
    truth = accepted(decided(event(SHOP, 20, "r", row("a"), epoch=2), held)).truth
    assert (epoch_of(truth.version), offset_of(truth.version)) == (2, 20)


def test_a_replayed_letter_that_is_older_than_what_is_held_changes_nothing() -> None:
    held = held_by(CRM, row("theirs", at=100), LAST_WINS, offset=20)
    record = event(SHOP, 30, "u", row("replayed", at=200), before=row("a"), replay_of=4)
    newer = decided(record, held)
    assert isinstance(newer, Apply), "its clock is newer, and that is what counts here"
    record = event(SHOP, 30, "u", row("replayed", at=60), before=row("a"), replay_of=4)
    assert decided(record, held) == Skip(Outcome.STALE, "older than what is held")


def test_a_stranger_is_no_writer() -> None:
    answer = decided(event("stranger", 1, "c", row("a")), None)
    assert getattr(answer, "error_class", None) == "WrongAuthority"
