"""Cases of tables with one owner: what opens one, what changes it, what ends it; and that replays change nothing."""

import pytest
from msgspec.structs import replace

from tests.case_makers import CHECKED, Partition, decision_on
from tests.envelopes import BY_TIME, COMMIT_TIME_US, SECRET, change, key_of, order, orders_plan
from trueup.core import cases
from trueup.core.cases import decode_case, encode_case
from trueup.core.pipeline import DecidePlan
from trueup.model.case import Case, CaseStatus, Side
from trueup.model.decision import Escalate, Outcome
from trueup.model.registration import Cases
from trueup.model.topic import PAYLOAD_BYTES_MAX
from trueup.model.version import make_version

NEGATIVE = order(amount="-1.00")


def opened(partition: Partition | None = None) -> Partition:
    """Held at offset 0, undecided at offset 1."""
    partition = partition or Partition()
    partition.decide(change(0, row=order(customer="Ada")), change(1, "u", NEGATIVE))
    return partition


def test_an_undecided_change_opens_a_case_with_both_images() -> None:
    case = opened().case()
    assert (case.id, case.status, case.rule) == ("orders/1/0/1", CaseStatus.OPEN, "check on amount")
    assert [side.row and side.row["amount"] for side in case.sides] == ["10.00", "-1.00"]
    assert [side.origin for side in case.sides] == ["shop", "shop"]
    assert case.versions == (make_version(1, 0).hex(), make_version(1, 1).hex())
    assert case.key == '{"order_id":1}'


def test_its_deadline_counts_from_the_commit_of_the_change() -> None:
    plan = orders_plan(replace(CHECKED.table, cases=Cases(decide_within="4h")))
    case = opened(Partition(plan)).case()
    assert case.opened_at_us == COMMIT_TIME_US + 1_000
    assert case.deadline_us - case.opened_at_us == 4 * 3_600 * 1_000_000


def test_nothing_is_published_and_no_letter_written() -> None:
    partition = Partition()
    batch = partition.decide(change(0, row=NEGATIVE))
    assert not batch.truths
    assert not batch.dead
    assert batch.counts[Outcome.ESCALATED] == 1
    assert partition.case().sides[0] == cases.nothing_held()


def test_a_row_that_a_check_rejects_is_a_dead_letter_and_no_image_of_a_case() -> None:
    partition = opened()
    batch = partition.decide(change(2, "u", order(amount="-5.00", customer=None)))
    assert batch.counts[Outcome.REJECTED] == 1
    assert partition.case().versions[1] == make_version(1, 1).hex()


@pytest.mark.parametrize("kind", ["time", "check"])
def test_order_and_checks_are_both_asked(kind: str) -> None:
    """What is undecided by its time, and rejected by a check, is rejected; escalated by both, it names the order."""
    plan = orders_plan(replace(BY_TIME, checks=CHECKED.table.checks))
    partition = Partition(plan)
    row = order(amount="-1.00") if kind == "time" else order(customer=None)
    batch = partition.decide(change(0), change(1, "u", row))
    if kind == "time":
        assert partition.case().rule == "version column updated_at"
        assert partition.case().sides[1].flags, "and the check that is violated travels with the image"
    else:
        assert batch.counts[Outcome.REJECTED] == 1
        assert not partition.open


def test_a_newer_undecided_change_takes_the_place_of_the_image() -> None:
    partition = opened()
    first = partition.case()
    partition.decide(change(2, "u", order(amount="-2.00")))
    case = partition.case()
    assert (case.id, case.deadline_us) == (first.id, first.deadline_us), "people wait since the first one"
    assert [side.row and side.row["amount"] for side in case.sides] == ["10.00", "-2.00"]


def test_a_change_the_rules_accept_supersedes_the_case() -> None:
    partition = opened()
    batch = partition.decide(change(2, "u", order(amount="7.00")))
    (case,) = batch.cases.values()
    assert (case.status, case.closed_by) == (CaseStatus.SUPERSEDED, make_version(1, 2).hex())
    assert len(batch.truths) == 1
    assert not partition.open


@pytest.mark.parametrize("store", ["intact", "lost"])
def test_a_change_that_the_owner_takes_back_supersedes_the_case(store: str) -> None:
    """Also where the mark of the refused change was lost with the local store: the case has it."""
    partition = opened()
    if store == "lost":
        partition.held = {key: replace(held, refused_at=-1) for key, held in partition.held.items()}
    batch = partition.decide(change(2, "u", order(customer="Ada")))
    assert batch.counts[Outcome.APPLIED] == 1
    assert not partition.open


def test_a_delete_supersedes_the_case() -> None:
    partition = opened()
    batch = partition.decide(change(2, "d", NEGATIVE))
    assert [truth.op.value for truth in batch.truths] == ["d"]
    assert not partition.open


def test_after_a_case_the_next_undecided_change_opens_another() -> None:
    partition = opened()
    batch = partition.decide(change(2, "u", order(amount="7.00")), change(3, "u", NEGATIVE))
    assert [case.id for case in batch.cases.values()] == ["orders/1/0/3"]
    assert partition.case().versions[0] == make_version(1, 2).hex()


def test_only_that_key_waits() -> None:
    partition = opened()
    batch = partition.decide(*(change(n, row=order(n)) for n in range(2, 30)))
    assert batch.counts[Outcome.APPLIED] == 28
    assert partition.open.keys() == {key_of(1)}


@pytest.mark.parametrize("begin", [0, 1, 2])
def test_records_that_are_read_again_change_no_case(begin: int) -> None:
    records = [change(0, row=order()), change(1, "u", NEGATIVE), change(2, "u", order(amount="-2.00"))]
    partition = Partition()
    partition.decide(*records)
    case = partition.case()
    again = partition.decide(*records[begin:])
    assert partition.case() == case
    assert not again.cases
    assert not again.truths


@pytest.mark.parametrize("amount", ["-3.00", "3.00"])
def test_a_replayed_letter_is_older_than_the_image(amount: str) -> None:
    """It was refused at offset 1, the case is about offset 2."""
    partition = Partition()
    partition.decide(change(0), change(1, "u", order(customer=None)), change(2, "u", NEGATIVE))
    case = partition.case()
    batch = partition.decide(change(3, "u", order(amount=amount), replay_of=1))
    assert batch.counts[Outcome.STALE] == 1
    assert partition.case() == case


def test_a_snapshot_of_a_new_epoch_brings_the_image_again() -> None:
    partition = opened()
    partition.decide(change(5, "r", NEGATIVE, epoch=2))
    assert cases.is_brought(partition.case(), 2)
    assert partition.case().versions[1] == make_version(2, 5).hex()
    partition.decide(change(6, "r", order(), epoch=2))
    assert not partition.open, "a row that is as it was held, of a new epoch"


def test_an_image_too_large_for_a_record_is_a_dead_letter() -> None:
    partition = Partition()
    huge = order(amount="-1.00", customer="x" * PAYLOAD_BYTES_MAX)
    batch = partition.decide(change(0), change(1, "u", huge))
    assert [why.error_class for _, why in batch.dead] == ["CaseTooLarge"]
    assert not partition.open


def test_a_case_says_no_value_beside_its_images() -> None:
    partition = Partition()
    partition.decide(change(0), change(1, "u", order(amount="-1.00", customer=SECRET)))
    case = partition.case()
    assert SECRET not in f"{case.rule} {case.reason} {case.id}"


def test_what_is_kept_is_what_was() -> None:
    partition = opened()
    case = partition.case()
    assert decode_case(encode_case(case)) == case
    partition.obey(decision_on(case), 9)
    batch = opened().decide(change(2, "u", order(amount="7.00")))
    for ended in batch.cases.values():
        assert decode_case(encode_case(ended)) == ended


def test_an_update_that_changes_nothing_leaves_the_image_and_what_is_decided_on_it() -> None:
    partition = opened()
    case = partition.case()
    assert partition.decide(change(2, "u", NEGATIVE)).counts[Outcome.UNCHANGED] == 1
    assert partition.case() == case


def test_the_same_content_behind_a_refused_change_is_said_anew() -> None:
    """The owner took the refused change back: its replay may not win later."""
    partition = opened()
    partition.decide(change(2, "u", order(customer=None)), change(3, "u", NEGATIVE))
    assert partition.case().versions[1] == make_version(1, 3).hex()
    assert partition.decide(change(4, "u", order(), replay_of=2)).counts[Outcome.STALE] == 1


def test_nobody_is_asked_twice_about_what_a_person_accepted() -> None:
    partition = opened()
    partition.obey(decision_on(partition.case(), "B"), 5)
    assert partition.decide(change(6, "u", NEGATIVE)).counts[Outcome.UNCHANGED] == 1
    brought = partition.decide(change(7, "r", NEGATIVE, epoch=2))
    assert brought.counts[Outcome.APPLIED] == 1, "the snapshot of a new epoch brings it again"
    assert [len(truth.flags) for truth in brought.truths] == [1]


# --- several writers: which image is whose ---


def two_sided() -> Case:
    partition = opened()
    held, came = partition.case().sides
    return replace(partition.case(), sides=(replace(held, origin="shop"), replace(came, origin="crm")))


def image(origin: str, offset: int, content_hash: str = "ff") -> Side:
    return Side(version=make_version(1, offset).hex(), origin=origin, row={"order_id": 1}, content_hash=content_hash)


@pytest.mark.parametrize(("origin", "index"), [("shop", 0), ("crm", 1), ("desk", None)])
def test_a_further_change_takes_the_place_of_its_own_systems_image(origin: str, index: int | None) -> None:
    case = two_sided()
    assert cases.side_index(case, origin, several=True) == index
    partition_reason = case.reason
    why = Escalate("check on amount", "another reason", "")
    after = cases.with_image(case, image(origin, 9), why, several=True)
    place = len(after.sides) - 1 if index is None else index
    assert after.sides[place].origin == origin
    assert after.sides[place].version == make_version(1, 9).hex()
    assert after.reason == partition_reason
    assert len(after.sides) == (3 if index is None else 2)


def test_of_two_images_of_one_system_the_one_that_came_is_what_it_has() -> None:
    case = two_sided()
    case = replace(case, sides=(case.sides[0], replace(case.sides[1], origin="shop")))
    assert cases.side_index(case, "shop", several=True) == 1
    assert cases.side_index(case, "crm", several=True) is None


def test_sides_that_come_to_say_the_same_agree() -> None:
    case = two_sided()
    shop, crm = (bytes.fromhex(side.content_hash) for side in case.sides)
    assert cases.agrees(case, "shop", crm)
    assert cases.agrees(case, "crm", shop)
    assert not cases.agrees(case, "shop", shop)
    assert not cases.agrees(case, "desk", shop)


def test_plans_keep_rows_where_changes_can_become_cases() -> None:
    kept: list[DecidePlan] = [CHECKED, orders_plan(BY_TIME)]
    assert all(plan.table.keeps_rows for plan in kept)
    assert not orders_plan().table.keeps_rows
