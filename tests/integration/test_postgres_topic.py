"""adapters.postgres_replica on a real PostgreSQL 18: which topic an offset counts in, from claim to swap."""

import pytest

from tests.rebuilding import MASKED, TOPIC, filling, live_copy, make, masked, rebuild_of, swapped
from tests.rebuilding import play as run
from tests.replica_batches import IDENTITY, ORDERS, Partition, upsert
from tests.replica_database import play, provision, rows
from trueup.model.errors import Stop

pytest_plugins = ["tests.fix_postgres"]
pytestmark = pytest.mark.integration


def test_an_offset_keeps_the_topic_it_was_counted_in(database: str) -> None:
    progress = "SELECT next_offset, topic_identity FROM trueup.progress"

    async def scenario(partition: Partition) -> None:
        partition.identity = "cluster/never filled from"
        assert (await partition.claim()).topic_identity == "cluster/never filled from"
        partition.identity = "cluster/old"
        assert (await partition.claim()).topic_identity == "cluster/old", "nothing is counted yet"
        await partition.apply(upsert(1, 1))
        partition.identity = "cluster/new"
        for _ in range(2):
            claim = await partition.claim()
            assert (claim.next_offset, claim.topic_identity) == (1, "cluster/old")
        assert rows(database, progress) == [(1, "cluster/old")]
        rows(database, "UPDATE trueup.progress SET next_offset = NULL")
        claim = await partition.claim()
        assert (claim.next_offset, claim.topic_identity) == (None, "cluster/new"), "an operator accepted it"
        await partition.apply(upsert(1, 2))
        partition.identity = "cluster/newest"
        assert (await partition.claim()).topic_identity == "cluster/new"

    play(database, scenario)


def test_a_replica_of_an_earlier_release_is_refused_until_apply_and_then_takes_the_topic_of_now(database: str) -> None:
    async def scenario(partition: Partition) -> None:
        await partition.apply(upsert(1, 1))
        rows(database, "ALTER TABLE trueup.progress DROP COLUMN topic_identity")
        with pytest.raises(Stop, match="trueup apply") as stopped:
            await partition.claim()
        assert "topic_identity" in (stopped.value.detail or "")
        await provision(database, ORDERS)
        await provision(database, ORDERS)  # and nothing twice
        claim = await partition.claim()
        assert (claim.next_offset, claim.topic_identity) == (1, IDENTITY)
        await partition.apply(upsert(1, 2))

    play(database, scenario)


def test_the_swap_takes_the_topic_along_that_the_shadow_was_filled_from(database: str) -> None:
    async def scenario() -> None:
        live = await live_copy(database)
        rebuild = await rebuild_of(database, MASKED)
        await make(database, rebuild)
        shadow = filling(database, rebuild)
        shadow.identity = "cluster/new"
        await shadow.apply(masked(1, 1), masked(2, 2))
        kept = "SELECT topic, topic_identity FROM trueup.progress ORDER BY topic"
        assert rows(database, kept) == [(shadow.topic, "cluster/new"), (TOPIC, IDENTITY)]
        await swapped(database, rebuild)
        assert rows(database, kept) == [(TOPIC, "cluster/new")]
        claim = await live.claim()
        assert (claim.next_offset, claim.topic_identity) == (2, "cluster/new")
        await shadow.replica.close()
        await live.replica.close()

    run(scenario())
