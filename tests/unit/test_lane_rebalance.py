"""The lane when partitions come and go: nothing that was revoked is prepared, everything is released."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from faust.types import TP

from tests.lane_fakes import (
    ORDERS_0,
    ORDERS_1,
    FakeHandler,
    batch,
    made,
    offered,
    passes,
    ready,
    run,
    settles,
    unavailable,
)
from trueup.model.errors import Retryable

# --- rebalance --------------------------------------------------------------------------------------------------------


def test_a_revoked_batch_may_finish_and_everything_is_released() -> None:
    async def test() -> None:
        handler = FakeHandler()
        lane, _ = await ready(handler, ORDERS_0, ORDERS_1)
        handler.gates["process"] = asyncio.Event()
        offered(lane, batch(0, 5))
        asyncio.get_running_loop().call_later(3, handler.gates["process"].set)
        await lane.revoke_all(grace_s=10)
        assert handler.times("done") == [pytest.approx(3, abs=0.1)]
        assert handler.times("release") == [pytest.approx(3, abs=0.1)], "after the batch, and not later"
        assert len(handler.times("release", ORDERS_1)) == 1
        assert lane.partitions == {}
        assert lane.fetchable() == set()

    run(test)


def test_a_revoked_batch_that_takes_too_long_is_cancelled_before_the_release() -> None:
    async def test() -> None:
        handler = FakeHandler()
        lane, _ = await ready(handler)
        handler.gates["process"] = asyncio.Event()
        offered(lane, batch(0, 5))
        task = lane.partitions[ORDERS_0].task
        assert task is not None
        await lane.revoke_all(grace_s=10)
        assert task.cancelled()
        assert handler.times("release") == [pytest.approx(10, abs=0.1)]
        assert handler.times("done") == []

    run(test)


def test_preparing_is_not_waited_for() -> None:
    async def test() -> None:
        handler = FakeHandler()
        handler.gates["prepare"] = asyncio.Event()
        lane, consumer = await ready(handler)
        await lane.revoke_all(grace_s=10)
        assert handler.times("release") == [0.0]
        handler.gates["prepare"].set()
        await passes(60)
        assert consumer.seeks == []
        assert lane.partitions == {}

    run(test)


def test_a_partition_in_backoff_is_not_prepared_after_it_was_revoked() -> None:
    async def test() -> None:
        handler = FakeHandler()
        handler.prepare_fails = [unavailable() for _ in range(3)]
        lane, _ = await ready(handler)
        await lane.revoke_all()
        await passes(200)
        assert handler.times("prepare") == [0.0]

    run(test)


def test_a_batch_that_fails_while_it_is_revoked_is_not_prepared_anew() -> None:
    """Preparing starts a producer, which would fence the new owner of the partition."""

    async def test() -> None:
        handler = FakeHandler()
        lane, _ = await ready(handler)
        handler.gates["process"] = asyncio.Event()
        handler.process_fails = [unavailable()]
        offered(lane, batch(0, 5))
        asyncio.get_running_loop().call_later(3, handler.gates["process"].set)
        await lane.revoke_all(grace_s=10)
        await passes(200)
        assert handler.times("prepare") == [0.0]

    run(test)


@pytest.mark.parametrize("where", ["process", "prepare"])
def test_a_cancelled_task_whose_cleaning_up_fails_is_not_prepared_anew(where: str) -> None:
    """A client's goodbye to a dead broker raises while the task is cancelled; somebody else has the partition."""

    async def test() -> None:
        handler = FakeHandler()
        handler.on_cancel = unavailable()
        if where == "prepare":
            handler.gates["prepare"] = asyncio.Event()
            lane, _ = await ready(handler)
        else:
            lane, _ = await ready(handler)
            handler.gates["process"] = asyncio.Event()
            offered(lane, batch(0, 5))
            await settles()
        await lane.revoke_all(grace_s=1)
        handler.gates.clear()
        await passes(200)
        assert handler.times("prepare") == [0.0], "prepared after the release: it would fence the new owner"

    run(test)


def test_a_stale_preparation_does_not_bring_the_partition_back() -> None:
    """One that cannot be cancelled, in a thread say, ends after the partition was given away and taken anew."""

    async def test() -> None:
        handler = FakeHandler()
        lane, consumer = made(handler)
        gate = handler.gates["prepare"] = asyncio.Event()
        lane.assigned([ORDERS_0])
        await settles()
        stale = lane.partitions.pop(ORDERS_0)
        gate.set()
        await settles()
        assert consumer.seeks == []
        assert not stale.ready
        assert lane.partitions == {}

    run(test)


def test_a_stale_preparation_does_not_move_the_new_one() -> None:
    async def test() -> None:
        handler = FakeHandler()
        lane, consumer = made(handler)
        gate = handler.gates["prepare"] = asyncio.Event()
        lane.assigned([ORDERS_0])
        await settles()
        stale = lane.partitions[ORDERS_0]
        del handler.gates["prepare"]
        handler.positions[ORDERS_0] = 7
        lane.assigned([ORDERS_0])
        await settles()
        assert consumer.seeks == [(ORDERS_0, 7)]
        handler.positions[ORDERS_0] = 99
        gate.set()
        await settles()
        assert consumer.seeks == [(ORDERS_0, 7)]
        assert not stale.ready
        assert lane.partitions[ORDERS_0].position == 7

    run(test)


def test_every_rebalance_prepares_anew() -> None:
    async def test() -> None:
        handler = FakeHandler()
        lane, _ = await ready(handler, ORDERS_0, ORDERS_1)
        await lane.revoke_all()
        lane.assigned([ORDERS_1])
        await settles()
        assert lane.fetchable() == {ORDERS_1}
        assert len(handler.times("prepare", ORDERS_1)) == 2
        assert not lane.accept(batch(0, 5, ORDERS_0))

    run(test)


def test_a_release_that_fails_keeps_no_other_partition() -> None:
    async def test() -> None:
        handler = FakeHandler()
        lane, _ = await ready(handler, ORDERS_0, ORDERS_1)
        release = handler.release

        async def failing(tp: TP) -> None:
            await release(tp)
            if tp == ORDERS_0:
                raise unavailable()

        handler.release = failing  # type: ignore[method-assign]
        with contextlib.suppress(Retryable):  # raised or not: the other partition must have been given up
            await lane.revoke_all()
        assert handler.times("release", ORDERS_1) == [0.0]

    run(test)
