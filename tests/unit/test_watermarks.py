"""runtime.watermarks: beats are followed, ends are taken behind them, and idle partitions get their turn."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from faust.types import TP

from tests.lane_fakes import FakeHandler, batch, offered, ready, run, settles
from tests.simulation.heartbeats import SCHEMA, beat_record
from tests.simulation.tables import HEARTBEAT_ID
from trueup.core.connector_config import heartbeat_topic
from trueup.core.decode import EnvelopeDecoder
from trueup.core.ordering import Guard
from trueup.model.errors import SourceWentBack, Unreachable
from trueup.model.event import LogRecord, Position
from trueup.model.registration import Owner, Source, Table
from trueup.model.watermark import Beat
from trueup.runtime.lane import Batch
from trueup.runtime.partition_memory import PartitionMemory
from trueup.runtime.watermarks import Watermarks

TOPIC, BEATS = "shop.public.orders", "shop.trueup.heartbeat"
ORDERS = Table(table="orders", owner=Owner(system="shop"), source=Source(table="public.orders"), key=["id"])
CUSTOMERS = Table(table="customers", writers=["crm", "shop"], source=Source(table="public.customers"), key=["id"])
SHARED = TP(CUSTOMERS.capture_topic, 0)
FIRST, SECOND = TP(TOPIC, 0), TP(TOPIC, 1)
MEMORY = PartitionMemory({}, Guard(1))


class Heartbeats:
    """A heartbeat topic that a test writes to."""

    def __init__(self) -> None:
        self.records: list[LogRecord] = []
        self.end_of = {(TOPIC, 0): 0, (TOPIC, 1): 0, (SHARED.topic, 0): 0}
        self.starts: list[Mapping[str, int]] = []
        self.fails = 0

    def beat(
        self,
        number: int,
        *,
        time_us: int | None = None,
        epoch: int = 1,
        offset: int | None = None,
        filled: str | None = "customers,orders",
        system: str = "shop",
    ) -> None:
        at = number if offset is None else offset
        at_us = number * 1_000_000 if time_us is None else time_us
        made = beat_record(epoch, (number, number + 1), at_us, number, filled, system)
        self.records.append(LogRecord(heartbeat_topic(system), 0, at, 0, made.key, made.value, made.headers))

    async def start(self, starts: Mapping[str, int]) -> None:
        self.starts.append(dict(starts))

    async def poll(self, timeout_s: float) -> list[LogRecord]:
        await settles()  # as the real one, it lets others run
        if self.fails:
            self.fails -= 1
            raise Unreachable("kafka")
        found, self.records = self.records, []
        return found

    async def ends(self, places: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
        return {place: self.end_of[place] for place in places}

    async def stop(self) -> None: ...


def followed(*partitions: TP, memory: PartitionMemory = MEMORY) -> tuple[Watermarks, Heartbeats]:
    heartbeats = Heartbeats()
    nobody: Any = None
    watermarks = Watermarks(heartbeats, nobody, {table.capture_topic: table for table in (ORDERS, CUSTOMERS)})
    watermarks._decoders[HEARTBEAT_ID] = EnvelopeDecoder(SCHEMA)  # a thread that asks has no place on a jumping clock
    for tp in partitions:
        watermarks.taken(tp, memory)
    return watermarks, heartbeats


async def step(watermarks: Watermarks, handler: FakeHandler | None = None) -> None:
    lane, _ = await ready(handler or FakeHandler(), FIRST, SECOND)
    await watermarks._step(lane)


def test_a_partition_has_passed_a_beat_when_it_reached_the_end_that_was_seen_behind_it() -> None:
    async def test() -> None:
        watermarks, heartbeats = followed(FIRST, SECOND)
        heartbeats.end_of = {(TOPIC, 0): 5, (TOPIC, 1): 0}
        heartbeats.beat(100)
        heartbeats.beat(200)
        await step(watermarks)
        assert watermarks.passed(FIRST, 4, MEMORY) == []
        passed = watermarks.passed(FIRST, 5, MEMORY)
        assert passed == [Beat("shop", 1, Position(200, 201), 200_000_000, 200)], "the newest of both"
        assert watermarks.passed(FIRST, 6, MEMORY) == [], "once"
        assert watermarks.passed(SECOND, 0, MEMORY) == passed, "an idle partition has passed it, too"

    run(test)


def test_each_writer_of_a_table_marks_its_partitions_within_its_own_epoch() -> None:
    async def test() -> None:
        guard = Guard(3, writers={"shop": Guard(1), "crm": Guard(3)})
        memory = PartitionMemory({}, guard, marks={"crm": Beat("crm", 3, Position(40, 41), 40, 40)})
        watermarks, heartbeats = followed(SHARED, memory=memory)
        heartbeats.end_of[SHARED.topic, 0] = 5
        heartbeats.beat(100)
        await step(watermarks)
        assert heartbeats.starts == [{heartbeat_topic("crm"): 40}]
        heartbeats.end_of[SHARED.topic, 0] = 7
        heartbeats.beat(50, epoch=3, system="crm")
        await step(watermarks)
        assert watermarks.passed(SHARED, 4, memory) == []
        assert [beat.system for beat in watermarks.passed(SHARED, 6, memory)] == ["shop"], "crm's came later"
        assert [beat.system for beat in watermarks.passed(SHARED, 7, memory)] == ["crm"]
        heartbeats.beat(60, epoch=1, system="crm", time_us=60_000_000)
        heartbeats.beat(30, time_us=10**15, offset=101)
        await step(watermarks)
        assert watermarks.passed(SHARED, 9, memory) == [], "an epoch that is over, and a log that went back"
        with pytest.raises(SourceWentBack):
            watermarks.check(SHARED)

    run(test)


def test_beats_of_other_systems_and_rows_of_snapshots_are_none() -> None:
    async def test() -> None:
        watermarks, heartbeats = followed(FIRST)
        made = beat_record(1, (1, 2), 1, 1)
        assert made.value is not None
        for value in (made.value.replace(b"shop", b"ship"), made.value[:-1], b"junk", None):
            heartbeats.records.append(LogRecord(BEATS, 0, 1, 0, made.key, value, made.headers))
        await step(watermarks)
        assert watermarks.passed(FIRST, 10, MEMORY) == []

    run(test)


@pytest.mark.parametrize("named", ["", "customers", "orders_old,old_orders"])
def test_a_beat_that_does_not_name_the_table_as_filled_marks_nothing(named: str) -> None:
    """Whether it is being filled, or was not registered yet: a worker that was away reads beats of that time, too."""

    async def test() -> None:
        marked = PartitionMemory({}, Guard(1), marks={"shop": Beat("shop", 1, Position(3, 4), 3, 3)})
        for memory in (MEMORY, marked):
            watermarks, heartbeats = followed(FIRST, memory=memory)
            heartbeats.beat(100, filled=named)
            await step(watermarks)
            assert watermarks.passed(FIRST, 10, memory) == []
            heartbeats.beat(200)
            await step(watermarks)
            assert [beat.position for beat in watermarks.passed(FIRST, 10, memory)] == [Position(200, 201)]

    run(test)


def test_of_beats_that_come_together_the_newest_says_what_is_filled() -> None:
    async def test() -> None:
        watermarks, heartbeats = followed(FIRST)
        heartbeats.beat(100)
        heartbeats.beat(200, filled="customers")
        await step(watermarks)
        assert watermarks.passed(FIRST, 10, MEMORY) == []

    run(test)


def test_a_beat_of_an_older_version_goes_on_marking_and_begins_nothing() -> None:
    async def test() -> None:
        marked = PartitionMemory({}, Guard(1), marks={"shop": Beat("shop", 1, Position(3, 4), 3, 3)})
        watermarks, heartbeats = followed(SECOND, memory=marked)
        watermarks.taken(FIRST, MEMORY)
        heartbeats.beat(100, filled=None)
        await step(watermarks)
        assert watermarks.passed(FIRST, 10, MEMORY) == []
        assert len(watermarks.passed(SECOND, 10, marked)) == 1

    run(test)


def test_a_log_that_went_back_marks_nothing_until_a_new_epoch() -> None:
    async def test() -> None:
        watermarks, heartbeats = followed(FIRST)
        heartbeats.beat(100)
        await step(watermarks)
        heartbeats.beat(50, time_us=10**15, offset=101)
        await step(watermarks)
        assert watermarks.passed(FIRST, 10, MEMORY) == []
        with pytest.raises(SourceWentBack, match="went back"):
            watermarks.check(FIRST)
        heartbeats.beat(60, time_us=10**15 + 1, offset=102)
        await step(watermarks)
        assert watermarks.passed(FIRST, 10, MEMORY) == [], "it goes on behind the fall"
        heartbeats.beat(20, epoch=2, time_us=10**15 + 2, offset=103)
        await step(watermarks)
        watermarks.check(FIRST)
        assert len(watermarks.passed(FIRST, 10, PartitionMemory({}, Guard(2)))) == 1

    run(test)


def test_a_fall_that_a_new_epoch_cured_stops_nobody_again() -> None:
    """The resync began the epoch in the partition; no beat of it comes before its snapshot is over."""

    async def test() -> None:
        mark = Beat("shop", 1, Position(100, 101), 100_000_000, 100)
        resynced = PartitionMemory({}, Guard(2), marks={"shop": mark}, unswept=2)
        watermarks, heartbeats = followed(FIRST, memory=resynced)
        await step(watermarks)
        assert heartbeats.starts == [{}], "the beats of the epoch that is over are not read again"
        watermarks.taken(SECOND, PartitionMemory({}, Guard(1), marks={"shop": mark}))  # one that is not in it yet
        heartbeats.beat(100)
        heartbeats.beat(50, time_us=10**15, offset=101)
        await step(watermarks)
        watermarks.check(FIRST)
        with pytest.raises(SourceWentBack):
            watermarks.check(SECOND)
        heartbeats.beat(20, epoch=2, time_us=10**15 + 1, offset=102)
        await step(watermarks)
        watermarks.check(SECOND)
        swept = resynced.swept(2)
        assert [beat.epoch for beat in watermarks.passed(FIRST, 10, swept)] == [2]

    run(test)


def test_a_fall_while_the_worker_was_away_is_found() -> None:
    """It reads on from the beat a partition was last marked with."""

    async def test() -> None:
        marked = PartitionMemory({}, Guard(1), marks={"shop": Beat("shop", 1, Position(100, 101), 100_000_000, 100)})
        watermarks, heartbeats = followed(FIRST, memory=marked)
        heartbeats.beat(100)
        heartbeats.beat(50, time_us=10**15, offset=101)
        heartbeats.beat(200, time_us=10**15 + 1, offset=102)
        await step(watermarks)
        assert heartbeats.starts == [{BEATS: 100}]
        with pytest.raises(SourceWentBack):
            watermarks.check(FIRST)

    run(test)


def test_it_reads_back_once_for_all_partitions_and_goes_on_after_an_outage() -> None:
    async def test() -> None:
        watermarks, heartbeats = followed(FIRST)
        heartbeats.beat(7)
        await step(watermarks)
        mark = Beat("shop", 1, Position(3, 4), 3, 3)
        for tp in (FIRST, SECOND, FIRST):
            watermarks.taken(tp, PartitionMemory({}, Guard(1), marks={"shop": mark}))
        heartbeats.beat(8)
        await step(watermarks)
        await step(watermarks)
        assert heartbeats.starts == [{}, {BEATS: 3}]
        heartbeats.fails = 1
        lane, _ = await ready(FakeHandler(), FIRST)
        running = asyncio.create_task(watermarks.run(lane))
        while len(heartbeats.starts) < 3:
            await settles()
        running.cancel()
        assert heartbeats.starts[2] == {BEATS: 9}

    run(test)


def test_an_idle_partition_gets_an_empty_batch_and_a_busy_one_none() -> None:
    async def test() -> None:
        handler = FakeHandler()
        lane, consumer = await ready(handler, FIRST, SECOND)
        handler.gates["process"] = asyncio.Event()
        assert offered(lane, batch(0, 5, SECOND))
        watermarks, heartbeats = followed(FIRST, SECOND)
        heartbeats.beat(100)
        await watermarks._step(lane)
        await watermarks._step(lane)
        assert consumer.wakes, "the drain loop gives turns between two fetches"
        lane.give_turns()
        assert lane.partitions[FIRST].in_flight == Batch(FIRST, [], 0, 0, -1)
        assert lane.fetchable() == set()
        handler.gates["process"].set()
        await settles()
        assert handler.times("process", FIRST)
        assert len(handler.times("process", SECOND)) == 1
        assert lane.fetchable() == {FIRST, SECOND}

    run(test)


def test_a_turn_that_comes_too_late_is_forgotten() -> None:
    async def test() -> None:
        handler = FakeHandler()
        lane, _ = await ready(handler, FIRST)
        handler.gates["process"] = asyncio.Event()
        lane.turn(FIRST)
        lane.turn(SECOND)
        assert offered(lane, batch(0, 5, FIRST))
        lane.give_turns()
        handler.gates["process"].set()
        await settles()
        lane.give_turns()
        await settles()
        assert len(handler.times("process", FIRST)) == 1

    run(test)
