"""Properties of decide_batch over whole partitions: splits, versions, replays, lost state (design 6)."""

import functools
import itertools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.envelopes import (
    BY_COUNTER,
    BY_TIME,
    COMMIT_TIME_US,
    HOLE,
    ORDERS,
    change,
    default_position,
    key_of,
    log_record,
    order,
    orders_plan,
)
from trueup.core.cases import remember
from trueup.core.ordering import Guard
from trueup.core.pipeline import BatchDecision, DecidePlan, decide_batch
from trueup.core.truth_codec import DELETED_HASH, hash_row
from trueup.model.case import Case
from trueup.model.decision import Held, Outcome, TruthRecord
from trueup.model.event import LogRecord, Op
from trueup.model.registration import Check
from trueup.model.version import Version, make_version

CHECKS = [Check(column="amount", min=0), Check(column="state", one_of=["open"], on_violation="flag")]
PLANS: dict[str, DecidePlan] = {
    "log": orders_plan(msgspec.structs.replace(ORDERS, checks=CHECKS)),
    "time": orders_plan(msgspec.structs.replace(BY_TIME, checks=CHECKS)),
    "counter": orders_plan(msgspec.structs.replace(BY_COUNTER, checks=CHECKS)),
}
by_plan = pytest.mark.parametrize("name", list(PLANS))

TIMES = ["2026-01-05T10:00:00Z", "2026-01-05T10:00:01Z", "2026-01-05T10:01:00Z", "2026-01-05T10:02:00Z"]
JUNK = ["tombstone", "unframed", "foreign", "hole", "no epoch"]


class Step(NamedTuple):
    """One record of a partition, small enough that hypothesis can shrink it."""

    kind: str
    order_id: int
    amount: str
    state: str
    time: str
    row_version: int
    gap: int
    epoch_rises: bool
    repeats: int | None
    replays: int | None


def steps(*, extras: bool = True, replays: bool = True) -> st.SearchStrategy[list[Step]]:
    """A capture partition: few keys and contents, gaps, epochs that rise, some junk.

    :param extras: repetitions by the capture, which has no exactly-once then.
    :param replays: an operator's replays of dead letters.
    """
    one = st.builds(
        Step,
        st.sampled_from(["c", "u", "u", "u", "d", "r", *JUNK]),
        st.integers(1, 3),
        st.sampled_from(["1.00", "2.00", "3.00", "-1.00"]),
        st.sampled_from(["open", "odd"]),
        st.sampled_from(TIMES),
        st.integers(1, 4),
        st.sampled_from([1, 1, 2, 3]),
        st.sampled_from([False] * 9 + [True]),
        st.sampled_from([None] * 9 + [0, 5]) if extras else st.none(),
        st.sampled_from([None] * 6 + [0, 2, 7]) if replays else st.none(),
    )
    return st.lists(one, max_size=16)


def partition_of(taken: list[Step]) -> list[LogRecord]:
    offset, epoch, records = 0, 1, []
    for step in taken:
        offset, epoch = offset + step.gap, epoch + step.epoch_rises
        records.append(record_of(step, offset, epoch))
    return records


@functools.lru_cache(maxsize=50_000)
def record_of(step: Step, offset: int, epoch: int) -> LogRecord:
    """A repetition has the position and the commit time of its original: a newer time would stop the source."""
    if step.kind == "tombstone":
        return log_record(offset, None)
    if step.kind == "unframed":
        return log_record(offset, b"junk", key=None)
    if step.kind == "foreign":
        return change(offset, source={"name": "evil"}, position=(10**9, 10**9))
    if step.kind == "hole":
        return change(offset, "u", order(customer=HOLE))
    if step.kind == "no epoch":
        return change(offset, epoch=None)
    original = None if step.repeats is None else min(step.repeats, offset - 1)
    return change(
        offset,
        step.kind,
        row_of(step),
        epoch=epoch,
        replay_of=None if step.replays is None else min(step.replays, offset - 1),
        position=None if original is None else default_position(original),
        commit_time_us=None if original is None else COMMIT_TIME_US + original * 1_000,
    )


def row_of(step: Step) -> dict[str, Any]:
    return order(
        step.order_id, amount=step.amount, state=step.state, updated_at=step.time, row_version=step.row_version
    )


def partitions(*, extras: bool = True, replays: bool = True) -> st.SearchStrategy[list[LogRecord]]:
    return steps(extras=extras, replays=replays).map(partition_of)


class Partition:
    """A partition being decided: what `runtime.decide_agent` keeps, without Kafka."""

    def __init__(self, plan: DecidePlan) -> None:
        self.plan = plan
        self.held: dict[bytes, Held] = {}
        self.cases: dict[bytes, Case] = {}
        self.guard = Guard()
        self.truths: list[TruthRecord] = []
        self.counts = dict.fromkeys(Outcome, 0)
        self.dead: list[int] = []

    def take(self, records: Sequence[LogRecord]) -> BatchDecision:
        decision = decide_batch(records, self.held, self.guard, self.plan, self.cases)
        assert sum(decision.counts.values()) == len(records)
        self.held |= decision.held
        for key, case in decision.cases.items():
            remember(self.cases, key, case)
        self.guard = decision.guard
        self.truths += decision.truths
        self.dead += [record.offset for record, _ in decision.dead]
        for outcome, count in decision.counts.items():
            self.counts[outcome] += count
        return decision


def newest(truths: Iterable[TruthRecord]) -> dict[bytes, TruthRecord]:
    """What a replica holds that is fenced by version: arrival order does not matter, equal versions are kept."""
    kept: dict[bytes, TruthRecord] = {}
    for truth in truths:
        if truth.key not in kept or truth.version > kept[truth.key].version:
            kept[truth.key] = truth
    return kept


def rows(truths: Iterable[TruthRecord]) -> dict[bytes, object]:
    return {key: truth.row for key, truth in newest(truths).items()}


@by_plan
@given(records=partitions(), cuts=st.sets(st.integers(0, 16)))
def test_any_split_into_batches_decides_the_same(name: str, records: list[LogRecord], cuts: set[int]) -> None:
    one_by_one, split, whole = Partition(PLANS[name]), Partition(PLANS[name]), Partition(PLANS[name])
    for record in records:
        one_by_one.take([record])
    edges = sorted({0, len(records), *(cut for cut in cuts if cut < len(records))})
    for start, end in itertools.pairwise(edges):
        split.take(records[start:end])
    whole.take(records)
    for other in (split, whole):
        assert other.truths == one_by_one.truths
        assert other.counts == one_by_one.counts
        assert other.guard == one_by_one.guard
        assert other.held == one_by_one.held
        assert other.cases == one_by_one.cases
        assert other.dead == one_by_one.dead


@by_plan
@given(records=partitions())
def test_versions_of_a_key_never_decrease_in_its_truth_topic(name: str, records: list[LogRecord]) -> None:
    partition = Partition(PLANS[name])
    partition.take(records)
    seen: dict[bytes, Version] = {}
    for truth in partition.truths:
        assert truth.key not in seen or seen[truth.key] < truth.version
        seen[truth.key] = truth.version


@by_plan
@given(records=partitions(replays=False), prefix=st.integers(0, 16), guard_is_lost=st.booleans())
def test_a_prefix_read_again_publishes_nothing(
    name: str, records: list[LogRecord], prefix: int, guard_is_lost: bool
) -> None:
    """Whatever the guard says: the fence of versions alone is enough.

    Without replays: an unchanged row does not raise the version held, so a replayed letter may be decided in between.
    """
    partition = Partition(PLANS[name])
    partition.take(records)
    before = dict(partition.held)
    if guard_is_lost:
        partition.guard = Guard()
    again = partition.take(records[:prefix])
    assert again.truths == []
    assert again.counts[Outcome.APPLIED] == 0
    assert partition.held == before


@by_plan
def test_deleted_rows_read_again_publish_nothing_and_ask_nobody(name: str) -> None:
    """A delete has the version of the row it deletes; found by the property above: a case, and a deletion once more."""
    row = Step("c", 1, "1.00", "open", TIMES[0], 1, 1, False, None, None)
    records = partition_of([row, row, *[row._replace(kind="d")] * 2])
    partition = Partition(PLANS[name])
    partition.take(records)
    partition.guard = Guard()
    again = partition.take(records)
    assert (again.truths, again.cases, again.counts[Outcome.APPLIED]) == ([], {}, 0)


@by_plan
@given(taken=steps())
def test_truth_says_what_its_record_said_and_nothing_else(name: str, taken: list[Step]) -> None:
    """Never invented: neither a row nor a key that no change of the owner carried, and no placeholder."""
    partition = Partition(PLANS[name])
    partition.take(partition_of(taken))
    allowed = {
        (key_of(step.order_id), None if step.kind == "d" else repr(row_of(step)))
        for step in taken
        if step.kind not in JUNK
    }
    for truth in partition.truths:
        assert (truth.key, None if truth.row is None else repr(truth.row)) in allowed
        if truth.row is None:
            assert (truth.op, truth.content_hash) == (Op.DELETE, DELETED_HASH)
        else:
            assert truth.row_bytes is not None
            assert truth.content_hash == hash_row(truth.row_bytes)
            assert bool(truth.flags) is (truth.row["state"] == "odd")
    assert len(partition.truths) == partition.counts[Outcome.APPLIED]
    assert partition.counts[Outcome.IGNORED] == sum(step.kind == "tombstone" for step in taken)


@given(records=partitions(replays=False), lost_at=st.integers(0, 16))
def test_lost_state_may_repeat_but_never_invents_or_resurrects(records: list[LogRecord], lost_at: int) -> None:
    """The state is lost, offset and guard are not: at the replica everything ends as if nothing had been lost."""
    intact, lossy = Partition(PLANS["log"]), Partition(PLANS["log"])
    intact.take(records)
    lossy.take(records[:lost_at])
    lossy.held.clear()
    lossy.take(records[lost_at:])
    assert rows(lossy.truths) == rows(intact.truths)
    # Order comes before rules: a stale record that breaks a rule is skipped where its key is known, rejected where not.
    assert all(letter in lossy.dead for letter in intact.dead), "losing the state hides no dead letter"
    assert sum(lossy.counts.values()) == sum(intact.counts.values()) == len(records)


@by_plan
@given(records=partitions(extras=False, replays=False), lost_at=st.integers(0, 16), again_from=st.integers(0, 16))
def test_everything_lost_and_read_again_resurrects_nothing(
    name: str, records: list[LogRecord], lost_at: int, again_from: int
) -> None:
    """Held, guard and offset go back together, to any earlier point: versions keep old rows from coming back.

    With exactly-once capture: what a capture without it repeats is known by the guard only.
    """
    again_from = min(again_from, lost_at)
    intact, lossy = Partition(PLANS[name]), Partition(PLANS[name])
    intact.take(records)
    lossy.take(records[:lost_at])
    before = newest(lossy.truths)
    lossy.held, lossy.guard = {}, Guard()
    lossy.take(records[again_from:lost_at])
    after = newest(lossy.truths)
    for key, truth in before.items():
        assert after[key].version >= truth.version
        if after[key].version == truth.version:
            assert after[key].row == truth.row, "one version, one content"
    if name == "log":
        assert {key: truth.row for key, truth in after.items()} == {key: truth.row for key, truth in before.items()}
        lossy.take(records[lost_at:])
        assert rows(lossy.truths) == rows(intact.truths)


@given(taken=steps(extras=False, replays=False))
def test_a_log_table_ends_as_the_last_change_says_that_its_checks_accept(taken: list[Step]) -> None:
    """The oracle in five lines: a dictionary."""
    expected: dict[bytes, object] = {}
    for step in taken:
        if step.kind == "d":
            expected[key_of(step.order_id)] = None
        elif step.kind not in JUNK and not step.amount.startswith("-"):
            expected[key_of(step.order_id)] = row_of(step)
    partition = Partition(PLANS["log"])
    partition.take(partition_of(taken))
    assert rows(partition.truths) == expected


def test_a_guard_without_memory_of_its_epoch_begins_anew() -> None:
    partition = Partition(PLANS["log"])
    partition.take([change(5, epoch=3)])
    assert partition.guard == Guard(3, partition.guard.position, COMMIT_TIME_US + 5_000)
    assert partition.truths[0].version == make_version(3, 5)
