"""A copy in a real database and its one partition, for tests of `adapters.postgres_replica`."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import psycopg

from tests.replica_batches import ORDERS, REPLICA, Partition
from trueup.adapters.postgres_replica import PostgresReplica, connect
from trueup.adapters.postgres_replica_ddl import execute, plan_replica
from trueup.model.decision import Outcome
from trueup.model.write import CopyPlan


async def provision(dsn: str, *plans: CopyPlan) -> None:
    connection = await connect(REPLICA, dsn, application_name="test")
    async with connection:
        await execute(connection, await plan_replica(connection, plans, "admin"), replica=REPLICA)


@asynccontextmanager
async def applying(dsn: str, plan: CopyPlan = ORDERS) -> AsyncIterator[Partition]:
    """A provisioned copy and its one partition."""
    await provision(dsn, plan)
    replica = PostgresReplica(REPLICA, dsn)
    try:
        yield Partition(replica, plan)
    finally:
        await replica.close()


def rows(dsn: str, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(query.encode(), parameters or None)
        return cursor.fetchall() if cursor.description else []


def nonzero(counts: dict[Outcome, int]) -> dict[str, int]:
    return {outcome.value: count for outcome, count in counts.items() if count}


Scenario = Callable[[Partition], Coroutine[Any, Any, None]]


def play(dsn: str, scenario: Scenario, plan: CopyPlan = ORDERS) -> None:
    async def run() -> None:
        async with applying(dsn, plan) as partition:
            await scenario(partition)

    asyncio.run(run())
