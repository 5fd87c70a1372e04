"""Watermarks: when a partition has passed a beat, and what a marker is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from trueup.core.ordering import Guard
from trueup.core.reduce import reduce_batch
from trueup.core.validate import key_values
from trueup.core.watermark import (
    Arriving,
    Pending,
    is_marker,
    marker_headers,
    marker_key,
    may_mark,
    watermark_of,
)
from trueup.model.event import LogRecord, Position
from trueup.model.watermark import AsOf, Beat, Watermark


def beat(number: int, epoch: int = 1, system: str = "shop") -> Beat:
    return Beat(system, epoch, Position(number, number + 1), number * 1_000_000, number)


def marker(watermark: Watermark, offset: int = 0) -> LogRecord:
    key = marker_key(watermark.beat.system)
    return LogRecord("trueup.truth.orders", 0, offset, 0, key, None, marker_headers(watermark))


def test_a_marker_says_what_it_was_made_with() -> None:
    watermark = Watermark(beat(7), dead_lettered_keys=3, held_keys=2)
    assert is_marker(marker(watermark))
    assert watermark_of(marker(watermark)) == watermark


def test_no_captured_key_is_the_key_of_a_marker() -> None:
    """Captured keys are JSON objects: `core.validate` refuses all others, so none of them reaches a truth topic."""
    with pytest.raises(ValueError, match="object"):
        key_values(marker_key("shop"))


@pytest.mark.parametrize(
    "record",
    [
        LogRecord("t", 0, 0, 0, marker_key("shop"), None),
        LogRecord("t", 0, 0, 0, b'{"id":1}', None, marker_headers(Watermark(beat(1)))),
        LogRecord("t", 0, 0, 0, None, None, marker_headers(Watermark(beat(1)))),
    ],
)
def test_key_and_header_make_a_marker_and_neither_alone(record: LogRecord) -> None:
    assert not is_marker(record)


def test_a_marker_nobody_can_read_says_nothing() -> None:
    assert watermark_of(LogRecord("t", 0, 0, 0, marker_key("shop"), None, (("trueup.watermark", b"{}"),))) is None


def test_the_last_marker_of_a_batch_counts_and_none_is_a_record_of_the_table() -> None:
    reduced = reduce_batch([marker(Watermark(beat(n)), n) for n in range(3)] + [LogRecord("t", 0, 9, 0, None, None)])
    assert (reduced.records, sum(reduced.counts.values())) == ([], 1)
    arriving = Arriving(["shop"])
    arriving.meet(reduced.markers, 10)
    assert arriving.take(10) == AsOf(2_000_000, 3, 1)


def test_a_copy_believes_a_marker_at_the_end_its_partition_had() -> None:
    arriving = Arriving(["shop"])
    arriving.meet([marker(Watermark(beat(7), dead_lettered_keys=3, held_keys=2, truncated=5))], 40)
    assert arriving.take(39) is None
    assert arriving.take(40) == AsOf(7_000_000, 8, 1, truncated=5, dead_lettered_keys=3, held_keys=2)
    assert arriving.take(41) is None, "once"
    arriving.meet([marker(Watermark(beat(8)))], None)
    assert arriving.take(10**9) is None, "nobody knows what was compacted away before it"


def test_of_several_writers_the_one_that_is_known_least_far_speaks() -> None:
    arriving = Arriving(["shop", "crm"])
    arriving.meet([marker(Watermark(beat(7))), marker(Watermark(beat(9)))], 10)
    assert arriving.take(10) is None, "nobody heard of the other"
    arriving.meet([marker(Watermark(beat(5, 3, "crm"), dead_lettered_keys=2))], 11)
    assert arriving.take(10) is None
    assert arriving.take(11) == AsOf(5_000_000, None, None, dead_lettered_keys=2), "their logs have nothing in common"
    arriving.meet([marker(Watermark(beat(20, 3, "crm"))), marker(Watermark(beat(30, 1, "stock")))], 12)
    assert arriving.take(12) == AsOf(9_000_000, None, None), "a system that does not write the table says nothing"
    arriving.meet([], 13)
    assert arriving.take(13) is None


FOLLOWED = Guard(2, Position(90, 90))
MET, LATER = Position(50, 51), Position(60, 61)


@pytest.mark.parametrize(
    ("guard", "mark", "unswept", "allowed"),
    [
        (Guard(2), None, 0, True),
        (Guard(0), None, 0, True),  # an empty partition
        (Guard(1), None, 0, False),  # its rows are of the epoch before
        (Guard(3), None, 0, False),
        (Guard(2), beat(9, epoch=1), 0, True),
        (Guard(2), beat(4, epoch=2), 0, True),
        (Guard(2), beat(5, epoch=2), 0, False),
        (Guard(2), beat(6, epoch=2), 0, False),
        (Guard(2), None, 2, False),  # what is gone at the source is still there
        (replace(FOLLOWED, passed_on=MET), None, 0, False),  # its own control record comes behind the truncate
        (replace(FOLLOWED, passed_on=MET).truncated(MET), None, 0, True),
        (replace(FOLLOWED, passed_on=MET).truncated(LATER), None, 0, True),
        (FOLLOWED.truncated(MET), None, 0, True),
        (replace(FOLLOWED.truncated(MET), passed_on=LATER), None, 0, False),
    ],
)
def test_which_beats_mark_a_partition(guard: Guard, mark: Beat | None, unswept: int, allowed: bool) -> None:
    assert may_mark(beat(5, epoch=2), mark, guard, unswept) is allowed


@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=300).map(sorted),
    st.lists(st.integers(0, 40), max_size=30).map(sorted),
)
def test_nothing_is_taken_before_its_end_is_reached_and_the_newest_in_the_end(
    ends: list[int], positions: list[int]
) -> None:
    pending: Pending[int] = Pending()
    for number, end in enumerate(ends):
        pending.add(number, end)
    last = -1
    for position in positions:
        is_due = pending.is_due(position)
        taken = pending.take(position)
        assert is_due is (taken is not None)
        if taken is not None:
            assert ends[taken] <= position
            assert taken > last
            last = taken
    assert pending.take(40) in {None, len(ends) - 1}
    assert pending.take(10**9) is None
