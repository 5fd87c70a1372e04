"""A capture topic that is not the log that was decided so far is found out, whatever its offsets look like."""

import pytest

from tests.envelopes import ORDERS
from tests.several_writers import table_of
from trueup.core.capture_topic import CaptureLog, cure, log_problem, partitions_problem, probes
from trueup.core.ordering import Guard
from trueup.model.decision import Held, Outcome
from trueup.model.event import Position
from trueup.model.version import make_version
from trueup.runtime.partition_memory import PartitionMemory, begun

LOG = CaptureLog(topic="c/1", partition=0, begin=10, end=100)
FRESH = CaptureLog(topic="c/1", partition=0, begin=0, end=100)


@pytest.mark.parametrize("committed", [10, 50, 100])
@pytest.mark.parametrize("topic", ["c/1", ""])
def test_the_same_topic_within_its_bounds_is_fine(committed: int, topic: str) -> None:
    assert log_problem(ORDERS, LOG, committed, topic) is None


def test_a_topic_nobody_has_decided_from_is_fine_from_its_very_beginning() -> None:
    assert log_problem(ORDERS, FRESH, None, "") is None


@pytest.mark.parametrize(
    ("log", "committed", "topic", "words"),
    [
        (LOG, 9, "c/1", "lost records before they were decided"),
        (LOG, None, "", "lost records before they were decided"),
        (LOG, 101, "c/1", "ends before what was decided"),
        (LOG, 50, "c/0", "made anew"),
    ],
)
def test_what_is_wrong_is_named_with_its_cure(log: CaptureLog, committed: int | None, topic: str, words: str) -> None:
    problem = log_problem(ORDERS, log, committed, topic)
    assert problem is not None
    assert words in problem.primary
    assert str(problem.hint).endswith("trueup resync shop")


@pytest.mark.parametrize(("capture", "truth", "words"), [(None, 4, "does not exist"), (5, 4, "5 capture partitions")])
def test_missing_and_added_partitions_are_named(capture: int | None, truth: int | None, words: str) -> None:
    problem = partitions_problem(ORDERS, capture, truth)
    assert problem is not None
    assert words in problem.primary
    assert str(problem.hint).endswith("trueup resync shop")


def test_equal_numbers_of_partitions_are_fine() -> None:
    assert partitions_problem(ORDERS, 4, 4) is None


def test_only_the_newest_epoch_is_a_witness() -> None:
    a, b, c = (Held(make_version(*version), b"h" * 16) for version in ((2, 5), (1, 900), (2, 7)))
    assert probes([(b"a", a), (b"b", b), (b"c", c)]) == [(b"a", a), (b"c", c)]
    assert probes([]) == []


# --- the beginning of an epoch ----------------------------------------------------------------------------------------

TOTALS = dict.fromkeys(Outcome, 0) | {Outcome.APPLIED: 7}
MEMORY = PartitionMemory(TOTALS, Guard(1, Position(5, 6), 7), "c/1")


def test_an_epoch_begins_where_deciding_stood_and_the_counting_goes_on() -> None:
    assert begun(MEMORY, 50, LOG, 2) == (PartitionMemory(TOTALS, Guard(2), "c/1", unswept=2), 50)


def test_what_retention_took_is_passed_over() -> None:
    assert begun(MEMORY, 3, LOG, 2) == (PartitionMemory(TOTALS, Guard(2), "c/1", unswept=2), 10)


@pytest.mark.parametrize(("committed", "topic"), [(50, "c/0"), (101, "c/1"), (None, "")])
def test_a_topic_made_anew_is_counted_from_its_beginning(committed: int | None, topic: str) -> None:
    memory, start = begun(PartitionMemory(TOTALS, Guard(1), topic), committed, LOG, 2)
    assert (sum(memory.totals.values()), memory.topic, start) == (0, "c/1", 10)


def test_to_begin_an_epoch_twice_changes_nothing() -> None:
    memory, start = begun(MEMORY, 50, LOG, 2)
    moved = PartitionMemory(memory.totals, Guard(2, Position(1, 1), 1), memory.topic)
    assert begun(moved, start, LOG, 2) == (moved, start)


def test_of_several_writers_only_the_one_whose_epoch_begins_is_moved() -> None:
    shop, crm = Guard(3, Position(5, 6), 7), Guard(1, Position(8, 9), 7)
    memory = PartitionMemory(TOTALS, Guard(3, writers={"shop": shop, "crm": crm}), "c/1")
    after, _ = begun(memory, 50, LOG, 4, "crm")
    assert (after.guard.epoch, after.guard.of("crm"), after.guard.of("shop")) == (4, Guard(4), shop)
    again, _ = begun(after, 50, LOG, 4, "crm")
    assert again == after


def test_the_cure_of_a_shared_topic_is_a_resync_of_every_writer() -> None:
    assert cure(table_of("escalate")) == "trueup resync shop and trueup resync crm and trueup resync erp"
