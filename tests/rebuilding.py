"""A copy of ORDERS on its way to MASKED, in a real database, for tests of `adapters.postgres_rebuild`."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from tests.replica_batches import ORDERS, REPLICA, Partition, column, delete, key_of, plan_of, upsert, write_of
from tests.replica_database import provision
from trueup.adapters.postgres_rebuild import look_at_old, plan_shadow, swap
from trueup.adapters.postgres_replica import PostgresReplica, connect
from trueup.adapters.postgres_replica_ddl import execute, find_rebuilds
from trueup.model.rebuild import Rebuild, shadow_progress
from trueup.model.registration import ColumnRule
from trueup.model.version import make_version
from trueup.model.write import CopyPlan, Refusal, Write

COLUMNS = (column("id", "bigint"), column("amount", "numeric(12,2)"), column("note", "text"))
MASKED = plan_of(
    *COLUMNS,
    shown={"id": "id", "total": "amount", "note": ColumnRule(from_="note", mask="sha256")},
    target="public.orders",
)
TOPIC = ORDERS.truth_topic
REFUSED_VALUE = b"a whole record"

Catching = Callable[[dict[int, int | None]], Coroutine[Any, Any, None]]


def masked(row_id: int, version: int) -> Write:
    return write_of(row_id, version, (row_id, "1.00", "5e88"))


async def nothing(_: dict[int, int | None]) -> None:
    """There is nothing to catch up with."""


async def rebuild_of(dsn: str, plan: CopyPlan) -> Rebuild:
    async with await connect(REPLICA, dsn, application_name="test") as connection:
        (found,) = await find_rebuilds(connection, [plan])
        return found


async def make(dsn: str, rebuild: Rebuild) -> list[str]:
    async with await connect(REPLICA, dsn, application_name="test") as connection:
        old = await look_at_old(connection, rebuild)
        statements = await plan_shadow(connection, rebuild, old, "admin")
        await execute(connection, statements, replica=REPLICA)
        return statements


async def swapped(dsn: str, rebuild: Rebuild, catch_up: Catching = nothing) -> None:
    async with await connect(REPLICA, dsn, application_name="test") as connection:
        await swap(connection, rebuild, catch_up)


def filling(dsn: str, rebuild: Rebuild) -> Partition:
    return Partition(PostgresReplica(REPLICA, dsn), rebuild.shadow, shadow_progress(TOPIC))


def letter(row_id: int, offset: int) -> Refusal:
    version = make_version(1, offset)
    return Refusal(key_of(row_id), version, offset, REFUSED_VALUE, "transform", "DecodeFailed", None, "does not fit")


async def live_copy(dsn: str) -> Partition:
    """Three rows, a deleted key and two letters; offsets 0 to 5."""
    await provision(dsn, ORDERS)
    live = Partition(PostgresReplica(REPLICA, dsn))
    await live.apply(upsert(1, 1, note="clear"), upsert(2, 2, note="clear"), upsert(3, 3, note="clear"))
    await live.apply(delete(3, 4), refused=(letter(4, 4), letter(5, 5)))
    return live


async def filled(dsn: str, rebuild: Rebuild) -> None:
    """The shadow has read the same six records; one of them is still refused."""
    shadow = filling(dsn, rebuild)
    await shadow.apply(masked(1, 1), masked(2, 2), masked(3, 3))
    await shadow.apply(delete(3, 4), masked(4, 4), refused=(letter(5, 5),))
    await shadow.replica.close()


def play(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scenario)
