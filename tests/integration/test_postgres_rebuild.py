"""adapters.postgres_rebuild on a real PostgreSQL 18: the swap, what it keeps, what stops it, and kills."""

import psycopg
import pytest

from tests.rebuilding import (
    COLUMNS,
    MASKED,
    TOPIC,
    filled,
    filling,
    letter,
    live_copy,
    make,
    masked,
    play,
    rebuild_of,
    swapped,
)
from tests.replica_batches import ORDERS, REPLICA, Partition, delete, key_of, plan_of, upsert
from tests.replica_database import provision, rows
from trueup.adapters.postgres_rebuild import find_shadow
from trueup.adapters.postgres_replica import PostgresReplica, connect
from trueup.adapters.postgres_replica_ddl import find_rebuilds, plan_replica
from trueup.model.errors import Fenced, Refused, TransientReplica, UnsafeChange
from trueup.model.write import CopyReplaced

pytest_plugins = ["tests.fix_postgres"]
pytestmark = pytest.mark.integration


class Killed(Exception):
    """Stands for a SIGKILL."""


def test_the_swap_leaves_the_new_table_its_progress_and_its_deleted_keys(database: str) -> None:
    async def scenario() -> None:
        live = await live_copy(database)
        before = rows(database, "SELECT token, next_offset, applied, rejected FROM trueup.progress")
        assert before == [(1, 6, 4, 2)]
        rebuild = await rebuild_of(database, MASKED)
        await make(database, rebuild)
        await filled(database, rebuild)
        assert rows(database, "SELECT DISTINCT note FROM public.orders") == [("clear",)], "readers have the old table"
        await swapped(database, rebuild)
        await live.replica.close()

    play(scenario())
    assert rows(database, "SELECT id, total::text, note FROM public.orders ORDER BY id") == [
        (1, "1.00", "5e88"),
        (2, "1.00", "5e88"),
        (4, "1.00", "5e88"),
    ]
    progress = rows(database, "SELECT topic, token, next_offset, applied, rejected FROM trueup.progress")
    assert progress == [(TOPIC, 2, 6, 5, 1)], "totals of what the new table was filled from, and a token that fences"
    assert rows(database, "SELECT target, key FROM trueup.deleted_keys") == [("public.orders", key_of(3))]
    assert rows(database, "SELECT target FROM trueup.copies") == [("public.orders",)]
    letters = "SELECT topic, record_offset, superseded_at IS NULL, value FROM trueup.dead_letters ORDER BY 2"
    assert rows(database, letters) == [(TOPIC, 4, False, None), (TOPIC, 5, True, None)]
    assert rows(database, "SELECT target FROM trueup.dead_letters GROUP BY 1") == [("public.orders",)]
    assert rows(
        database, "SELECT conname FROM pg_constraint WHERE contype = 'p' AND conrelid = 'orders'::regclass"
    ) == [("orders_pkey",)]

    async def nothing_more() -> None:
        async with await connect(REPLICA, database, application_name="test") as connection:
            assert await find_rebuilds(connection, [MASKED]) == []
            assert await plan_replica(connection, [MASKED], "admin") == []

    play(nothing_more())


def test_the_writer_of_the_old_table_asks_what_the_copy_is_now(database: str) -> None:
    async def scenario() -> None:
        live = await live_copy(database)
        rebuild = await rebuild_of(database, MASKED)
        await make(database, rebuild)
        await filled(database, rebuild)
        await swapped(database, rebuild)
        with pytest.raises(CopyReplaced):
            await live.apply(upsert(1, 9, note="clear"))
        claim = await live.claim()
        assert claim.next_offset == 6
        live.plan = await live.replica.recorded(live.plan)
        assert live.plan == MASKED
        await live.apply(masked(9, 9))
        await live.replica.close()

    play(scenario())
    assert rows(database, "SELECT id FROM public.orders ORDER BY id") == [(1,), (2,), (4,), (9,)]
    assert rows(database, "SELECT count(*) FROM public.orders WHERE note = 'clear'") == [(0,)]


def test_a_real_zombie_is_still_fenced(database: str) -> None:
    async def scenario() -> None:
        live = await live_copy(database)
        other = Partition(PostgresReplica(REPLICA, database))
        await other.claim()
        with pytest.raises(Fenced):
            await live.apply(upsert(1, 9))
        await live.replica.close()
        await other.replica.close()

    play(scenario())


def test_kills_between_the_steps_are_completed_by_the_next_run(database: str) -> None:
    async def scenario() -> None:
        live = await live_copy(database)
        rebuild = await rebuild_of(database, MASKED)
        assert await make(database, rebuild)
        assert await make(database, rebuild) == [], "killed before filling: the shadow is there"
        shadow = filling(database, rebuild)
        await shadow.apply(masked(1, 1), masked(2, 2), masked(3, 3))
        await shadow.replica.close()
        assert await make(database, rebuild) == [], "killed while filling: what is filled stays"
        shadow = filling(database, rebuild)
        assert (await shadow.claim()).next_offset == 3, "filling goes on where it was"
        await shadow.apply(delete(3, 4), masked(4, 4), refused=(letter(5, 5),))

        async def killed(_: dict[int, int | None]) -> None:
            raise Killed

        with pytest.raises(Killed):
            await swapped(database, rebuild, killed)
        assert rows(database, "SELECT DISTINCT note FROM public.orders") == [("clear",)]
        await live.apply(upsert(8, 8, note="clear"))  # the worker goes on with the old table

        async def catch_up(held: dict[int, int | None]) -> None:
            assert held == {0: 7}
            await shadow.apply(masked(8, 8))

        assert await rebuild_of(database, MASKED) == rebuild
        await swapped(database, rebuild, catch_up)
        with pytest.raises(Refused, match="ended by another run"):
            await swapped(database, rebuild)
        await shadow.replica.close()
        await live.replica.close()

    play(scenario())
    assert rows(database, "SELECT id, note FROM public.orders ORDER BY id") == [(n, "5e88") for n in (1, 2, 4, 8)]
    assert rows(database, "SELECT topic, next_offset, applied + rejected FROM trueup.progress") == [(TOPIC, 7, 7)]


def test_two_runs_at_once_fence_each_other(database: str) -> None:
    async def scenario() -> None:
        live = await live_copy(database)
        rebuild = await rebuild_of(database, MASKED)
        await make(database, rebuild)
        first, second = filling(database, rebuild), filling(database, rebuild)
        await first.claim()
        await second.claim()
        with pytest.raises(Fenced):
            await first.apply(masked(1, 1))
        await second.apply(masked(1, 1))
        for partition in (live, first, second):
            await partition.replica.close()

    play(scenario())


def test_a_view_made_while_the_shadow_is_filled_stops_the_swap(database: str) -> None:
    async def scenario() -> None:
        live = await live_copy(database)
        rebuild = await rebuild_of(database, MASKED)
        await make(database, rebuild)
        await filled(database, rebuild)
        rows(database, "CREATE VIEW public.shown AS SELECT note FROM public.orders")
        with pytest.raises(UnsafeChange, match=r"view public\.shown"):
            await swapped(database, rebuild)
        assert rows(database, "SELECT DISTINCT note FROM public.shown") == [("clear",)]
        rows(database, "DROP VIEW public.shown")
        await swapped(database, rebuild)
        await live.replica.close()

    play(scenario())


def test_a_reader_that_does_not_let_go_makes_the_swap_wait_and_try_again(database: str) -> None:
    async def scenario() -> None:
        live = await live_copy(database)
        rebuild = await rebuild_of(database, MASKED)
        await make(database, rebuild)
        await filled(database, rebuild)
        with psycopg.connect(database) as reader:
            assert reader.execute("SELECT count(*) FROM public.orders").fetchone() == (2,)
            with pytest.raises(TransientReplica):
                await swapped(database, rebuild)
            assert reader.execute("SELECT count(*) FROM public.orders WHERE note = 'clear'").fetchone() == (2,)
        await swapped(database, rebuild)
        await live.replica.close()

    play(scenario())
    assert rows(database, "SELECT count(*) FROM public.orders") == [(3,)]


def test_rows_that_would_be_missing_stop_the_swap_until_they_are_corrected(database: str) -> None:
    async def scenario() -> None:
        live = await live_copy(database)
        rebuild = await rebuild_of(database, MASKED)
        await make(database, rebuild)
        shadow = filling(database, rebuild)
        await shadow.apply(masked(1, 1), masked(3, 3), refused=(letter(2, 2),))
        await shadow.apply(delete(3, 4), masked(4, 4), refused=(letter(5, 5),))
        with pytest.raises(Refused, match="1 rows would be missing") as refused:
            await swapped(database, rebuild)
        assert "does not fit" in (refused.value.detail or "")
        assert rows(database, "SELECT count(*) FROM public.orders WHERE note = 'clear'") == [(2,)]
        await shadow.apply(masked(2, 9))  # row 5 was no row of the old table either
        await swapped(database, rebuild)
        await shadow.replica.close()
        await live.replica.close()

    play(scenario())
    assert rows(database, "SELECT id FROM public.orders ORDER BY id") == [(1,), (2,), (4,)]


def test_a_change_that_is_taken_back_leaves_nothing_behind(database: str) -> None:
    async def scenario() -> None:
        live = await live_copy(database)
        rebuild = await rebuild_of(database, MASKED)
        await make(database, rebuild)
        await filled(database, rebuild)
        await provision(database, ORDERS)
        async with await connect(REPLICA, database, application_name="test") as connection:
            assert await find_shadow(connection, rebuild.shadow) is None
            assert await plan_replica(connection, [ORDERS], "admin") == []
        await live.apply(upsert(9, 9))
        await live.replica.close()

    play(scenario())
    for table, what in (("progress", "topic"), ("deleted_keys", "target"), ("dead_letters", "target")):
        assert rows(database, f"SELECT count(*) FROM trueup.{table} WHERE {what} LIKE '%%rebuild%%'") == [(0,)], table


def test_another_change_begins_the_shadow_anew(database: str) -> None:
    async def scenario() -> None:
        live = await live_copy(database)
        first = await rebuild_of(database, MASKED)
        await make(database, first)
        await filled(database, first)
        second = await rebuild_of(database, plan_of(*COLUMNS, shown={"id": "id", "note": "note"}))
        assert await make(database, second)
        shadow = filling(database, second)
        assert (await shadow.claim()).next_offset is None
        await shadow.replica.close()
        assert rows(database, "SELECT count(*) FROM trueup.rebuild_orders") == [(0,)]
        await live.replica.close()

    play(scenario())


def test_a_copy_that_moves_to_another_name_takes_its_rows_along(database: str) -> None:
    moved = plan_of(*COLUMNS, target="sales.orders")

    async def scenario() -> None:
        live = await live_copy(database)
        rebuild = await rebuild_of(database, moved)
        assert rebuild.changes == ("table public.orders becomes sales.orders",)
        rows(database, "CREATE SCHEMA sales")
        await make(database, rebuild)
        await filled(database, rebuild)
        await swapped(database, rebuild)
        await live.claim()
        assert await live.replica.recorded(ORDERS) == moved
        await live.replica.close()

    play(scenario())
    assert rows(database, "SELECT to_regclass('public.orders') IS NULL, count(*) FROM sales.orders") == [(True, 3)]
    assert rows(database, "SELECT target FROM trueup.copies") == [("sales.orders",)]
    assert rows(database, "SELECT DISTINCT target FROM trueup.deleted_keys") == [("sales.orders",)]


def test_a_table_that_is_gone_is_filled_anew(database: str) -> None:
    async def scenario() -> None:
        live = await live_copy(database)
        rows(database, "DROP TABLE public.orders")
        rebuild = await rebuild_of(database, ORDERS)
        assert rebuild.changes == ("its table public.orders is gone",)
        await make(database, rebuild)
        await filled(database, rebuild)
        await swapped(database, rebuild)
        await live.replica.close()

    play(scenario())
    assert rows(database, "SELECT count(*) FROM public.orders") == [(3,)]
    assert rows(database, "SELECT token FROM trueup.progress") == [(2,)]
