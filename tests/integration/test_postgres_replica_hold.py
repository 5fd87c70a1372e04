"""A claim on a real server is looked after without a batch: a server that drops a connection may have lost commits."""

from __future__ import annotations

import pytest

from tests.replica_batches import Partition, upsert
from tests.replica_database import play, rows
from trueup.model.write import ClaimLost

pytest_plugins = ["tests.fix_postgres"]
pytestmark = pytest.mark.integration

KILL = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'trueup apply reporting'"


async def hold(partition: Partition) -> None:
    await partition.replica.hold(partition.topic, 0, partition.held.token)


def test_a_claim_holds_while_its_connection_lives(database: str) -> None:
    async def scenario(partition: Partition) -> None:
        await partition.apply(upsert(1, 1))
        await hold(partition)
        await partition.apply(upsert(2, 2))

    play(database, scenario)


def test_a_dropped_connection_is_noticed_without_a_batch(database: str) -> None:
    async def scenario(partition: Partition) -> None:
        await partition.apply(upsert(1, 1))
        rows(database, KILL)
        with pytest.raises(ClaimLost):
            await hold(partition)
        with pytest.raises(ClaimLost):  # until it is claimed again
            await hold(partition)
        assert (await partition.claim()).next_offset == 1
        await hold(partition)

    play(database, scenario)
