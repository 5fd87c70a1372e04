"""Property: what travels as metadata of the committed offset comes back, and never grows too large for the broker."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueup.core.ordering import Guard
from trueup.model.decision import Outcome
from trueup.model.errors import BrokenInvariant
from trueup.model.event import Position
from trueup.model.version import EPOCH_MAX
from trueup.runtime.partition_memory import PartitionMemory

METADATA_BYTES_MAX = 4_096
"""offset.metadata.max.bytes of a broker that nobody configured."""

TOTAL = st.integers(0, 2**63 - 1)
GUARDS = st.builds(
    Guard,
    st.integers(0, EPOCH_MAX),
    st.builds(Position, st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1)),
    st.integers(-(2**63), 2**63 - 1),
)
COUNTS = st.fixed_dictionaries(dict.fromkeys(Outcome, TOTAL))


SHARED = st.builds(
    Guard, st.integers(0, EPOCH_MAX), writers=st.dictionaries(st.sampled_from(["shop", "crm"]), GUARDS, max_size=2)
)


@given(COUNTS, GUARDS | SHARED)
def test_memory_comes_back(totals: dict[Outcome, int], guard: Guard) -> None:
    memory = PartitionMemory(totals, guard)
    assert PartitionMemory.read(memory.write()) == memory


def test_the_largest_memory_fits_into_the_metadata_of_an_offset() -> None:
    largest = PartitionMemory(
        dict.fromkeys(Outcome, 2**64 - 1), Guard(EPOCH_MAX, Position(2**64 - 1, 2**64 - 1), -(2**63))
    )
    assert len(largest.write().encode()) < METADATA_BYTES_MAX
    guards = {f"{number}" * 40: largest.guard for number in range(8)}  # as many and as long as may be registered
    shared = msgspec.structs.replace(largest, guard=Guard(EPOCH_MAX, writers=guards), topic="t" * 60)
    assert len(shared.write().encode()) < METADATA_BYTES_MAX


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
