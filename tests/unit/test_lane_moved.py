"""A log that is not where its partition stands: prepared anew, so that `prepare` says what happened; never a jump."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from faust.types import TP

from tests.lane_fakes import ORDERS_0, ORDERS_1, FakeConsumer, FakeHandler, batch, offered, passes, ready, run, settles
from trueup.model.errors import Fenced, TopicChanged, Unreachable
from trueup.runtime.lane import Lane
from trueup.runtime.watchdog import Watchdog

TABLES = {ORDERS_0.topic: "orders"}


class Ends(FakeConsumer):
    """A consumer whose partitions end where the test says."""

    def __init__(self, ends: dict[TP, int]) -> None:
        super().__init__()
        self.ends = ends

    async def last_stable_offsets(self) -> dict[TP, int]:
        return self.ends


class Silent:
    """Metrics nobody reads."""

    def __getattr__(self, _: str) -> Any:
        return self

    def __call__(self, *_: Any, **__: Any) -> None: ...


def watching(lane: Lane, ends: dict[TP, int], taken_over: Any = None) -> Watchdog:
    consumer: Any = Ends(ends)
    lane.consumer = consumer
    metrics: Any = Silent()
    return Watchdog(lane, metrics, TABLES, 60.0, taken_over)


def test_a_log_that_became_shorter_is_prepared_anew_and_stops_with_its_cause() -> None:
    async def test() -> None:
        handler = FakeHandler()
        lane, _ = await ready(handler, ORDERS_0, ORDERS_1)
        offered(lane, batch(0, 500))
        await settles()
        gone = TopicChanged("the capture topic was made anew", hint="trueup resync shop")
        handler.prepare_fails = [gone]
        await watching(lane, {ORDERS_0: 3, ORDERS_1: 0}).look()
        await settles()
        assert lane.partitions[ORDERS_0].stopped is gone
        assert lane.fetchable() == {ORDERS_1}

    run(test)


@pytest.mark.parametrize("end", [500, 501])
def test_a_log_that_goes_on_is_left_alone(end: int) -> None:
    async def test() -> None:
        handler = FakeHandler()
        lane, _ = await ready(handler)
        offered(lane, batch(0, 500))
        await settles()
        await watching(lane, {ORDERS_0: end}).look()
        await settles()
        assert handler.times("prepare") == [0.0]

    run(test)


def test_a_batch_in_flight_is_not_disturbed() -> None:
    async def test() -> None:
        handler = FakeHandler()
        lane, _ = await ready(handler)
        handler.gates["process"] = asyncio.Event()
        offered(lane, batch(0, 5))
        lane.prepare_anew(ORDERS_0)
        lane.prepare_anew(ORDERS_1)
        handler.gates["process"].set()
        await settles()
        assert handler.times("prepare") == [0.0]
        assert lane.partitions[ORDERS_0].position == 5

    run(test)


async def stopped(handler: FakeHandler) -> Lane:
    handler.prepare_fails = [TopicChanged("stopped for the test", hint="trueup resync shop")]
    lane, _ = await ready(handler)
    await passes(10)
    return lane


def test_a_stopped_worker_starts_anew_when_a_new_epoch_has_begun() -> None:
    async def test() -> None:
        asked: list[TP] = []

        async def taken_over(tp: TP) -> bool:
            asked.append(tp)
            return True

        watchdog = watching(await stopped(FakeHandler()), {}, taken_over)
        with pytest.raises(Fenced):
            await watchdog.look_at_stopped()
        assert asked == [ORDERS_0]

    run(test)


@pytest.mark.parametrize("answer", [False, Unreachable("kafka")], ids=["not cured", "nobody answers"])
def test_without_a_cure_it_stays_stopped_and_asks_now_and_then(answer: bool | Unreachable) -> None:
    async def test() -> None:
        asked = 0

        async def taken_over(_: TP) -> bool:
            nonlocal asked
            asked += 1
            if isinstance(answer, Unreachable):
                raise answer
            return answer

        watchdog = watching(await stopped(FakeHandler()), {}, taken_over)
        await watchdog.look_at_stopped()
        await watchdog.look_at_stopped()
        assert asked == 1
        await passes(6)
        await watchdog.look_at_stopped()
        assert asked == 2

    run(test)


def test_readiness_names_the_cure() -> None:
    async def test() -> None:
        watchdog = watching(await stopped(FakeHandler()), {})
        assert watchdog.reasons() == ["stopped: shop.public.orders/0: stopped for the test -> trueup resync shop"]

    run(test)
