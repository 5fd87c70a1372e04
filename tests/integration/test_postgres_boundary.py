"""A replica's boundary on a real PostgreSQL 18: dead letters and flags in the transaction of the rows."""

from typing import Literal

import pytest
from msgspec.structs import replace

from tests.rebuilding import MASKED, filled, filling, live_copy, make, masked, rebuild_of, swapped
from tests.rebuilding import play as run
from tests.replica_batches import ORDERS, Partition, delete, key_of, upsert
from tests.replica_database import nonzero, play, provision, rows
from tests.unit.core.test_boundary import NOT_NEGATIVE, boundary, judge
from trueup.model.decision import Outcome
from trueup.model.registration import Check
from trueup.model.version import make_version
from trueup.model.write import Refusal, Write

pytest_plugins = ["tests.fix_postgres"]
pytestmark = pytest.mark.integration


def notes(dsn: str) -> dict[int, str]:
    return dict(rows(dsn, "SELECT id, note FROM public.orders"))


def flags(dsn: str) -> dict[bytes, list[str]]:
    return dict(rows(dsn, "SELECT key, flags FROM trueup.flags WHERE target = 'public.orders'"))


def flagged(row_id: int, version: int, *texts: str) -> Write:
    return replace(upsert(row_id, version), flags=texts)


def test_flags_stand_beside_the_row_they_are_of_and_go_with_it(database: str) -> None:
    async def scenario(partition: Partition) -> None:
        await partition.apply(flagged(1, 1, 'a "quoted" {one}', "b"), flagged(2, 2, "c"), upsert(3, 3))
        assert flags(database) == {key_of(1): ['a "quoted" {one}', "b"], key_of(2): ["c"]}
        await partition.apply(flagged(3, 2, "stale"), flagged(1, 4, "d"))  # the row of 3 is newer than this
        assert flags(database) == {key_of(1): ["d"], key_of(2): ["c"]}
        await partition.apply(flagged(1, 1, "replayed"), upsert(2, 5))
        assert flags(database) == {key_of(1): ["d"]}
        await partition.apply(delete(1, 6))
        assert flags(database) == {}
        await partition.apply(flagged(1, 5, "older than the delete"))
        assert flags(database) == {}

    play(database, scenario)


def test_what_a_check_keeps_out_is_a_dead_letter_in_the_same_transaction_and_the_old_row_stays(database: str) -> None:
    def kept_out(version: int, outcome: Literal[Outcome.REJECTED, Outcome.ESCALATED]) -> Refusal:
        reason = "amount must be at least 0"
        at = make_version(1, version)
        return Refusal(key_of(1), at, version, b"record", "rules", "CheckViolated", None, reason, outcome)

    letters = "SELECT stage, error_class, reason, superseded_at IS NULL FROM trueup.dead_letters ORDER BY id"

    async def scenario(partition: Partition) -> None:
        await partition.apply(upsert(1, 1, note="old"))
        result = await partition.apply(refused=(kept_out(2, Outcome.REJECTED), kept_out(3, Outcome.ESCALATED)))
        assert nonzero(result.counts) == {"rejected": 1, "escalated": 1}
        assert notes(database) == {1: "old"}
        assert rows(database, letters) == [("rules", "CheckViolated", "amount must be at least 0", True)] * 2
        await partition.apply(upsert(1, 4, note="corrected"))
        assert [still_open for *_, still_open in rows(database, letters)] == [False, False]
        assert nonzero((await partition.claim()).totals) == {"applied": 2, "rejected": 1, "escalated": 1}

    play(database, scenario)


def test_a_replica_of_before_gets_what_it_lacks(database: str) -> None:
    async def scenario(partition: Partition) -> None:
        await partition.apply(upsert(1, 1))
        rows(database, "ALTER TABLE trueup.progress DROP COLUMN escalated")
        rows(database, "DROP TABLE trueup.flags")
        await provision(database, ORDERS)
        await provision(database, ORDERS)  # and nothing twice
        await partition.apply(flagged(1, 2, "odd"))
        assert flags(database) == {key_of(1): ["odd"]}

    play(database, scenario)


def test_a_batch_is_judged_and_its_rows_letters_and_flags_are_committed_together(database: str) -> None:
    made = boundary(NOT_NEGATIVE, Check(column="eur", max=5, on_violation="flag"))

    async def scenario(partition: Partition) -> None:
        judged = judge(made, [(1, "1"), (1, "9"), (1, "-3"), (2, "-1"), (3, "2")])
        result = await partition.apply(*judged.writes, counts=judged.counts, refused=tuple(judged.refused))
        assert nonzero(result.counts) == {"applied": 2, "coalesced": 1, "rejected": 2}
        assert rows(database, "SELECT id, eur::text FROM public.orders ORDER BY id") == [(1, "9.00"), (3, "2.00")]
        assert rows(database, "SELECT record_offset, reason FROM trueup.dead_letters ORDER BY record_offset") == [
            (2, "eur must be at least 0"),
            (3, "eur must be at least 0"),
        ]
        assert flags(database) == {key_of(1): ["eur must be at most 5"]}

    play(database, scenario, made.plan)


def test_flags_of_a_rebuilt_copy_are_those_it_was_filled_with(database: str) -> None:
    async def scenario() -> None:
        live = await live_copy(database)
        await live.apply(flagged(1, 6, "of the old table"), flagged(2, 7, "of the old table, and not asked any more"))
        rebuild = await rebuild_of(database, MASKED)
        await make(database, rebuild)
        await filled(database, rebuild)
        shadow = filling(database, rebuild)
        await shadow.claim()
        await shadow.apply(replace(masked(1, 6), flags=("of the new one",)), masked(2, 7))
        await shadow.replica.close()
        assert flags(database) == {
            key_of(1): ["of the old table"],
            key_of(2): ["of the old table, and not asked any more"],
        }
        await swapped(database, rebuild)
        await live.replica.close()

    run(scenario())
    assert rows(database, "SELECT target, key, flags FROM trueup.flags") == [
        ("public.orders", key_of(1), ["of the new one"])
    ]
