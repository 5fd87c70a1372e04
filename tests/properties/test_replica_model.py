"""Any order, repetition and crash point of a change sequence ends in the same replica: each key at its highest version.

Here on the replica in memory; tests/integration/test_postgres_replica.py holds that PostgreSQL answers as it does.
"""

import asyncio
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from tests.replica_batches import ORDERS, Partition, delete, key_of, upsert
from trueup.adapters.fakes import Crash, FakeReplica
from trueup.core.reduce import reduce_batch
from trueup.model.decision import HASH_BYTES, Outcome
from trueup.model.event import LogRecord
from trueup.model.write import ClaimLost, ReplicaBatch, Write

Changes = list[tuple[int, bool]]  # (row id, deleted), in version order

changes = st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=30)
crashes = st.lists(st.sampled_from([None, "before commit", "after commit"]), max_size=30)


def write_of(change: tuple[int, bool], version: int) -> Write:
    row_id, deleted = change
    return delete(row_id, version) if deleted else upsert(row_id, version, note=f"v{version}")


def expected(sequence: Changes) -> tuple[dict[bytes, str], set[bytes]]:
    """Notes of the living rows, and the deleted keys."""
    last = {key_of(row_id): (version, deleted) for version, (row_id, deleted) in enumerate(sequence)}
    living = {key: f"v{version}" for key, (version, deleted) in last.items() if not deleted}
    return living, last.keys() - living.keys()


def state(replica: FakeReplica) -> tuple[dict[bytes, str], set[bytes]]:
    rows = replica.rows.get(ORDERS.target, {})
    deleted = replica.deleted.get(ORDERS.target, {})
    assert not rows.keys() & deleted.keys()
    return {key: values[2] for key, (_, values) in rows.items()}, set(deleted)


async def apply_reduced(partition: Partition, writes: Sequence[Write]) -> int:
    """As the apply agent does: reduce, apply, and after a lost claim read on from what the replica has."""
    records = [
        LogRecord(
            topic="t",
            partition=0,
            offset=index,
            timestamp_ms=0,
            key=write.key,
            value=bytes(5) + write.version + bytes(HASH_BYTES),
        )
        for index, write in enumerate(writes)
    ]
    reduced = reduce_batch(records)
    kept = [writes[record.offset] for record in reduced.records]
    result = await partition.apply(*kept, counts=reduced.counts)
    assert sum(result.counts.values()) == len(writes)
    return len(writes)


@given(changes, st.data(), crashes)
def test_any_order_repetition_and_crash_ends_the_same(
    sequence: Changes, data: st.DataObject, crash_points: list[Crash | None]
) -> None:
    writes = [write_of(change, version) for version, change in enumerate(sequence)]
    repeated = data.draw(st.lists(st.sampled_from(writes), max_size=20))
    stream = data.draw(st.permutations(writes + repeated))
    cuts = data.draw(st.lists(st.integers(1, 6), min_size=1))

    async def run() -> FakeReplica:
        replica = FakeReplica()
        partition = Partition(replica)
        await partition.claim()
        crash_iterator = iter(crash_points)
        batch_number = 0
        while partition.offset < len(stream):
            size = cuts[batch_number % len(cuts)]
            batch_number += 1
            replica.crash = next(crash_iterator, None)
            try:
                await apply_reduced(partition, stream[partition.offset : partition.offset + size])
            except ClaimLost:
                await partition.claim()
        totals = (await partition.claim()).totals
        assert sum(totals.values()) == len(stream)  # a crash neither loses nor counts a record twice
        assert totals[Outcome.REJECTED] == 0
        return replica

    assert state(asyncio.run(run())) == expected(sequence)


@given(changes, st.integers(0, 30), st.integers(1, 6))
def test_a_replay_from_any_point_changes_nothing(sequence: Changes, start: int, size: int) -> None:
    writes = [write_of(change, version) for version, change in enumerate(sequence)]

    async def run() -> None:
        replica = FakeReplica()
        await apply_all(Partition(replica, topic="t"), writes)
        before = state(replica)
        again = Partition(replica, topic="the same records, read anew")
        await apply_all(again, writes[start:])
        assert state(replica) == before == expected(sequence)
        totals = (await again.claim()).totals
        assert totals[Outcome.APPLIED] == 0

    async def apply_all(partition: Partition, part: Sequence[Write]) -> None:
        for at in range(0, len(part), size):
            await apply_reduced(partition, part[at : at + size])

    asyncio.run(run())


def test_the_batch_of_a_partition_says_where_it_is() -> None:
    batch: ReplicaBatch = Partition(FakeReplica()).batch(upsert(1, 1), counts={Outcome.IGNORED: 2})
    assert (batch.start_offset, batch.next_offset, batch.records) == (0, 3, 3)
