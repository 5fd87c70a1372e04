"""The batch lane's books, with a fake handler and a clock that jumps: no Kafka, no waiting (design 7)."""

from __future__ import annotations

import asyncio
import itertools

import pytest
import structlog

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
from trueup.model.errors import Stop
from trueup.runtime import lane as lane_module
from trueup.runtime.lane import Batch

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
        assert [entry["event"] for entry in logs] == ["waiting", "goes on"]
        assert logs[0]["log_level"] == "warning"

    run(test)


def test_what_many_partitions_wait_for_is_named_once() -> None:
    async def test() -> None:
        handler = FakeHandler()
        handler.prepare_fails = [unavailable() for _ in range(6)]
        with structlog.testing.capture_logs() as logs:
            lane, _ = await ready(handler, ORDERS_0, ORDERS_1)
            assert len(lane.outages.reasons()) == 1
            await passes(200)
            assert lane.outages.reasons() == []
        assert [entry["event"] for entry in logs] == ["waiting", "goes on"]

    run(test)


def test_a_part_that_answers_and_then_refuses_is_named_once() -> None:
    async def test() -> None:
        handler = FakeHandler()
        with structlog.testing.capture_logs() as logs:
            lane, _ = await ready(handler)
            handler.process_fails = [unavailable() for _ in range(5)]
            for _ in range(6):
                assert offered(lane, batch(0, 5))
                await passes(30)
        assert [entry["event"] for entry in logs] == ["waiting", "partition goes on"]
        assert lane.outages.reasons() == []

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


@pytest.mark.parametrize("where", ["process", "prepare"])
@pytest.mark.parametrize(
    "error", [RuntimeError("unforeseen"), KeyError("x"), MemoryError(), AssertionError()], ids=repr
)
def test_anything_else_ends_the_process(where: str, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[BaseException] = []

    def exit_process(exc: BaseException) -> None:
        ended.append(exc)
        raise asyncio.CancelledError  # the task goes no further, as nothing would

    monkeypatch.setattr(lane_module, "exit_process", exit_process)

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
