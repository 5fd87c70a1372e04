"""A lane without Kafka: a handler and a consumer that do what a test tells them, on a clock that jumps."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any

from faust.types import TP

from trueup.model.errors import Retryable, Unreachable
from trueup.runtime.breaker import Breaker
from trueup.runtime.lane import Batch, Lane

ORDERS_0, ORDERS_1 = TP("shop.public.orders", 0), TP("shop.public.orders", 1)


class JumpingLoop(asyncio.SelectorEventLoop):
    """Time passes at once when nothing but time is waited for, and only then."""

    def __init__(self) -> None:
        self.now_s = 0.0
        loop = self

        class JumpingSelector(selectors.DefaultSelector):
            def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
                assert timeout is not None, "everybody waits and nothing will happen"
                loop.now_s += timeout
                return super().select(0)

        super().__init__(JumpingSelector())

    def time(self) -> float:
        return self.now_s


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        runner.run(test())


async def passes(seconds: float) -> None:
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    loop.call_later(seconds, done.set_result, None)
    await done


async def settles() -> None:
    """Lets everything happen that needs no time."""
    await passes(0.001)


class FakeHandler:
    """Notes what the lane asks for; answers and failures are set by the test."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, TP, float]] = []
        self.positions: dict[TP, int] = {}
        self.prepare_fails: list[BaseException] = []
        self.process_fails: list[BaseException] = []
        self.hold_fails: list[BaseException] = []
        self.gates: dict[str, asyncio.Event] = {}
        self.on_cancel: BaseException | None = None

    def note(self, what: str, tp: TP) -> None:
        self.calls.append((what, tp, asyncio.get_running_loop().time()))

    def times(self, what: str, tp: TP = ORDERS_0) -> list[float]:
        return [round(at, 2) for called, on, at in self.calls if (called, on) == (what, tp)]

    async def pause(self, what: str) -> None:
        if what in self.gates:
            try:
                await self.gates[what].wait()
            except asyncio.CancelledError:
                if self.on_cancel is not None:
                    raise self.on_cancel from None
                raise

    async def prepare(self, tp: TP) -> int:
        self.note("prepare", tp)
        await self.pause("prepare")
        if self.prepare_fails:
            raise self.prepare_fails.pop(0)
        return self.positions.get(tp, 0)

    async def process(self, batch: Batch) -> None:
        self.note("process", batch.tp)
        await self.pause("process")
        if self.process_fails:
            raise self.process_fails.pop(0)
        self.positions[batch.tp] = batch.end
        self.note("done", batch.tp)

    async def hold(self, tp: TP) -> None:
        self.note("hold", tp)
        await self.pause("hold")
        if self.hold_fails:
            raise self.hold_fails.pop(0)

    async def release(self, tp: TP) -> None:
        self.note("release", tp)


class FakeConsumer:
    def __init__(self) -> None:
        self.seeks: list[tuple[TP, int]] = []
        self.wakes = 0

    async def seek_to(self, tp: TP, position: int) -> None:
        self.seeks.append((tp, position))

    def wake(self) -> None:
        self.wakes += 1


def made(handler: FakeHandler, breaker: Breaker | None = None) -> tuple[Lane, FakeConsumer]:
    lane, consumer = Lane(handler, breaker=breaker), FakeConsumer()
    fake: Any = consumer
    lane.consumer = fake
    return lane, consumer


async def ready(handler: FakeHandler, *tps: TP) -> tuple[Lane, FakeConsumer]:
    lane, consumer = made(handler)
    lane.assigned(tps or (ORDERS_0,))
    await settles()
    return lane, consumer


def batch(start: int, end: int, tp: TP = ORDERS_0) -> Batch:
    return Batch(tp, [], start, end, 1)


def offered(lane: Lane, fetched: Batch) -> bool:
    """What the consumer and the agent do with a fetched batch."""
    accepted = lane.accept(fetched)
    if accepted:
        lane.begin(fetched)
    return accepted


def unavailable() -> Retryable:
    return Unreachable("kafka", detail="for the test")
