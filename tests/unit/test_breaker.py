"""The breaker: a replica that is away is asked by one partition at a time, and all go on when it answers."""

from __future__ import annotations

import asyncio

import pytest
from faust.types import TP

from tests.lane_fakes import ORDERS_0, ORDERS_1, FakeHandler, batch, made, offered, passes, run, settles
from trueup.model.errors import Retryable, TransientReplica, Unreachable
from trueup.runtime.breaker import Breaker, State

PART = "replica reporting"


def away(part: str = PART) -> Unreachable:
    return Unreachable(part)


async def asks(breaker: Breaker, answer: Retryable | None = None) -> None:
    async with breaker.asking():
        if answer is not None:
            raise answer


async def opened(*, failures: int = 1) -> Breaker:
    breaker = Breaker(PART)
    for _ in range(failures):
        with pytest.raises(Unreachable):
            await asks(breaker, away())
    assert breaker.state is State.OPEN
    return breaker


def test_closed_it_lets_everybody_through_and_errors_of_others_are_none_of_its_business() -> None:
    async def test() -> None:
        breaker = Breaker(PART)
        for error in (away("kafka"), TransientReplica("reporting", "55P03")):
            assert not breaker.concerns(error)
            with pytest.raises(Retryable):
                await asks(breaker, error)
        await asyncio.gather(*(asks(breaker) for _ in range(5)))
        assert (breaker.state, breaker.opened) == (State.CLOSED, 0)

    run(test)


def test_open_one_asks_after_a_pause_that_grows_and_an_answer_lets_all_go() -> None:
    async def test() -> None:
        breaker, loop = await opened(), asyncio.get_running_loop()
        asked: list[float] = []

        async def partition() -> None:
            while True:
                try:
                    async with breaker.asking():
                        asked.append(round(loop.time(), 1))
                        if loop.time() < 20:
                            raise away()
                    return
                except Unreachable:
                    continue

        partitions = [asyncio.create_task(partition()) for _ in range(12)]
        await asyncio.gather(*partitions)
        assert asked[:7] == [0.5, 1.5, 3.5, 7.5, 12.5, 17.5, 22.5], "one at a time, at most 5 s apart"
        assert asked[7:] == [22.5] * 11
        assert (breaker.state, breaker.opened) == (State.CLOSED, 1)

    run(test)


def test_while_one_asks_the_others_wait() -> None:
    async def test() -> None:
        breaker = await opened()
        asking, gate = asyncio.Event(), asyncio.Event()

        async def slow() -> None:
            async with breaker.asking():
                asking.set()
                await gate.wait()

        first, second = asyncio.create_task(slow()), asyncio.create_task(asks(breaker))
        await passes(60)
        assert asking.is_set()
        asked: str = breaker.state
        assert asked == State.HALF_OPEN
        assert not second.done()
        gate.set()
        await asyncio.gather(first, second)
        assert breaker.state is State.CLOSED

    run(test)


@pytest.mark.parametrize("how", ["revoked while it asks", "revoked while it waits", "another error"])
def test_who_asks_and_gets_no_answer_leaves_the_question_to_the_next(how: str) -> None:
    async def test() -> None:
        breaker, forever = await opened(), asyncio.Event()

        async def first() -> None:
            async with breaker.asking():
                if how == "another error":
                    raise away("kafka")
                await forever.wait()

        leaving, staying = asyncio.create_task(first()), asyncio.create_task(asks(breaker))
        if how != "revoked while it waits":
            await passes(0.6)
        if how != "another error":
            leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        await asyncio.wait_for(staying, 10)
        assert breaker.state is State.CLOSED

    run(test)


def test_one_whose_turn_came_and_who_was_revoked_in_the_same_moment_blocks_nobody() -> None:
    async def test() -> None:
        breaker = await opened()
        leaving, staying = asyncio.create_task(asks(breaker)), asyncio.create_task(asks(breaker))
        asyncio.get_running_loop().call_later(0.5, leaving.cancel)
        await asyncio.gather(leaving, return_exceptions=True)
        await asyncio.wait_for(staying, 10)

    run(test)


def test_a_batch_that_goes_through_closes_it() -> None:
    async def test() -> None:
        breaker = await opened()
        waiting = asyncio.create_task(asks(breaker))
        await settles()
        breaker.answered()
        await settles()
        assert waiting.done()
        assert breaker.state is State.CLOSED
        await passes(60)
        assert breaker.state is State.CLOSED, "its timer is gone"

    run(test)


class Away(FakeHandler):
    """A replica that is away for a while, whoever asks."""

    def __init__(self, until_s: float) -> None:
        super().__init__()
        self.until_s = until_s

    async def prepare(self, tp: TP) -> int:
        self.note("prepare", tp)
        if asyncio.get_running_loop().time() < self.until_s:
            raise away()
        return 0


def test_the_partitions_of_a_worker_ask_in_turn_and_go_on_together() -> None:
    async def test() -> None:
        handler = Away(until_s=30.0)
        lane, _ = made(handler, Breaker(PART))
        lane.assigned((ORDERS_0, ORDERS_1))
        await passes(60)
        asked = [round(at, 1) for _, _, at in handler.calls]
        assert asked == [0.0, 0.5, 1.5, 3.5, 7.5, 12.5, 17.5, 22.5, 27.5, 32.5, 32.5]
        assert {tp for _, tp, _ in handler.calls[1:9]} == {ORDERS_0, ORDERS_1}, "they take turns"
        assert lane.fetchable() == {ORDERS_0, ORDERS_1}
        assert lane.outages.reasons() == []

    run(test)


def test_a_replica_that_answers_and_then_fails_every_batch_is_asked_less_and_less() -> None:
    async def test() -> None:
        handler = FakeHandler()
        handler.process_fails = [away() for _ in range(6)]
        lane, _ = made(handler, Breaker(PART))
        lane.assigned((ORDERS_0,))
        for _ in range(6):
            await passes(20)
            assert offered(lane, batch(0, 5))
            await settles()
        failed, prepared = handler.times("process"), handler.times("prepare")[1:]
        pauses = [round(again - at, 1) for at, again in zip(failed, prepared, strict=False)]
        assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 15.0][: len(pauses)]
        assert len(pauses) >= 5

    run(test)
