"""A claim on a real server is looked after without a batch: a server that drops a connection may have lost commits."""

from __future__ import annotations

import pytest

from tests.replica_batches import Partition, upsert
from tests.replica_database import play, rows
from trueup.model.errors import TransientReplica
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


def test_a_server_that_became_read_only_is_met_again_by_a_new_connection(database: str) -> None:
    """It was demoted, or its default was changed: only a new session comes to who can be written now (F-18)."""
    (name,) = rows(database, "SELECT quote_ident(current_database())")[0]

    async def scenario(partition: Partition) -> None:
        await partition.apply(upsert(1, 1))
        rows(database, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        rows(database, KILL)
        with pytest.raises(ClaimLost):
            await partition.apply(upsert(2, 2))
        with pytest.raises(TransientReplica):
            await partition.claim()
        writable = f"{database}?options=-c%20default_transaction_read_only%3Doff"
        rows(writable, f"ALTER DATABASE {name} RESET default_transaction_read_only")
        assert (await partition.claim()).next_offset == 1
        await partition.apply(upsert(2, 2))

    play(database, scenario)
