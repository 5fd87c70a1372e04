"""A person's decision: which truth it makes, what it beats, what beats it, and when it is not obeyed."""

from typing import Any

import pytest

from tests.case_makers import CHECKED, Partition, decision_on
from tests.envelopes import BY_TIME, change, key_of, order, orders_plan
from trueup.core.case_decision import CHANGED, NotObeyed, Obeyed
from trueup.core.truth_codec import DELETED_HASH, hash_row
from trueup.model.case import CaseStatus
from trueup.model.decision import Outcome
from trueup.model.event import Op
from trueup.model.version import make_version, split_version

ADA, NEGATIVE = order(customer="Ada"), order(amount="-1.00", customer="Grace")


def opened(partition: Partition | None = None) -> Partition:
    partition = partition or Partition()
    partition.decide(change(0, row=ADA), change(1, "u", NEGATIVE))
    return partition


@pytest.mark.parametrize(("take", "row"), [("A", ADA), ("B", NEGATIVE)])
def test_the_image_that_is_taken_becomes_the_truth_as_it_was(take: str, row: dict[str, object]) -> None:
    partition = opened()
    answer = partition.obey(decision_on(partition.case(), take), 7)
    assert isinstance(answer, Obeyed)
    assert answer.outcome is Outcome.APPLIED
    assert answer.truth.row == row
    assert answer.truth.content_hash == hash_row(CHECKED.codec.encode_row(row))
    assert (answer.truth.op, answer.truth.position) == (Op.UPDATE, None)
    assert answer.truth.cause == "case orders/1/0/1: called the customer"
    assert (answer.case.status, answer.case.closed_by) == (CaseStatus.DECIDED, make_version(1, 7).hex())
    assert not partition.open


def test_what_is_taken_against_a_check_is_flagged() -> None:
    partition = opened()
    taken = partition.obey(decision_on(partition.case(), "B"), 7)
    assert isinstance(taken, Obeyed)
    assert taken.truth.flags == (partition_reason(),)
    partition = opened()
    kept = partition.obey(decision_on(partition.case(), "A"), 7)
    assert isinstance(kept, Obeyed)
    assert kept.truth.flags == ()


def partition_reason() -> str:
    return opened().case().reason


def test_it_beats_both_images_and_loses_to_any_later_change() -> None:
    partition = opened()
    sides = partition.case().sides
    answer = partition.obey(decision_on(partition.case(), "A"), 7)
    assert isinstance(answer, Obeyed)
    assert answer.truth.version > max(side.order for side in sides)
    for old in (change(0, row=ADA), change(1, "u", NEGATIVE)):
        assert partition.decide(old).counts[Outcome.APPLIED] == 0
    assert partition.decide(change(8, "u", order(amount="3.00"))).counts[Outcome.APPLIED] == 1


def test_the_highest_rank_of_the_sides_is_its_rank() -> None:
    partition = Partition(orders_plan(BY_TIME))
    late = order(updated_at="2026-01-05T10:00:01.000000Z", customer="Grace")
    partition.decide(change(0, row=order()), change(1, "u", late))
    case = partition.case()
    answer = partition.obey(decision_on(case, "A"), 7)
    assert isinstance(answer, Obeyed)
    ranks = [split_version(side.order)[1] for side in case.sides]
    assert split_version(answer.truth.version) == (1, max(ranks), 7)
    assert ranks[1] == max(ranks)


def test_values_are_set_in_the_image_that_is_taken() -> None:
    partition = opened()
    answer = partition.obey(decision_on(partition.case(), "B", {"amount": "2.00", "state": None}), 7)
    assert isinstance(answer, Obeyed)
    assert answer.truth.row == NEGATIVE | {"amount": "2.00", "state": None}
    assert answer.truth.flags == ()


def test_a_key_of_which_nothing_was_held_is_kept_out_or_created() -> None:
    for take, op in (("A", Op.DELETE), ("B", Op.CREATE)):
        partition = Partition()
        partition.decide(change(1, row=NEGATIVE))
        answer = partition.obey(decision_on(partition.case(), take), 7)
        assert isinstance(answer, Obeyed)
        assert answer.truth.op is op
    partition = Partition()
    partition.decide(change(1, row=NEGATIVE))
    partition.obey(decision_on(partition.case(), "A"), 7)
    assert partition.held[key_of(1)].content_hash == DELETED_HASH
    assert partition.decide(change(1, row=NEGATIVE)).counts[Outcome.STALE] == 1


def refusal(partition: Partition, answer: object) -> str:
    assert isinstance(answer, NotObeyed)
    assert answer.outcome is Outcome.IGNORED
    assert partition.open, "the case waits on"
    refused = partition.case().refused
    assert refused is not None
    assert refused.id == "d1"
    return refused.why


def test_one_that_was_based_on_other_images_is_refused() -> None:
    partition = opened()
    seen = partition.case()
    partition.decide(change(2, "u", order(amount="-2.00")))
    assert refusal(partition, partition.obey(decision_on(seen), 7)) == CHANGED
    assert isinstance(partition.obey(decision_on(partition.case()), 8), Obeyed), "looked at again, it is obeyed"


@pytest.mark.parametrize(
    ("take", "values", "why"),
    [
        ("C", {}, "there is no side"),
        ("", {}, "there is no side"),
        ("a", {}, "there is no side"),
        ("B", {"order_id": 2}, "or are the key"),
        ("B", {"colour": "red"}, "not there"),
        ("B", {"customer": None}, "rejected"),
        ("B", {"row_version": "one"}, "type"),
        ("B", {"photo": "#"}, "type"),
    ],
)
def test_one_that_cannot_be_carried_out_is_refused_and_the_case_waits(
    take: str, values: dict[str, Any], why: str
) -> None:
    partition = opened()
    said = refusal(partition, partition.obey(decision_on(partition.case(), take, values), 7))
    assert why in said


def test_a_deleted_side_has_no_columns_to_set() -> None:
    partition = Partition()
    partition.decide(change(1, row=NEGATIVE))
    assert "no columns" in refusal(partition, partition.obey(decision_on(partition.case(), "A", {"amount": "1.00"}), 7))


def test_one_about_a_case_that_is_over_changes_nothing() -> None:
    partition = opened()
    seen = partition.case()
    partition.decide(change(2, "u", order(amount="7.00")))
    before = dict(partition.held)
    assert partition.obey(decision_on(seen), 7) == NotObeyed(None)
    partition.decide(change(8, "u", order(amount="-7.00")))
    assert partition.obey(decision_on(seen), 9) == NotObeyed(None), "the next case of the key is another one"
    assert partition.case().refused is None
    assert before.keys() == partition.held.keys()


def test_one_that_is_met_twice_is_obeyed_once() -> None:
    partition = opened()
    decision = decision_on(partition.case())
    assert isinstance(partition.obey(decision, 7), Obeyed)
    held = dict(partition.held)
    assert partition.obey(decision, 7) == NotObeyed(None)
    assert partition.held == held


def test_one_at_an_offset_before_what_is_held_cannot_make_versions_fall() -> None:
    """Never met on the real log; a broken order of things must not publish."""
    partition = opened()
    assert refusal(partition, partition.obey(decision_on(partition.case()), 1)) == CHANGED
