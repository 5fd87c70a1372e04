"""Repairs of a copy in a real database: past the fence, under the lock, and nothing else is touched."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from tests.replica_batches import ORDERS, REPLICA, Partition, delete, key_of, upsert
from tests.replica_database import play, rows
from tests.waiting import becomes
from trueup.adapters.postgres_compare import Side, replica_relation
from trueup.adapters.postgres_repair import Repair, RepairStatements, key_texts, repair
from trueup.adapters.postgres_replica import connect
from trueup.model.errors import Refused
from trueup.model.proof import Difference, Finding, key_of_text
from trueup.model.repair import KeyRepair, RepairOutcome
from trueup.model.version import make_version

pytest_plugins = ["tests.fix_postgres"]
pytestmark = pytest.mark.integration

BY = "somebody at a host"
Repairs = Callable[[Partition, list[Repair]], Coroutine[Any, Any, None]]
MENDED, TRUTH_DIFFERS = RepairOutcome.MENDED, RepairOutcome.TRUTH_DIFFERS


def key(row_id: int) -> str:
    return f'["{row_id}"]'


def hash_of(dsn: str, row_id: int) -> str | None:
    side = Side("test", dsn, replica_relation(ORDERS))
    try:
        seen = side.look([key_of_text(key(row_id))]).get(key(row_id))
        return None if seen is None else seen.hash
    finally:
        side.close()


def found(row_id: int, kind: Difference, source_hash: str | None) -> Finding:
    return Finding(key(row_id), kind, source_hash)


async def mend(dsn: str, *wanted: Repair, dry_run: bool = False) -> list[KeyRepair]:
    async def judge(_: dict[int, int]) -> Sequence[Repair]:
        return wanted

    async with await connect(REPLICA, dsn, application_name="test") as connection:
        return await repair(connection, ORDERS, RepairStatements(ORDERS), judge, by=BY, dry_run=dry_run)


def copied(dsn: str) -> list[tuple[int, str, str]]:
    return [(row[0], str(row[1]), row[2]) for row in rows(dsn, "SELECT id, amount, note FROM orders ORDER BY id")]


def progress(dsn: str) -> list[tuple[object, ...]]:
    return rows(dsn, "SELECT topic, partition, token, next_offset, applied, duplicate, stale FROM trueup.progress")


def damaged(dsn: str, scenario_of: Repairs) -> None:
    """Three rows and a deleted one; then three are damaged by hand, and two are added."""

    async def scenario(partition: Partition) -> None:
        writes = [upsert(n, n, amount=f"{n}.00", note="right") for n in (1, 2, 3)]
        await partition.apply(*writes)
        await partition.apply(upsert(4, 4), delete(5, 5))
        await partition.apply(delete(4, 6))
        hashes = {n: hash_of(dsn, n) for n in (1, 2, 3)}
        rows(dsn, "UPDATE orders SET note = 'wrong' WHERE id = 1")
        rows(dsn, "DELETE FROM orders WHERE id = 2")
        rows(dsn, "UPDATE orders SET note = 'wrong', _trueup_version = %s WHERE id = 3", b"\xff" * 20)
        for n in (4, 9):
            rows(dsn, "INSERT INTO orders VALUES (%s, 1, 'added', %s)", n, b"\xff" * 20)
        repairs = [
            Repair(found(1, Difference.CHANGED, hashes[1]), writes[0]),
            Repair(found(2, Difference.MISSING, hashes[2]), writes[1]),
            Repair(found(3, Difference.CHANGED, hashes[3]), writes[2]),
            Repair(found(4, Difference.EXTRA, None), delete(4, 6)),
            Repair(found(9, Difference.EXTRA, None)),
        ]
        await scenario_of(partition, repairs)

    play(dsn, scenario)


RIGHT = [(1, "1.00", "right"), (2, "2.00", "right"), (3, "3.00", "right")]


def test_each_kind_is_mended_and_recorded_and_the_worker_goes_on(database: str) -> None:
    async def scenario(partition: Partition, repairs: list[Repair]) -> None:
        before = progress(database)
        ended = await mend(database, *repairs)
        assert [one.outcome for one in ended] == [MENDED] * 5
        assert copied(database) == RIGHT
        assert ended[0].columns == ("note",)
        assert progress(database) == before, "totals, places and tokens are those of the worker"
        audit = rows(
            database, "SELECT target, key, kind, columns, version, repaired_by FROM trueup.repairs ORDER BY id"
        )
        assert audit == [
            ("public.orders", key(1), "changed", ["note"], make_version(1, 1), BY),
            ("public.orders", key(2), "missing", [], make_version(1, 2), BY),
            ("public.orders", key(3), "changed", ["note"], make_version(1, 3), BY),
            ("public.orders", key(4), "extra", [], make_version(1, 6), BY),
            ("public.orders", key(9), "extra", [], None, BY),
        ]
        deleted = dict(rows(database, "SELECT key, version FROM trueup.deleted_keys"))
        assert deleted == {key_of(4): make_version(1, 6), key_of(5): make_version(1, 5)}
        # The same claim goes on, and what comes next is newer again: 3 had got a version that nothing could pass.
        result = await partition.apply(upsert(3, 7, note="newer"), upsert(9, 8, note="new"), upsert(4, 9, note="back"))
        assert sum(result.counts.values()) == 3
        assert [note for _, _, note in copied(database)] == ["right", "right", "newer", "back", "new"]

    damaged(database, scenario)


def test_a_dry_run_shows_the_same_and_changes_nothing(database: str) -> None:
    async def scenario(_: Partition, repairs: list[Repair]) -> None:
        before = copied(database)
        ended = await mend(database, *repairs, dry_run=True)
        assert [one.outcome for one in ended] == [MENDED] * 5
        assert ended[0].columns == ("note",)
        assert copied(database) == before
        assert rows(database, "SELECT count(*) FROM trueup.repairs") == [(0,)]

    damaged(database, scenario)


def test_a_truth_that_is_not_what_the_owner_has_is_not_painted_over(database: str) -> None:
    async def scenario(_: Partition, repairs: list[Repair]) -> None:
        before = copied(database)
        elsewhere = "0" * 32
        wrong = [Repair(found(1, Difference.CHANGED, elsewhere), repairs[0].write)]
        wrong.append(Repair(found(77, Difference.MISSING, elsewhere)))
        wrong.append(Repair(found(4, Difference.EXTRA, None), upsert(4, 8, note="the truth has it")))
        ended = await mend(database, *wrong, repairs[1])
        assert [one.outcome for one in ended] == [TRUTH_DIFFERS, TRUTH_DIFFERS, TRUTH_DIFFERS, MENDED]
        assert copied(database) == sorted([*before, (2, "2.00", "right")])
        assert len(rows(database, "SELECT id FROM trueup.repairs")) == 1

    damaged(database, scenario)


def test_what_is_right_already_is_left_alone(database: str) -> None:
    async def scenario(_: Partition, repairs: list[Repair]) -> None:
        await mend(database, *repairs)
        again = await mend(database, *repairs)
        assert {one.outcome for one in again} == {RepairOutcome.EQUAL}
        assert len(rows(database, "SELECT id FROM trueup.repairs")) == 5

    damaged(database, scenario)


def test_a_row_the_copy_does_not_take_stops_no_other(database: str) -> None:
    async def scenario(_: Partition, repairs: list[Repair]) -> None:
        rows(database, "ALTER TABLE orders ADD CHECK (id <> 2)")
        rows(database, "CREATE TABLE lines (id bigint REFERENCES orders)")
        rows(database, "INSERT INTO lines VALUES (9)")
        ended = await mend(database, *repairs)
        by_key = {one.key: one.outcome for one in ended}
        refused = {key(2), key(9)}
        assert {k for k, outcome in by_key.items() if outcome is RepairOutcome.REFUSED} == refused
        assert [outcome for k, outcome in by_key.items() if k not in refused] == [MENDED] * 3

    damaged(database, scenario)


def test_the_worker_waits_for_the_lock_and_then_applies(database: str) -> None:
    async def scenario(partition: Partition, repairs: list[Repair]) -> None:
        inside, go_on = asyncio.Event(), asyncio.Event()

        async def judge(offsets: dict[int, int]) -> Sequence[Repair]:
            assert offsets == {0: 6}
            inside.set()
            await go_on.wait()
            return repairs[:1]

        async def mending() -> list[KeyRepair]:
            async with await connect(REPLICA, database, application_name="test") as connection:
                return await repair(connection, ORDERS, RepairStatements(ORDERS), judge, by=BY, dry_run=False)

        repairing = asyncio.create_task(mending())
        await inside.wait()
        applying = asyncio.create_task(partition.apply(upsert(1, 7, note="newer")))

        async def waiting() -> object:
            return rows(database, "SELECT count(*) FROM pg_locks WHERE NOT granted")

        await becomes(waiting, [(1,)])
        assert not applying.done()
        go_on.set()
        assert [one.outcome for one in await repairing] == [MENDED]
        await applying
        assert copied(database)[0] == (1, "1.00", "newer")

    damaged(database, scenario)


def test_a_copy_that_was_never_filled_is_refused(database: str) -> None:
    async def scenario(partition: Partition) -> None:
        with pytest.raises(Refused, match="is not filled yet"):
            await mend(database)
        await partition.claim()
        with pytest.raises(Refused, match="is not filled yet"):
            await mend(database)

    play(database, scenario)


def test_captured_keys_are_known_by_the_text_the_copy_shows(database: str) -> None:
    keys: list[tuple[bytes, tuple[object, ...]]] = [(key_of(n), (n,)) for n in range(3)]

    async def scenario(_: Partition) -> None:
        async with await connect(REPLICA, database, application_name="test") as connection:
            texts = await key_texts(connection, ORDERS, RepairStatements(ORDERS), keys)
        assert texts == {key_of(n): key(n) for n in range(3)}

    play(database, scenario)
