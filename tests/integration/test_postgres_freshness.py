"""trueup.freshness on a real PostgreSQL 18: written with the rows, the oldest partition speaks, everybody may read."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import psycopg
import pytest

from tests.replica_batches import IDENTITY, ORDERS, REPLICA, Partition, upsert
from tests.replica_database import provision, rows
from trueup import freshness
from trueup.adapters.postgres_freshness import CopyWindow, plan_freshness
from trueup.adapters.postgres_replica import PostgresReplica, connect
from trueup.adapters.postgres_replica_ddl import execute
from trueup.model.errors import CopyTooOld, Refused
from trueup.model.watermark import AsOf
from trueup.model.write import ReplicaBatch

pytest_plugins = ["tests.fix_postgres"]
pytestmark = pytest.mark.integration

WINDOW = CopyWindow("orders", partitions=1, within_ms=5_000, objective="99.9")


def watermark(
    age_s: float, position: int | None = 100, epoch: int | None = 1, dead: int = 0, held: int = 0, truncated: int = 0
) -> AsOf:
    now_us = time.time_ns() // 1000
    return AsOf(now_us - int(age_s * 1e6), position, epoch, truncated, dead, held)


async def promise(dsn: str, *windows: CopyWindow) -> list[str]:
    connection = await connect(REPLICA, dsn, application_name="test")
    async with connection:
        statements = await plan_freshness(connection, windows, replica=REPLICA)
        await execute(connection, statements, replica=REPLICA)
    return statements


class Marking(Partition):
    """A partition whose batches carry a watermark."""

    async def mark(self, mark: AsOf | None, *writes: Any) -> None:
        if not self.held.token:
            await self.claim()
        plain = self.batch(*writes)
        await self.replica.apply(
            type(plain)(**{f: getattr(plain, f) for f in plain.__struct_fields__} | {"as_of": mark})
        )
        self.offset = plain.next_offset


def play(dsn: str, scenario: Callable[[PostgresReplica], Coroutine[Any, Any, None]], *windows: CopyWindow) -> None:
    async def run() -> None:
        await provision(dsn, ORDERS)
        await promise(dsn, *(windows or (WINDOW,)))
        replica = PostgresReplica(REPLICA, dsn)
        try:
            await scenario(replica)
        finally:
            await replica.close()

    asyncio.run(run())


def look(dsn: str) -> freshness.Freshness:
    with psycopg.connect(dsn, autocommit=True) as connection:
        return freshness.look(connection, "orders")


def test_a_copy_is_as_of_nothing_until_a_marker_arrives_and_then_of_that(database: str) -> None:
    async def scenario(replica: PostgresReplica) -> None:
        partition = Marking(replica)
        await partition.mark(None, upsert(1, 1))
        assert (look(database).as_of, look(database).fresh) == (None, False)
        await partition.mark(watermark(2.0, 100, dead=3, held=2), upsert(2, 2))
        found = look(database)
        assert (found.as_of_position, found.as_of_epoch, found.fresh) == (100, 1, True)
        assert (found.dead_lettered_keys, found.held_keys, found.within_s) == (3, 2, 5.0)
        assert found.age_s is not None
        assert found.age_s >= 2.0
        await partition.mark(None, upsert(3, 3))
        assert look(database).as_of == found.as_of, "a batch without a marker changes nothing of it"
        await partition.mark(watermark(9.0, 200))
        assert look(database).fresh is False

    play(database, scenario)


def test_the_oldest_partition_speaks_and_one_that_is_missing_silences_all(database: str) -> None:
    async def scenario(replica: PostgresReplica) -> None:
        first, second = Marking(replica), Marking(replica)
        await first.mark(watermark(1.0, 300))
        assert look(database).as_of is None, "the other partition may lack anything"
        second.held = await replica.claim("trueup.truth.orders", 1, IDENTITY)
        await replica.apply(_at(second, 1, watermark(3.0, 200)))
        found = look(database)
        assert found.as_of_position == 200
        assert found.age_s is not None
        assert found.age_s >= 3.0

    play(database, scenario, CopyWindow("orders", 2, 5_000, None))


def _at(partition: Marking, number: int, mark: AsOf) -> ReplicaBatch:
    start, end = partition.offset, partition.offset + 1
    plain = partition.batch()
    partition.offset = end
    return msgspec.structs.replace(plain, partition=number, as_of=mark, start_offset=start, next_offset=end)


def test_a_truncate_that_is_promised_silences_all_until_each_partition_carried_it_out(database: str) -> None:
    """The partition it lies in is as of a beat after it before the others have met their control records."""

    async def scenario(replica: PostgresReplica) -> None:
        first, second = Marking(replica), Marking(replica)
        second.held = await replica.claim("trueup.truth.orders", 1, IDENTITY)
        await first.mark(watermark(0.0, 200, truncated=150))
        await replica.apply(_at(second, 1, watermark(0.0, 140)))
        assert look(database).as_of is None, "nobody knows which truncates the second did not meet yet"
        await replica.apply(_at(second, 1, watermark(0.0, 200)))
        found = look(database)
        assert (found.as_of, found.as_of_position, found.age_s, found.fresh) == (None, None, None, False)
        await replica.apply(_at(second, 1, watermark(0.0, 210, truncated=150)))
        found = look(database)
        assert (found.as_of_position, found.fresh) == (200, True)
        await first.mark(watermark(0.0, 250, truncated=240))
        assert look(database).as_of is None, "another truncate"
        await first.mark(watermark(0.0, 50, epoch=2))
        assert look(database).as_of is None, "another epoch: what is gone at the source is swept in one of them only"
        await replica.apply(_at(second, 1, watermark(0.0, 60, epoch=2)))
        assert look(database).as_of_position == 50

    play(database, scenario, CopyWindow("orders", 2, 5_000, None))


def test_of_several_writers_there_is_a_time_and_no_position(database: str) -> None:
    async def scenario(replica: PostgresReplica) -> None:
        await Marking(replica).mark(watermark(1.0, None, None))
        found = look(database)
        assert (found.as_of_position, found.as_of_epoch, found.fresh) == (None, None, True)

    play(database, scenario)


def test_reading_anew_from_the_beginning_is_as_of_nothing_until_a_marker(database: str) -> None:
    async def scenario(replica: PostgresReplica) -> None:
        partition = Marking(replica)
        await partition.mark(watermark(1.0), upsert(1, 1))
        claim = await partition.claim()
        assert claim.as_of_us is not None, "who takes over knows how old the copy is"
        rows(database, "UPDATE trueup.progress SET next_offset = NULL")
        assert look(database).as_of is None
        assert (await partition.claim()).as_of_us is None
        await partition.mark(None, upsert(1, 1))
        assert look(database).as_of is None

    play(database, scenario)


def test_data_and_freshness_are_one_snapshot(database: str) -> None:
    async def scenario(replica: PostgresReplica) -> None:
        partition = Marking(replica)
        await partition.mark(watermark(1.0, 100), upsert(1, 1, note="old"))
        with psycopg.connect(database) as reader:
            reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            before = freshness.look(reader, "orders")
            await partition.mark(watermark(0.0, 200), upsert(1, 2, note="new"))
            assert reader.execute("SELECT note FROM public.orders").fetchone() == ("old",)
            assert freshness.look(reader, "orders").as_of_position == before.as_of_position == 100

    play(database, scenario)


def test_a_snapshot_grows_old_while_its_transaction_waits(database: str) -> None:
    """now() would stand still with it."""

    async def scenario(replica: PostgresReplica) -> None:
        await Marking(replica).mark(watermark(0.0))
        with psycopg.connect(database) as reader:
            assert freshness.require(reader, "orders", within="1m").fresh
            reader.execute("SELECT pg_sleep(0.3)")
            with pytest.raises(CopyTooOld, match=r"\d+\.\d s old"):
                freshness.require(reader, "orders", within="200ms")

    play(database, scenario)


def test_what_is_refused_says_as_of_when_and_what_to_do(database: str) -> None:
    async def scenario(replica: PostgresReplica) -> None:
        with psycopg.connect(database, autocommit=True) as reader:
            with pytest.raises(CopyTooOld, match="not known how old"):
                freshness.require(reader, "orders", within="1h")
            with pytest.raises(Refused, match="no window is registered"):
                freshness.require(reader, "orders")
            assert freshness.look(reader, "orders").fresh is None
            await Marking(replica).mark(watermark(60.0))
            with pytest.raises(CopyTooOld) as refusal:
                freshness.require(reader, "public.orders", within="5s")
            as_of = freshness.look(reader, "orders").as_of
            assert as_of is not None
            assert as_of.isoformat() in str(refusal.value)
            assert "hint: do not act on it" in str(refusal.value)

    play(database, scenario, CopyWindow("orders", 1, None, None))


def test_a_replica_without_copies_says_so(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as reader, pytest.raises(Refused, match="no copy of table"):
        freshness.look(reader, "orders")


def test_apply_keeps_windows_equal_to_the_registration_and_changes_nothing_twice(database: str) -> None:
    async def scenario() -> None:
        await provision(database, ORDERS)
        made = await promise(database, WINDOW)
        assert any(statement.startswith("CREATE VIEW") for statement in made)
        assert await promise(database, WINDOW) == []
        narrower = CopyWindow("orders", 4, 2_500, "99")
        assert len(await promise(database, narrower)) == 1
        assert await promise(database, narrower) == []
        assert len(await promise(database)) == 1, "no longer registered"
        assert rows(database, "SELECT * FROM trueup.freshness") == []

    asyncio.run(scenario())


def test_a_replica_of_an_earlier_version_gets_its_columns(database: str) -> None:
    async def scenario() -> None:
        await provision(database, ORDERS)
        rows(
            database, "ALTER TABLE trueup.progress DROP COLUMN as_of, DROP COLUMN as_of_position, DROP COLUMN held_keys"
        )
        await provision(database, ORDERS)
        assert await promise(database, WINDOW)

    asyncio.run(scenario())
