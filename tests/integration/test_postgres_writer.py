"""adapters.postgres_writer on a real PostgreSQL 18: a users' table is written without a trace of ours in it."""

import asyncio
import datetime
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import psycopg
import pytest

from tests.replica_batches import Partition, column, key_of
from tests.replica_database import nonzero, rows
from tests.waiting import becomes
from trueup.adapters.postgres_replica import PostgresReplica, connect
from trueup.adapters.postgres_replica_ddl import execute, plan_replica
from trueup.core.rules_copy import CopyRules, compile_copy
from trueup.model.columns import CapturedTable, Column
from trueup.model.decision import TruthRecord
from trueup.model.errors import Refused, Stop, TransientReplica
from trueup.model.event import Op, Position
from trueup.model.registration import ColumnVersion, Conflicts, Source, Table
from trueup.model.version import make_version
from trueup.model.write import CopyPlan, Write

pytest_plugins = ["tests.fix_postgres"]
pytestmark = pytest.mark.integration

HERE, THERE = "shop", "crm"
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
COLUMNS = (
    column("id", "bigint"),
    column("name", "text"),
    column("extra", "json"),
    column("at", "timestamp with time zone"),
    Column(name="upper_name", pg_type="text", nullable=True, generated=True),
)
CUSTOMERS = CapturedTable(table="customers", key=("id",), columns=COLUMNS)
_TABLE = """
CREATE TABLE public.customers (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text CHECK (name <> 'bad'),
    extra json, at timestamptz, upper_name text GENERATED ALWAYS AS (upper(name)) STORED);
CREATE FUNCTION touched() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.name := 'by trigger'; RETURN NEW; END $$;
CREATE TRIGGER touched BEFORE INSERT OR UPDATE ON public.customers FOR EACH ROW EXECUTE FUNCTION touched();
CREATE TABLE public.orders (id int PRIMARY KEY, customer bigint REFERENCES public.customers);
"""


def plan(*, ordered: bool = True, captured: CapturedTable = CUSTOMERS) -> CopyPlan:
    table = Table(
        table="customers",
        writers=[HERE, THERE],
        conflicts=Conflicts(policy="last_write_wins" if ordered else "escalate"),
        source=Source(table="public.customers"),
        key=["id"],
        version=ColumnVersion(column="at") if ordered else "log",
    )
    copy = table.copy_at(HERE)
    assert copy is not None
    return compile_copy(table, copy, captured)


BY_TIME, BY_LOG = plan(), plan(ordered=False)


def moment(second: int) -> str:
    return (_EPOCH + datetime.timedelta(seconds=second)).isoformat()


def truth(
    offset: int,
    name: str | None,
    *,
    key: int = 1,
    at: int = 0,
    rank: int | None = None,
    origin: str | None = THERE,
    position: int | None = None,
) -> Write:
    """The write of a truth record; without a name a delete. `rank`: seconds, that of the row unless given."""
    row = None if name is None else {"id": key, "name": name, "extra": '{"a": 1}', "at": moment(at), "upper_name": "X"}
    record = TruthRecord(
        key=key_of(key),
        version=make_version(1, offset, (at if rank is None else rank) * 1_000_000),
        content_hash=bytes(16),
        op=Op.DELETE if row is None else Op.UPDATE,
        commit_time_us=0,
        position=None if position is None else Position(position, position),
        cause=None,
        flags=(),
        row=row,
        row_bytes=None,
        origin=origin,
    )
    return CopyRules(BY_TIME).write_of(record, offset, b"")


@asynccontextmanager
async def writing(dsn: str, plan: CopyPlan) -> AsyncIterator[Partition]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(_TABLE)
    session = await connect(HERE, dsn, application_name="test")
    async with session:
        await execute(session, await plan_replica(session, [plan], "admin"), replica=HERE)
    replica = PostgresReplica(HERE, dsn, writes_users_tables=True)
    try:
        yield Partition(replica, plan, "trueup.truth.customers")
    finally:
        await replica.close()


def play(dsn: str, scenario: Callable[[Partition], Coroutine[Any, Any, None]], plan: CopyPlan = BY_TIME) -> None:
    async def run() -> None:
        async with writing(dsn, plan) as partition:
            await scenario(partition)

    asyncio.run(run())


def names(dsn: str) -> dict[int, str]:
    return dict(rows(dsn, "SELECT id, name FROM public.customers"))


def by_the_application(dsn: str, statement: str) -> None:
    """What somebody does at the database; its trigger acts, and is told what to write."""
    rows(dsn, f"ALTER TABLE public.customers DISABLE TRIGGER touched; {statement}")


def log_position(dsn: str) -> int:
    return int(rows(dsn, "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint")[0][0])


def test_values_arrive_as_they_are_and_nothing_of_ours_is_in_the_table(database: str) -> None:
    async def scenario(partition: Partition) -> None:
        result = await partition.apply(truth(1, "from there"), truth(2, "two", key=2), truth(3, None, key=3))
        assert nonzero(result.counts) == {"applied": 3}
        assert rows(database, "SELECT id, name, upper_name, extra::text FROM public.customers ORDER BY id") == [
            (1, "from there", "FROM THERE", '{"a": 1}'),
            (2, "two", "TWO", '{"a": 1}'),
        ]
        await partition.apply(truth(4, "renamed"), truth(5, None, key=2))
        assert names(database) == {1: "renamed"}
        assert nonzero((await Partition(partition.replica, BY_TIME, "again").apply(truth(1, "old"))).counts) == {
            "stale": 1
        }
        assert names(database) == {1: "renamed"}

    play(database, scenario)


def test_a_row_that_is_the_same_already_is_not_written(database: str) -> None:
    async def scenario(partition: Partition) -> None:
        await partition.apply(truth(1, "the same"))
        before = rows(database, "SELECT xmin::text FROM public.customers")
        assert nonzero((await partition.apply(truth(2, "the same"))).counts) == {"applied": 1}
        assert rows(database, "SELECT xmin::text FROM public.customers") == before

    play(database, scenario)


def test_a_change_made_here_brings_its_version_and_not_the_row(database: str) -> None:
    """The row may have moved on: what was read and is being changed must not be taken back under somebody's hands."""

    async def scenario(partition: Partition) -> None:
        by_the_application(database, "INSERT INTO public.customers OVERRIDING SYSTEM VALUE VALUES (1, 'moved on')")
        own = truth(5, "as captured", origin=HERE, position=log_position(database))
        assert nonzero((await partition.apply(own)).counts) == {"applied": 1}
        assert names(database) == {1: "moved on"}
        assert nonzero((await partition.apply(truth(4, "older", rank=0))).counts) == {"stale": 1}
        assert names(database) == {1: "moved on"}

    play(database, scenario)


@pytest.mark.parametrize("known_position", [True, False], ids=["a change", "a row of a snapshot"])
def test_a_change_made_here_that_we_wrote_over_is_put_back(database: str, known_position: bool) -> None:
    async def scenario(partition: Partition) -> None:
        by_the_application(database, "INSERT INTO public.customers OVERRIDING SYSTEM VALUE VALUES (1, 'ours')")
        made_at = log_position(database)
        await partition.apply(truth(1, "theirs"))
        assert names(database) == {1: "theirs"}
        own = truth(2, "ours", origin=HERE, position=made_at if known_position else None)
        await partition.apply(own)
        assert names(database) == {1: "ours"}
        later = truth(3, "ours once more, captured", origin=HERE, position=log_position(database))
        by_the_application(database, "UPDATE public.customers SET name = 'moved on'")
        await partition.apply(later)
        assert names(database) == {1: "moved on"}, "made after what we wrote"

    play(database, scenario, BY_LOG)


def test_a_decision_of_people_is_written_everywhere(database: str) -> None:
    async def scenario(partition: Partition) -> None:
        by_the_application(database, "INSERT INTO public.customers OVERRIDING SYSTEM VALUE VALUES (1, 'ours')")
        await partition.apply(truth(1, "decided", origin=None))
        assert names(database) == {1: "decided"}

    play(database, scenario)


def test_a_newer_change_made_here_is_not_overwritten_and_not_deleted(database: str) -> None:
    async def scenario(partition: Partition) -> None:
        insert = "INSERT INTO public.customers OVERRIDING SYSTEM VALUE VALUES "
        by_the_application(database, f"{insert}(1, 'newer', NULL, '{moment(50)}'), (2, 'newer', NULL, '{moment(50)}')")
        await partition.apply(truth(1, "older", at=40), truth(2, None, key=2, rank=40), truth(3, "new", key=3, at=1))
        assert names(database) == {1: "newer", 2: "newer", 3: "new"}
        await partition.apply(truth(4, "newer still", at=50), truth(5, None, key=2, rank=60))
        assert names(database) == {1: "newer still", 3: "new"}

    play(database, scenario)


def test_a_writer_whose_clock_is_behind_is_believed_when_it_changed_what_is_here(database: str) -> None:
    """The version of such a truth has at least the rank of what it was made upon, whatever time its row shows."""

    async def scenario(partition: Partition) -> None:
        insert = "INSERT INTO public.customers OVERRIDING SYSTEM VALUE VALUES "
        by_the_application(database, f"{insert}(1, 'here', NULL, '{moment(50)}')")
        await partition.apply(truth(1, "made upon it", at=20, rank=50))
        assert names(database) == {1: "made upon it"}

    play(database, scenario)


def test_a_row_the_table_refuses_is_a_dead_letter_and_the_others_arrive(database: str) -> None:
    async def scenario(partition: Partition) -> None:
        await partition.apply(truth(1, "as it was"))
        result = await partition.apply(truth(2, "bad"), truth(3, "good", key=2))
        assert nonzero(result.counts) == {"applied": 1, "rejected": 1}
        assert names(database) == {1: "as it was", 2: "good"}
        assert rows(database, "SELECT superseded_at FROM trueup.dead_letters") == [(None,)]
        await partition.apply(truth(4, "corrected"))
        assert rows(database, "SELECT count(*) FROM trueup.dead_letters WHERE superseded_at IS NULL") == [(0,)]

    play(database, scenario)


def test_flags_are_those_of_the_newest_version(database: str) -> None:
    async def scenario(partition: Partition) -> None:
        await partition.apply(msgspec.structs.replace(truth(1, "odd"), flags=("odd",)))
        assert rows(database, "SELECT flags FROM trueup.flags") == [(["odd"],)]
        await partition.apply(truth(2, "even"))
        assert rows(database, "SELECT flags FROM trueup.flags") == []

    play(database, scenario)


def test_foreign_keys_do_not_ask_in_which_order_tables_arrive(database: str) -> None:
    async def scenario(partition: Partition) -> None:
        await partition.apply(truth(1, "referenced"))
        rows(database, "INSERT INTO public.orders VALUES (1, 1)")
        await partition.apply(truth(2, None))
        assert names(database) == {}

    play(database, scenario)


def test_each_session_has_an_origin_of_its_own_and_a_ninth_waits(database: str) -> None:
    async def scenario(partition: Partition) -> None:
        others = [PostgresReplica(HERE, database, writes_users_tables=True) for _ in range(8)]
        try:
            await partition.claim()
            for other in others[:7]:
                await other.ping()
            with pytest.raises(TransientReplica):
                await others[7].ping()
            await others[0].close()

            async def has_one() -> bool:  # its server process ends, and gives its origin back, a moment later
                try:
                    await others[7].ping()
                except TransientReplica:
                    return False
                return True

            await becomes(has_one, True)
        finally:
            for other in others:
                await other.close()

    play(database, scenario)


def test_a_role_without_the_rights_is_named_with_what_a_superuser_must_say(database: str) -> None:
    rows(database, "DROP ROLE IF EXISTS plain_writer; CREATE ROLE plain_writer LOGIN")
    rows(database, "DROP ROLE IF EXISTS plain_owner; CREATE ROLE plain_owner LOGIN")
    rows(
        database,
        _TABLE + "GRANT ALL ON SCHEMA public TO plain_owner; ALTER TABLE public.customers OWNER TO plain_owner",
    )
    name = database.rpartition("/")[2]
    rows(database, f'GRANT CREATE ON DATABASE "{name}" TO plain_owner')

    async def statements(user: str) -> list[str]:
        session = await connect(HERE, database.replace("admin@", f"{user}@"), application_name="test")
        async with session:
            planned = await plan_replica(session, [BY_TIME], "plain_writer")
            await execute(session, planned, replica=HERE)
            return await plan_replica(session, [BY_TIME], "plain_writer")

    with pytest.raises(Refused) as refused:
        asyncio.run(statements("plain_owner"))
    assert refused.value.hint is not None
    assert "GRANT SET ON PARAMETER session_replication_role" in refused.value.hint
    assert asyncio.run(statements("admin")) == [], "a superuser gives them itself, once"
    rows(database, "ALTER TABLE public.customers ENABLE ROW LEVEL SECURITY")
    with pytest.raises(Refused, match="row level security"):
        asyncio.run(statements("admin"))
    rows(database, "REVOKE SET ON PARAMETER session_replication_role FROM plain_writer; DROP OWNED BY plain_writer")


def test_a_login_that_may_not_have_an_origin_stops_loudly(database: str) -> None:
    rows(database, "DROP ROLE IF EXISTS nobody_special; CREATE ROLE nobody_special LOGIN")

    async def ping() -> None:
        replica = PostgresReplica(HERE, database.replace("admin@", "nobody_special@"), writes_users_tables=True)
        await replica.ping()

    with pytest.raises(Stop):
        asyncio.run(ping())


def test_an_identity_that_nobody_may_set_is_refused_outside_the_key(database: str) -> None:
    """Its UPDATE would be refused for good (428C9); of the key, an INSERT overrides it."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(_TABLE)
        connection.execute(
            "ALTER TABLE public.customers ADD COLUMN number bigint GENERATED ALWAYS AS IDENTITY,"
            ' ADD COLUMN "ran%k" int GENERATED BY DEFAULT AS IDENTITY'
        )
    added = (column("number", "bigint"), column("ran%k", "integer"))
    table = CapturedTable(table="customers", key=("id",), columns=(*COLUMNS, *added))

    async def planned() -> list[str]:
        session = await connect(HERE, database, application_name="test")
        async with session:
            return await plan_replica(session, [plan(captured=table)], "admin")

    with pytest.raises(Refused) as refused:
        asyncio.run(planned())
    assert str(refused.value).startswith('column number of table "public.customers" of writer "shop"')
    cure = 'ALTER TABLE "public"."customers" ALTER COLUMN "number" SET GENERATED BY DEFAULT'
    assert refused.value.hint == cure
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(cure)
    assert asyncio.run(planned())
