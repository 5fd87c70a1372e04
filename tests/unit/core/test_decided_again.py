"""What lies between a truncate and its control record, decided once more: rows, cases, and what people decided."""

from typing import Any

import pytest
from msgspec.structs import replace

from tests.case_makers import CHECKED, Partition, decision_on
from tests.envelopes import BY_COUNTER, ORDERS, change, key_of, order, orders_plan
from tests.replays import Settled, settled
from trueup.core.case_decision import Obeyed
from trueup.core.cases import nothing_held
from trueup.core.control import DECISION_HEADER, Truncate, decision_record
from trueup.core.decided_again import GONE
from trueup.core.ordering import Guard
from trueup.core.pipeline import decide_batch
from trueup.model.case import Case
from trueup.model.decision import DELETED_HASH, Held
from trueup.model.event import LogRecord, Position
from trueup.model.registration import Check
from trueup.model.version import make_version, split_version

PLAN = orders_plan(replace(ORDERS, checks=[Check(column="amount", min=0)]))
AT = (5_000, 5_001)
ORDER = Truncate(1, 90, 7, Position(*AT))
KEY = key_of(1)
DOUBTFUL = order(1, amount="-1.00")


def held_row(offset: int, rank: int = 0) -> Held:
    return Held(make_version(1, offset, rank), b"x" * 16)


def after(offset: int, *args: Any, **more: Any) -> LogRecord:
    return change(offset, *args, position=(6_000, 6_000 + offset), **more)


def test_a_row_loaded_again_unchanged_is_published_although_nothing_about_it_changed() -> None:
    row = order(1)
    (truth,) = decide_batch([change(10, "c", row)], {}, Guard(), PLAN).truths
    held = {key_of(1): Held(make_version(1, 10), truth.content_hash)}
    (published,) = settled([after(50, "c", row)], 50, ORDER, held, {}, PLAN).truths
    assert published.version == make_version(1, 50)
    assert published.content_hash == truth.content_hash


def test_a_refused_row_of_afterwards_does_not_keep_the_row_of_before_and_can_be_replayed() -> None:
    refused = after(50, "c", order(1, amount="-1.00"))
    (published,) = settled([refused], 50, ORDER, {key_of(1): held_row(10)}, {}, PLAN).truths
    assert published.content_hash == DELETED_HASH
    assert make_version(1, 10) < published.version < make_version(1, 50)


def test_a_row_of_a_snapshot_alone_brings_nothing_back() -> None:
    records = [after(50, "r", order(1))]
    (published,) = settled(records, 50, ORDER, {key_of(1): held_row(50)}, {}, PLAN).truths
    assert published.content_hash == DELETED_HASH
    assert published.version == make_version(1, ORDER.offset)


def test_a_row_of_a_snapshot_that_was_unchanged_is_older_than_its_deletion() -> None:
    """Decided once more, because the group's offsets were lost, it would bring the row back for a moment."""
    row = order(1)
    (truth,) = decide_batch([change(10, "c", row)], {}, Guard(), PLAN).truths
    held = {key_of(1): Held(make_version(1, 10), truth.content_hash)}
    (published,) = settled([after(50, "r", row)], 40, ORDER, held, {}, PLAN).truths
    assert published.content_hash == DELETED_HASH
    assert published.version > make_version(1, 50)


def test_what_is_held_since_and_what_came_behind_the_control_record_is_left_alone() -> None:
    records = [after(50, "c", order(1)), after(51, "c", order(2))]
    held = {key_of(1): held_row(50), key_of(2): held_row(95)}
    assert settled(records, 50, ORDER, held, {}, PLAN).truths == []


def test_where_a_column_orders_the_row_of_before_counts_as_a_deleted_one() -> None:
    plan = orders_plan(BY_COUNTER)
    records = [after(50, "c", order(1, row_version=3))]
    (published,) = settled(records, 50, ORDER, {key_of(1): held_row(10, rank=8)}, {}, plan).truths
    assert published.content_hash == DELETED_HASH
    assert split_version(published.version) == (1, 8, 49)


def test_a_case_of_before_is_over_and_one_of_afterwards_has_nothing_held() -> None:
    plan = orders_plan(replace(ORDERS, checks=[Check(column="amount", max=100, on_violation="escalate")]))
    doubtful = after(50, "c", order(1, amount="500.00"))
    batch = decide_batch([doubtful], {}, Guard(), plan)
    case = batch.cases[key_of(1)]
    assert case.sides[0] == nothing_held()
    held = replace(case.sides[0], version=held_row(10).version.hex(), content_hash=(b"x" * 16).hex())
    stale = replace(case, sides=(held, case.sides[1]))
    now = settled([doubtful], 50, ORDER, {key_of(1): held_row(10)}, {key_of(1): stale}, plan)
    assert now.cases == {key_of(1): case}
    assert settled([doubtful], 50, ORDER, {}, {key_of(1): case}, plan).cases == {}
    fine = after(50, "c", order(1))
    assert not settled([fine], 50, ORDER, {}, {key_of(1): case}, plan).cases[key_of(1)].is_open


def test_a_change_too_close_to_a_truncated_row_is_escalated_and_crashes_nothing() -> None:
    """A table ordered by a column keeps rows, and a case shows what was held: here that the row was truncated."""
    plan = orders_plan(BY_COUNTER)
    records = [after(50, "c", order(1, row_version=8))]
    now = settled(records, 50, ORDER, {key_of(1): held_row(10, rank=8)}, {}, plan)
    assert [truth.content_hash for truth in now.truths] == [DELETED_HASH]


class Stretch(Partition):
    """A partition in which a truncate would stand before offset 50, and its control record is met at 90."""

    def __init__(self, plan: Any = CHECKED) -> None:
        super().__init__(plan)
        self.records: list[LogRecord] = []

    def before(self, offset: int, *args: Any) -> None:
        self.decide(change(offset, *args, position=(4_000, 4_000 + offset)))

    def after(self, offset: int, *args: Any) -> None:
        self.records.append(after(offset, *args))
        self.decide(self.records[-1])

    def person(self, offset: int, take: str, values: dict[str, Any] | None = None, seen: Case | None = None) -> bool:
        decision = decision_on(seen or self.case(), take, values)
        record = decision_record("shop.public.orders", 0, 1, b"cluster/topic", KEY, decision)
        self.records.append(replace(record, offset=offset))
        return isinstance(self.obey(decision, offset), Obeyed)

    def settled(self) -> Settled:
        return settled(self.records, 50, ORDER, self.held, self.cases, self.plan)


NOTHING = Settled([], {})


@pytest.mark.parametrize("take", ["A", "B"])
def test_a_decision_about_images_of_afterwards_stands(take: str) -> None:
    key = Stretch()
    key.after(50, "c", order(1))
    key.after(55, "u", DOUBTFUL)
    assert key.person(60, take)
    assert key.settled() == NOTHING


def test_a_decision_that_took_what_came_afterwards_stands_although_the_row_it_was_held_against_is_gone() -> None:
    key = Stretch()
    key.before(10, "c", order(1))
    key.after(50, "c", DOUBTFUL)
    assert key.person(60, "B", {"customer": "Bob"})
    assert key.settled() == NOTHING


def test_a_decision_that_took_a_row_of_before_falls_and_its_case_waits_with_what_is_there() -> None:
    key = Stretch()
    key.before(10, "c", order(1))
    key.after(50, "c", DOUBTFUL)
    assert key.person(60, "A")
    now = key.settled()
    (gone,) = now.truths
    assert (gone.content_hash, gone.version) == (DELETED_HASH, make_version(1, ORDER.offset))
    case = now.cases[KEY]
    assert case.is_open
    assert [side.row and side.row["amount"] for side in case.sides] == [None, "-1.00"]
    assert case.refused is not None
    assert case.refused.why == GONE


def test_a_decision_about_nothing_but_rows_of_before_falls_and_nothing_waits() -> None:
    key = Stretch()
    key.before(10, "c", DOUBTFUL)
    key.after(50, "c", order(2))
    assert key.person(60, "B")
    now = key.settled()
    assert [(truth.key, truth.content_hash) for truth in now.truths] == [(KEY, DELETED_HASH)]
    assert now.cases == {}


def test_the_same_row_as_a_person_took_stands_when_it_was_loaded_again() -> None:
    key = Stretch()
    key.before(10, "c", order(1))
    key.after(50, "c", order(1))
    key.after(55, "u", DOUBTFUL)
    assert key.person(60, "A")
    assert key.settled() == NOTHING


def test_a_decision_that_was_not_obeyed_does_not_begin_to_stand() -> None:
    key = Stretch()
    key.before(10, "c", DOUBTFUL)
    seen = key.case()
    key.before(11, "d", DOUBTFUL)
    key.after(50, "c", DOUBTFUL)
    assert not key.person(60, "B", seen=seen)
    assert key.settled() == NOTHING


def test_a_row_that_a_person_accepted_before_is_asked_about_again() -> None:
    """It is held, so it was accepted without a question; after the truncate nothing is held."""
    key = Stretch()
    key.before(10, "c", DOUBTFUL)
    key.person(20, "B")
    key.records.clear()
    key.after(50, "c", DOUBTFUL)
    assert not key.open
    now = key.settled()
    assert [truth.content_hash for truth in now.truths] == [DELETED_HASH]
    assert now.cases[KEY].is_open


def test_what_a_person_kept_out_of_a_deleted_key_stays_out() -> None:
    key = Stretch()
    key.before(10, "c", DOUBTFUL)
    key.person(20, "A")
    key.records.clear()
    key.after(50, "c", DOUBTFUL)
    assert key.settled() == NOTHING


def test_what_an_earlier_truncate_deleted_is_no_decision() -> None:
    key = Stretch()
    key.before(10, "c", order(1))
    key.after(50, "c", DOUBTFUL)
    key.person(60, "A")
    waiting = key.settled().cases[KEY]
    key.held[KEY] = Held(make_version(1, 80), DELETED_HASH)  # of the earlier control record, as it left the case
    key.cases[KEY] = waiting
    assert key.settled() == NOTHING


def test_a_partition_that_is_read_once_more_has_later_cases_and_truths_that_are_left_alone() -> None:
    key = Stretch()
    key.after(50, "c", DOUBTFUL)
    key.decide(change(95, "u", order(1), position=(7_000, 7_001)))
    assert key.settled() == NOTHING
    key.decide(change(96, "u", DOUBTFUL, position=(7_000, 7_002)))
    assert key.settled() == NOTHING
    del key.held[KEY]
    assert key.settled() == NOTHING


def test_a_decision_that_nobody_can_read_is_none() -> None:
    key = Stretch()
    key.after(50, "c", DOUBTFUL)
    key.person(60, "B")
    headers = tuple((name, b"{}" if name == DECISION_HEADER else text) for name, text in key.records[-1].headers)
    key.records[-1] = replace(key.records[-1], headers=headers)
    assert key.settled().cases[KEY].is_open


@pytest.mark.parametrize("take", ["A", "B"])
@pytest.mark.parametrize("offset", [10, 49])
def test_where_a_column_orders_a_decision_names_the_rank_of_the_row_of_before(take: str, offset: int) -> None:
    """Also where no version lies between that row and what came after."""
    key = Stretch(orders_plan(BY_COUNTER))
    key.before(offset, "c", order(1, row_version=8))
    key.after(50, "c", order(1, row_version=8, amount="7.00"))
    waiting = key.case()
    assert key.settled().cases[KEY].sides[1] == waiting.sides[1]
    assert key.settled().cases[KEY].sides[0].content_hash == DELETED_HASH.hex()
    assert key.person(60, take, {"amount": "6.00"})
    now = key.settled()
    if take == "B":
        assert now == NOTHING
    else:
        assert [truth.content_hash for truth in now.truths] == [DELETED_HASH]
        assert now.cases[KEY].is_open
