"""Cases of tables with several writers: which images they have, that nothing is published meanwhile, what ends them."""

import pytest
from msgspec.structs import replace

from tests.case_makers import Partition, decision_on
from tests.envelopes import key_of
from tests.several_writers import CRM, ERP, SHOP, event, plan_of, row
from trueup.core.case_decision import NotObeyed, Obeyed
from trueup.core.ordering import Guard
from trueup.model.case import CaseStatus
from trueup.model.decision import Outcome
from trueup.model.registration import Check
from trueup.model.version import make_version, split_version

BASE = row("base")


def opened(policy: str = "last_write_wins") -> Partition:
    """The shop's change at offset 11, crm's at offset 12 from the same base, a second later by its clock."""
    partition = Partition(plan_of(policy))
    partition.decide(event(SHOP, 10, "c", BASE), event(SHOP, 11, "u", row("by shop", at=10, version=2), before=BASE))
    partition.decide(event(CRM, 12, "u", row("by crm", at=11, version=2), before=BASE))
    return partition


@pytest.mark.parametrize("policy", ["last_write_wins", "version_comparison", "escalate"])
def test_what_a_policy_cannot_decide_is_a_case_of_both_images(policy: str) -> None:
    case = opened(policy).case()
    assert [side.origin for side in case.sides] == [SHOP, CRM]
    assert [side.row and side.row["customer"] for side in case.sides] == ["by shop", "by crm"]
    assert policy.replace("_", " ") in case.rule


def test_nothing_is_published_until_a_person_decides_and_each_image_is_the_newest_of_its_system() -> None:
    partition = opened()
    further = [
        event(SHOP, 13, "u", row("shop, much later", at=500), before=row("by shop", at=10)),
        event(CRM, 14, "d", row("by crm", at=11)),
        event(ERP, 15, "u", row("by erp", at=900), before=BASE),
    ]
    batch = partition.decide(*further)
    assert not batch.truths
    assert batch.counts[Outcome.ESCALATED] == 3
    case = partition.case()
    assert [side.origin for side in case.sides] == [SHOP, CRM, ERP]
    assert [side.row and side.row["customer"] for side in case.sides] == ["shop, much later", None, "by erp"]


@pytest.mark.parametrize("take", ["A", "B"])
def test_a_decision_is_of_no_system_so_that_it_is_written_at_every_one(take: str) -> None:
    partition = opened()
    sides = partition.case().sides
    answer = partition.obey(decision_on(partition.case(), take), 20)
    assert isinstance(answer, Obeyed)
    assert answer.truth.origin is None
    held = partition.held[key_of(1)]
    assert held.origin is None
    ranks = [split_version(side.order)[1] for side in sides]
    assert split_version(held.version) == (1, max(ranks), 20)


def test_values_of_both_can_be_put_together() -> None:
    partition = opened()
    answer = partition.obey(decision_on(partition.case(), "A", {"customer": "of both"}), 20)
    assert isinstance(answer, Obeyed)
    assert answer.truth.row is not None
    assert (answer.truth.row["customer"], answer.truth.row["updated_at"]) == ("of both", row("", at=10)["updated_at"])


def test_a_later_change_at_a_writer_beats_the_decision_whatever_its_clock_says() -> None:
    partition = opened()
    answer = partition.obey(decision_on(partition.case(), "B"), 20)
    assert isinstance(answer, Obeyed)
    upon_it = event(SHOP, 21, "u", row("later", at=3), before=answer.truth.row)
    batch = partition.decide(upon_it)
    assert [truth.row and truth.row["customer"] for truth in batch.truths] == ["later"]
    assert batch.truths[0].version > answer.truth.version


def test_a_change_that_did_not_know_of_the_decision_is_judged_by_the_policy() -> None:
    partition = opened()
    partition.obey(decision_on(partition.case(), "A"), 20)
    crm = row("by crm", at=11)
    far = partition.decide(event(CRM, 21, "u", row("crm, later", at=60), before=crm))
    assert far.counts[Outcome.APPLIED] == 1
    near = opened()
    near.obey(decision_on(near.case(), "A"), 20)
    again = near.decide(event(CRM, 21, "u", row("crm, at once", at=12), before=crm))
    assert again.counts[Outcome.ESCALATED] == 1
    assert near.case().sides[0].origin is None, "what people decided is nobody's"


def test_the_declined_image_read_again_is_not_asked_about() -> None:
    partition = opened()
    partition.obey(decision_on(partition.case(), "A"), 20)
    again = partition.decide(event(CRM, 21, "r", row("by crm", at=11, version=2)))
    assert again.counts[Outcome.UNCHANGED] == 1


def test_sides_that_come_to_say_the_same_need_nobody() -> None:
    partition = opened()
    crm = row("by crm", at=11, version=2)
    batch = partition.decide(event(SHOP, 13, "u", crm, before=row("by shop", at=10, version=2)))
    assert batch.counts[Outcome.APPLIED] == 1
    assert [case.status for case in batch.cases.values()] == [CaseStatus.SUPERSEDED]
    assert partition.held[key_of(1)].origin == SHOP
    assert not partition.open


def test_what_a_side_said_before_its_last_image_does_not_win_when_all_is_decided_again() -> None:
    """Its clock went back within the case: the decision stands behind the image that was replaced, too (F-23)."""
    partition, late, early = opened(), row("shop, late", at=500), row("shop, early", at=9)
    said = [event(SHOP, 13, "u", late, before=row("by shop", at=10)), event(SHOP, 14, "u", early, before=late)]
    partition.decide(*said)
    answer = partition.obey(decision_on(partition.case(), "B"), 20)
    assert isinstance(answer, Obeyed)
    held, partition.guard = dict(partition.held), Guard()
    again = partition.decide(*said)
    assert not again.truths
    assert not partition.open
    assert partition.held == held


def test_a_decision_on_an_older_image_is_refused() -> None:
    partition = opened()
    seen = partition.case()
    partition.decide(event(SHOP, 13, "u", row("again", at=40), before=row("by shop", at=10)))
    assert isinstance(partition.obey(decision_on(seen), 20), NotObeyed)
    assert isinstance(partition.obey(decision_on(partition.case()), 21), Obeyed)


def test_a_change_that_a_check_leaves_to_people_waits_whoever_made_it() -> None:
    plan = plan_of("last_write_wins")
    checked = Partition(
        type(plan)(
            replace(plan.table, checks=[Check(column="amount", min=0, on_violation="escalate")]), plan.codec, "hole"
        )
    )
    checked.plan.decoders.update(plan.decoders)
    checked.decide(
        event(SHOP, 10, "c", BASE), event(SHOP, 11, "u", row("odd", at=9) | {"amount": "-1.00"}, before=BASE)
    )
    assert [side.origin for side in checked.case().sides] == [SHOP, SHOP]
    checked.decide(event(SHOP, 12, "u", row("good", at=20), before=row("odd", at=9)))
    case = checked.case()
    assert [side.row and side.row["customer"] for side in case.sides] == ["base", "good"], "a person was asked"


def test_records_read_again_change_no_case() -> None:
    partition = opened()
    case, held = partition.case(), dict(partition.held)
    partition.decide(
        event(SHOP, 10, "c", BASE),
        event(SHOP, 11, "u", row("by shop", at=10, version=2), before=BASE),
        event(CRM, 12, "u", row("by crm", at=11, version=2), before=BASE),
    )
    assert partition.case() == case
    assert partition.held == held
    assert case.versions == (case.sides[0].version, make_version(1, 12, split_version(case.sides[1].order)[1]).hex())


def test_an_unchanged_row_read_again_does_not_take_the_place_of_its_image() -> None:
    partition = Partition(plan_of("escalate"))
    same = event(SHOP, 11, "u", BASE, before=BASE)
    partition.decide(event(SHOP, 10, "c", BASE), same)
    partition.decide(event(CRM, 12, "c", row("by crm")))
    case = partition.case()
    assert partition.decide(same).counts[Outcome.UNCHANGED] == 1
    assert partition.case() == case


def test_an_old_record_of_a_system_without_an_image_is_not_one() -> None:
    """What people decided is nobody's, so the shop has no image in the next case."""
    partition = opened()
    partition.obey(decision_on(partition.case(), "B"), 20)
    partition.decide(event(CRM, 21, "u", row("crm again", at=12), before=row("by crm", at=10)))
    case = partition.case()
    assert [side.origin for side in case.sides] == [None, CRM]
    old = event(SHOP, 11, "u", row("by shop", at=10, version=2), before=BASE)
    assert partition.decide(old).counts[Outcome.STALE] == 1
    assert partition.case() == case


def test_a_decision_is_above_what_is_held_though_every_image_has_a_lower_rank() -> None:
    partition = opened()
    partition.decide(event(SHOP, 13, "u", row("back in time", at=1), before=row("by shop", at=10, version=2)))
    partition.decide(event(CRM, 14, "u", row("back, too", at=2), before=row("by crm", at=11, version=2)))
    held = partition.held[key_of(1)]
    answer = partition.obey(decision_on(partition.case(), "A"), 20)
    assert isinstance(answer, Obeyed)
    assert answer.truth.version > held.version
