"""Property: what travels as metadata of the committed offset comes back, and never grows too large for the broker."""

from typing import get_type_hints

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.largest_memory import WRITERS, largest_of_owner, largest_of_writers
from trueup.core.ordering import Guard
from trueup.model.decision import Outcome
from trueup.model.errors import BrokenInvariant
from trueup.model.event import Position
from trueup.model.registration import Table
from trueup.model.version import EPOCH_MAX
from trueup.model.watermark import Beat
from trueup.runtime.partition_memory import PartitionMemory

METADATA_BYTES_MAX = 4_096
"""offset.metadata.max.bytes of a broker that nobody configured."""

IN_FULL = (
    '{"totals":{"applied":3,"duplicate":0,"stale":0,"unchanged":0,"coalesced":0,"rejected":0,"escalated":0,"ignored":1},'
    '"guard":{"epoch":2,"position":{"commit":0,"change":0},"commit_time_us":0,"floor":{"commit":0,"change":0},'
    '"chunk":{"commit":0,"change":0},"suspects":false,"writers":{'
    '"shop":{"epoch":2,"position":{"commit":70,"change":80},"commit_time_us":90,"floor":{"commit":0,"change":0},'
    '"chunk":{"commit":0,"change":0},"suspects":false,"writers":null,"passed_on":{"commit":0,"change":0}},'
    '"crm":{"epoch":1,"position":{"commit":0,"change":0},"commit_time_us":0,"floor":{"commit":7,"change":8},'
    '"chunk":{"commit":7,"change":9},"suspects":true,"writers":null,"passed_on":{"commit":0,"change":0}}},'
    '"passed_on":{"commit":0,"change":0}},"topic":"cluster/topic",'
    '"marks":{"shop":{"system":"shop","epoch":2,"position":{"commit":71,"change":81},"time_us":91,"offset":12}},'
    '"unswept":2}'
)
"""As it was committed before guards left out what they have by default."""

TOTAL = st.integers(0, 2**63 - 1)
POSITIONS = st.just(Position(0, 0)) | st.builds(Position, TOTAL, TOTAL)
GUARDS = st.builds(
    Guard,
    st.integers(0, EPOCH_MAX),
    POSITIONS,
    st.integers(-(2**63), 2**63 - 1),
    POSITIONS,
    POSITIONS,
    st.booleans(),
    passed_on=POSITIONS,
)
COUNTS = st.fixed_dictionaries(dict.fromkeys(Outcome, TOTAL))


SYSTEMS = st.sampled_from(["shop", "crm"])
SHARED = st.builds(Guard, st.integers(0, EPOCH_MAX), writers=st.dictionaries(SYSTEMS, GUARDS, max_size=2))
MARKS = st.dictionaries(
    SYSTEMS, st.builds(Beat, SYSTEMS, st.integers(0, EPOCH_MAX), POSITIONS, st.integers(-(2**63), 2**63 - 1), TOTAL)
)


@given(COUNTS, GUARDS | SHARED, st.text(), MARKS, st.integers(0, EPOCH_MAX))
def test_memory_comes_back(
    totals: dict[Outcome, int], guard: Guard, topic: str, marks: dict[str, Beat], unswept: int
) -> None:
    memory = PartitionMemory(totals, guard, topic, marks, unswept)
    assert PartitionMemory.read(memory.write()) == memory


@given(COUNTS, GUARDS | SHARED, MARKS)
def test_what_an_earlier_release_committed_is_read(
    totals: dict[Outcome, int], guard: Guard, marks: dict[str, Beat]
) -> None:
    memory = PartitionMemory(totals, guard, "c/t", marks, 2)
    in_full = msgspec.json.encode(memory).decode()
    assert PartitionMemory.read(in_full) == memory


def test_the_words_of_an_earlier_release_are_read() -> None:
    nowhere, shop = Position(0, 0), Guard(2, Position(70, 80), 90)
    assert PartitionMemory.read(IN_FULL) == PartitionMemory(
        {**dict.fromkeys(Outcome, 0), Outcome.APPLIED: 3, Outcome.IGNORED: 1},
        Guard(2, writers={"shop": shop, "crm": Guard(1, nowhere, 0, Position(7, 8), Position(7, 9), True)}),
        "cluster/topic",
        {"shop": Beat("shop", 2, Position(71, 81), 91, 12)},
        2,
    )


def test_an_earlier_release_reads_what_is_committed_now() -> None:
    """Workers are replaced one by one, and a partition may go back to one that was not yet. It wants every field that
    has no default, under the names of then."""
    moved = PartitionMemory.read(IN_FULL).write()
    assert len(moved) < len(IN_FULL)
    assert msgspec.json.decode(moved, type=PartitionMemory) == PartitionMemory.read(IN_FULL)


@pytest.mark.parametrize("largest", [largest_of_owner(), largest_of_writers()], ids=["owner", "writers"])
def test_the_largest_memory_fits_into_the_metadata_of_an_offset(largest: PartitionMemory) -> None:
    assert len(largest.write().encode()) <= METADATA_BYTES_MAX
    assert PartitionMemory.read(largest.write()) == largest


def test_no_more_writers_and_no_longer_names_may_be_registered() -> None:
    writers = get_type_hints(Table, include_extras=True)["writers"]
    assert msgspec.convert(WRITERS, writers) == list(WRITERS)
    for more in ([*WRITERS, "w"], [f"{WRITERS[0]}_"]):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(more, writers)


@given(COUNTS, COUNTS, GUARDS)
def test_totals_add_up(before: dict[Outcome, int], counts: dict[Outcome, int], guard: Guard) -> None:
    after = PartitionMemory(before, Guard()).plus(counts, guard)
    assert after.totals == {outcome: before[outcome] + counts[outcome] for outcome in Outcome}
    assert after.guard == guard


def test_a_partition_never_committed_begins_with_nothing() -> None:
    assert PartitionMemory.read("") == PartitionMemory(dict.fromkeys(Outcome, 0), Guard())


def test_an_outcome_that_an_older_worker_did_not_know_counts_from_zero() -> None:
    old = PartitionMemory({Outcome.APPLIED: 4}, Guard())
    read = PartitionMemory.read(old.write()).plus({Outcome.APPLIED: 1, Outcome.STALE: 2}, Guard())
    assert (read.totals[Outcome.APPLIED], read.totals[Outcome.STALE], read.totals[Outcome.REJECTED]) == (5, 2, 0)


@pytest.mark.parametrize(
    "text", ["x", "{}", '{"totals":{"lost":1},"guard":{}}', '{"totals":{"applied":"1"},"guard":{}}']
)
def test_metadata_of_somebody_else_is_refused(text: str) -> None:
    with pytest.raises(BrokenInvariant):
        PartitionMemory.read(text)
