"""adapters.postgres_replica_ddl on a real PostgreSQL 18: idempotent, careful, and enough for a writer without DDL."""

import asyncio

import msgspec
import psycopg
import pytest

from tests.replica_batches import ORDERS, REPLICA, Partition, column, plan_of, upsert
from trueup.adapters.postgres_replica import PostgresReplica, connect
from trueup.adapters.postgres_replica_ddl import execute, plan_replica
from trueup.model.errors import UnsafeChange
from trueup.model.registration import ColumnRule
from trueup.model.write import CopyPlan

pytest_plugins = ["tests.fix_postgres"]
pytestmark = pytest.mark.integration


def planned(dsn: str, *plans: CopyPlan, role: str = "admin", adopt: bool = False) -> list[str]:
    async def run() -> list[str]:
        async with await connect(REPLICA, dsn, application_name="test") as connection:
            return await plan_replica(connection, plans, role, adopt=adopt)

    return asyncio.run(run())


def applied(dsn: str, *plans: CopyPlan, role: str = "admin", adopt: bool = False) -> list[str]:
    async def run() -> list[str]:
        async with await connect(REPLICA, dsn, application_name="test") as connection:
            statements = await plan_replica(connection, plans, role, adopt=adopt)
            await execute(connection, statements, replica=REPLICA)
            return statements

    return asyncio.run(run())


def sql(dsn: str, statement: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(statement.encode())


def test_applying_twice_plans_nothing_the_second_time(database: str) -> None:
    other = msgspec.structs.replace(plan_of(column("id", "bigint"), target="sales.orders"), table="sold")
    assert applied(database, ORDERS, other)
    assert planned(database, ORDERS, other) == []


def test_a_copy_registered_later_is_added_alone(database: str) -> None:
    applied(database, ORDERS)
    other = msgspec.structs.replace(plan_of(column("id", "bigint"), target="sales.orders"), table="sold")
    statements = planned(database, ORDERS, other)
    assert [statement.split("(")[0].strip() for statement in statements] == [
        'CREATE SCHEMA "sales"',
        'CREATE TABLE "sales"."orders"',
        "INSERT INTO trueup.copies",
    ]


def test_planning_changes_nothing(database: str) -> None:
    assert planned(database, ORDERS) == planned(database, ORDERS)


def test_the_writer_can_write_and_nothing_else(database: str) -> None:
    sql(database, "DROP ROLE IF EXISTS test_writer")
    sql(database, "CREATE ROLE test_writer LOGIN")
    try:
        applied(database, ORDERS, role="test_writer")
        assert planned(database, ORDERS, role="test_writer") == []
        dsn = database.replace("admin@", "test_writer@")

        async def run() -> None:
            replica = PostgresReplica(REPLICA, dsn)
            await Partition(replica).apply(upsert(1, 1), upsert(2, 2, amount="1e99"))
            await replica.close()

        asyncio.run(run())
        for refused in ("CREATE TABLE public.x ()", "DROP TABLE public.orders", "TRUNCATE public.orders"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                sql(dsn, refused)
    finally:
        sql(database, "DROP OWNED BY test_writer")
        sql(database, "DROP ROLE test_writer")


def test_an_existing_table_is_touched_only_when_adopted(database: str) -> None:
    sql(database, "CREATE TABLE public.orders (id bigint PRIMARY KEY, amount numeric(12,2), note text)")
    sql(database, "INSERT INTO public.orders VALUES (1, 1, 'old')")
    with pytest.raises(UnsafeChange, match=r'ALTER TABLE "public"\."orders" ADD COLUMN _trueup_version') as refused:
        planned(database, ORDERS)
    assert "--adopt" in str(refused.value)
    applied(database, ORDERS, adopt=True)
    assert planned(database, ORDERS) == []

    async def run() -> None:
        replica = PostgresReplica(REPLICA, database)
        await Partition(replica).apply(upsert(1, 1, note="new"))
        await replica.close()

    asyncio.run(run())
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT note FROM public.orders").fetchall() == [("new",)]


@pytest.mark.parametrize(
    ("definition", "complaint"),
    [
        ("id bigint PRIMARY KEY, amount numeric(12,2)", 'column "note" is missing'),
        ("id bigint PRIMARY KEY, amount int, note text", 'column "amount" is integer'),
        ("id bigint, amount numeric(12,2), note text", "no unique index on exactly its key: id"),
        ("id bigint PRIMARY KEY, amount numeric(12,2), note text, more int NOT NULL", 'column "more" needs a value'),
        ("id bigint PRIMARY KEY, amount numeric(12,2), note text UNIQUE", "second unique index on note"),
    ],
)
def test_a_table_that_cannot_become_a_copy_is_refused_with_the_reason(
    database: str, definition: str, complaint: str
) -> None:
    sql(database, f"CREATE TABLE public.orders ({definition})")
    with pytest.raises(UnsafeChange, match=complaint):
        planned(database, ORDERS, adopt=True)


def test_a_changed_registration_asks_for_a_rebuild(database: str) -> None:
    columns = (column("id", "bigint"), column("amount", "numeric(12,2)"), column("note", "text"))
    applied(database, ORDERS)
    for changed in (
        plan_of(*columns, column("more", "text")),
        plan_of(*columns, shown={"id": "id", "amount": "amount", "note": ColumnRule(from_="note", mask="sha256")}),
        plan_of(*columns, shown={"id": "id", "amount": ColumnRule(from_="amount", cast="int"), "note": "note"}),
        plan_of(*columns, target="sales.orders"),
    ):
        with pytest.raises(UnsafeChange, match="would change") as refused:
            planned(database, changed)
        assert '"public.orders" of table "orders" at replica "reporting"' in (refused.value.detail or "")
        assert "trueup apply --rebuild" in (refused.value.hint or "")


def test_a_copy_that_shows_the_same_rows_is_recorded_again(database: str) -> None:
    """The source has a column more that the copy does not take: `whole` changes, no row does."""
    applied(database, ORDERS)
    sql(database, "INSERT INTO trueup.progress (topic, partition, token) VALUES ('trueup.truth.orders', 0, 7)")
    later = msgspec.structs.replace(ORDERS, whole=False)
    assert applied(database, later)
    assert planned(database, later) == []
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT token FROM trueup.progress").fetchall() == [(8,)], "its writer asks anew"
        assert connection.execute("SELECT fingerprint FROM trueup.copies").fetchall() == [(later.fingerprint,)]


def test_statements_are_carried_out_together_or_not_at_all(database: str) -> None:
    async def run() -> None:
        async with await connect(REPLICA, database, application_name="test") as connection:
            statements = await plan_replica(connection, [ORDERS], "admin")
            with pytest.raises(Exception, match="cannot be written"):
                await execute(connection, [*statements, "SELECT nothing_of_that_name()"], replica=REPLICA)

    asyncio.run(run())
    assert planned(database, ORDERS)[0] == "CREATE SCHEMA trueup"
