"""The batch lane's books, with a fake handler and a clock that jumps: no Kafka, no waiting (design 7)."""

from __future__ import annotations

import asyncio
import itertools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import structlog
from faust.types import TP

from trueup.model.errors import Retryable, Stop, Unreachable
from trueup.runtime import lane as batch_lane
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


def made(handler: FakeHandler) -> tuple[Lane, FakeConsumer]:
    lane, consumer = Lane(handler), FakeConsumer()
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


# --- one batch after the other ----------------------------------------------------------------------------------------


def test_reading_starts_where_the_handler_says() -> None:
    async def test() -> None:
        handler = FakeHandler()
        handler.positions[ORDERS_0] = 42
        lane, consumer = made(handler)
        lane.assigned([ORDERS_0])
        assert lane.fetchable() == set(), "not before it is prepared"
        assert not lane.accept(batch(42, 43))
        await settles()
        assert consumer.seeks == [(ORDERS_0, 42)]
        assert lane.fetchable() == {ORDERS_0}
        assert consumer.wakes == 1

    run(test)


def test_one_batch_is_in_flight_per_partition() -> None:
    async def test() -> None:
        handler = FakeHandler()
        lane, consumer = await ready(handler, ORDERS_0, ORDERS_1)
        handler.gates["process"] = asyncio.Event()
        assert offered(lane, batch(0, 5))
        assert lane.fetchable() == {ORDERS_1}
        assert not offered(lane, batch(5, 9)), "although it continues"
        assert offered(lane, batch(0, 3, ORDERS_1)), "partitions overlap"
        await settles()
        assert handler.times("process") == handler.times("process", ORDERS_1)
        woken = consumer.wakes
        handler.gates["process"].set()
        await settles()
        assert lane.fetchable() == {ORDERS_0, ORDERS_1}
        assert consumer.wakes == woken + 2, "a freed partition ends the idle wait"
        assert offered(lane, batch(5, 9))

    run(test)


@pytest.mark.parametrize("start", [0, 4, 6, 7])
def test_a_batch_that_leaves_a_gap_or_repeats_is_refused(start: int) -> None:
    async def test() -> None:
        lane, _ = await ready(FakeHandler())
        assert offered(lane, batch(0, 5))
        await settles()
        assert not offered(lane, batch(start, 9))
        assert offered(lane, batch(5, 9)), "the refusal changed nothing"

    run(test)


def test_a_batch_of_markers_only_moves_the_position() -> None:
    async def test() -> None:
        lane, _ = await ready(FakeHandler())
        assert offered(lane, Batch(ORDERS_0, [], 0, 2, 1))
        await settles()
        assert lane.partitions[ORDERS_0].position == 2

    run(test)


def test_the_position_moves_with_the_commit_and_not_before() -> None:
    async def test() -> None:
        handler = FakeHandler()
        lane, _ = await ready(handler)
        handler.gates["process"] = asyncio.Event()
        offered(lane, batch(0, 5))
        await settles()
        assert lane.partitions[ORDERS_0].position == 0
        handler.gates["process"].set()
        await settles()
        assert lane.partitions[ORDERS_0].position == 5

    run(test)


def test_a_partition_of_somebody_else_is_refused() -> None:
    async def test() -> None:
        lane, _ = await ready(FakeHandler(), ORDERS_0)
        assert not lane.accept(batch(0, 5, ORDERS_1))
        lane.begin(batch(0, 5, ORDERS_1))
        lane.begin(batch(0, 5))
        await settles()
        assert lane.partitions[ORDERS_0].in_flight is None, "begin() works on what was accepted only"

    run(test)


def test_a_draining_lane_takes_nothing_new() -> None:
    async def test() -> None:
        lane, _ = await ready(FakeHandler())
        lane.draining = True
        assert lane.fetchable() == set()

    run(test)


# --- failures ---------------------------------------------------------------------------------------------------------


def test_a_retryable_error_prepares_anew_from_what_is_committed() -> None:
    async def test() -> None:
        handler = FakeHandler()
        lane, consumer = await ready(handler)
        handler.process_fails = [unavailable()]
        offered(lane, batch(0, 5))
        await settles()
        assert lane.fetchable() == set(), "waits"
        handler.positions[ORDERS_0] = 5  # the outcome was unknown; it had been committed
        await passes(1)
        assert consumer.seeks == [(ORDERS_0, 0), (ORDERS_0, 5)]
        assert not offered(lane, batch(0, 5)), "what was fetched before is void"
        assert offered(lane, batch(5, 6))

    run(test)


def test_the_backoff_doubles_and_ends_at_fifteen_seconds() -> None:
    async def test() -> None:
        handler = FakeHandler()
        handler.prepare_fails = [unavailable() for _ in range(8)]
        await ready(handler)
        await passes(200)
        assert handler.times("prepare") == [0.0, 0.5, 1.5, 3.5, 7.5, 15.5, 30.5, 45.5, 60.5]

    run(test)


def test_the_backoff_starts_small_again_after_a_success() -> None:
    async def test() -> None:
        handler = FakeHandler()
        handler.prepare_fails = [unavailable() for _ in range(4)]
        lane, _ = await ready(handler)
        await passes(100)
        handler.process_fails = [unavailable()]
        offered(lane, batch(0, 5))
        await settles()
        failed_at = asyncio.get_running_loop().time()
        await passes(100)
        assert handler.times("prepare")[-1] == pytest.approx(failed_at + 0.5, abs=0.05)

    run(test)


def test_processing_that_fails_again_and_again_backs_off_although_preparing_works() -> None:
    """A broker that answers questions and refuses commits must not be asked twice a second for hours."""

    async def test() -> None:
        handler = FakeHandler()
        lane, _ = await ready(handler)
        handler.process_fails = [unavailable() for _ in range(5)]
        for _ in range(5):
            assert offered(lane, batch(0, 5))
            for _ in range(40):
                if ORDERS_0 in lane.fetchable():
                    break
                await passes(0.5)
        times = handler.times("prepare")[1:]
        pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert pauses[-1] > 2 * pauses[0], pauses

    run(test)


def test_a_trouble_is_named_once_and_its_end_too() -> None:
    async def test() -> None:
        handler = FakeHandler()
        handler.prepare_fails = [unavailable() for _ in range(6)]
        with structlog.testing.capture_logs() as logs:
            lane, _ = await ready(handler)
            trouble = lane.partitions[ORDERS_0].trouble
            assert trouble is not None, "readiness shows it while it lasts"
            await passes(200)
            assert lane.partitions[ORDERS_0].trouble is None
        assert [entry["event"] for entry in logs] == ["partition waits", "partition goes on"]
        assert logs[0]["log_level"] == "warning"
        assert logs[1]["after_failures"] == 6

    run(test)


@pytest.mark.parametrize("where", ["process", "prepare"])
def test_a_stop_halts_its_partition_and_no_other(where: str) -> None:
    async def test() -> None:
        handler = FakeHandler()
        stop = Stop("table stopped for the test", hint="act")
        with structlog.testing.capture_logs() as logs:
            if where == "prepare":
                handler.prepare_fails = [stop]
                lane, _ = await ready(handler, ORDERS_0, ORDERS_1)
            else:
                lane, _ = await ready(handler, ORDERS_0, ORDERS_1)
                handler.process_fails = [stop]
                offered(lane, batch(0, 5))
                await settles()
            await passes(1_000)
        assert lane.partitions[ORDERS_0].stopped is stop
        assert lane.fetchable() == {ORDERS_1}
        assert not lane.accept(batch(0, 5))
        assert handler.times("prepare") == [0.0], "nobody tries again"
        assert offered(lane, batch(0, 5, ORDERS_1))
        await settles()
        assert handler.times("done", ORDERS_1)
        assert [(entry["event"], entry["hint"]) for entry in logs] == [("table stopped", "act")]

    run(test)


class Exited(BaseException):
    """What the test lets exit_process do instead of ending the process of the tests."""


@pytest.mark.parametrize("where", ["process", "prepare"])
@pytest.mark.parametrize("error", [RuntimeError("unforeseen"), KeyError("x"), MemoryError(), AssertionError()])
def test_anything_else_ends_the_process(where: str, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[BaseException] = []

    def exit_process(exc: BaseException) -> None:
        ended.append(exc)
        raise asyncio.CancelledError  # the task goes no further, as nothing would

    monkeypatch.setattr(batch_lane, "exit_process", exit_process)

    async def test() -> None:
        handler = FakeHandler()
        if where == "prepare":
            handler.prepare_fails = [error]
            lane, _ = await ready(handler)
        else:
            lane, _ = await ready(handler)
            handler.process_fails = [error]
            offered(lane, batch(0, 5))
            await settles()
        assert ended == [error]
        assert lane.fetchable() == set()

    run(test)


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
        try:
            await lane.revoke_all()
        except Retryable:
            pass  # raised or not: the other partition must have been given up
        assert handler.times("release", ORDERS_1) == [0.0]

    run(test)
