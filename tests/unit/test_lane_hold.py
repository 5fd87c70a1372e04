"""Partitions without work: a claim that is gone is noticed all the same (found by tests/simulation).

A replica that crashes loses its latest commits together with the progress; a worker that has nothing to write would
never learn that it has to read them again.
"""

from __future__ import annotations

import asyncio

from tests.lane_fakes import ORDERS_0, ORDERS_1, FakeHandler, batch, offered, passes, ready, run, settles, unavailable


def test_an_idle_partition_whose_claim_is_gone_is_prepared_anew() -> None:
    async def test() -> None:
        handler = FakeHandler()
        handler.positions[ORDERS_0] = 9
        lane, consumer = await ready(handler)
        keeping = asyncio.create_task(lane.keep_hold())
        handler.hold_fails = [unavailable()]
        handler.positions[ORDERS_0] = 4  # what the replica still has
        await passes(8)
        assert consumer.seeks == [(ORDERS_0, 9), (ORDERS_0, 4)]
        assert lane.partitions[ORDERS_0].position == 4
        assert lane.fetchable() == {ORDERS_0}
        assert len(handler.times("prepare")) == 2, "a claim that holds is left alone"
        keeping.cancel()

    run(test)


def test_a_partition_at_work_is_not_asked() -> None:
    async def test() -> None:
        handler = FakeHandler()
        lane, _ = await ready(handler, ORDERS_0, ORDERS_1)
        handler.gates["process"] = asyncio.Event()
        offered(lane, batch(0, 5))
        keeping = asyncio.create_task(lane.keep_hold())
        await passes(6)
        assert handler.times("hold") == []
        assert len(handler.times("hold", ORDERS_1)) == 1
        keeping.cancel()

    run(test)


def test_a_batch_that_begins_meanwhile_finds_out_by_itself() -> None:
    async def test() -> None:
        handler = FakeHandler()
        lane, _ = await ready(handler)
        handler.gates["hold"], handler.gates["process"] = asyncio.Event(), asyncio.Event()
        handler.hold_fails = [unavailable()]
        keeping = asyncio.create_task(lane.keep_hold())
        await passes(6)
        assert offered(lane, batch(0, 5))
        handler.gates["hold"].set()
        await settles()
        assert len(handler.times("prepare")) == 1
        assert lane.partitions[ORDERS_0].in_flight is not None
        keeping.cancel()

    run(test)


def test_a_partition_revoked_meanwhile_is_not_prepared() -> None:
    async def test() -> None:
        handler = FakeHandler()
        lane, _ = await ready(handler)
        handler.gates["hold"] = asyncio.Event()
        handler.hold_fails = [unavailable()]
        keeping = asyncio.create_task(lane.keep_hold())
        await passes(6)
        await lane.revoke_all()
        handler.gates["hold"].set()
        await passes(60)
        assert len(handler.times("prepare")) == 1, "it would fence the new owner"
        keeping.cancel()

    run(test)
