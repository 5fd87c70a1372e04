"""PartitionProducer and TruthLog against a real broker: fencing, atomicity, committed reads, trailing markers.

Topics have names of their own and are deleted at the end.
"""

from __future__ import annotations

import asyncio
import gc
import uuid
from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.structs import TopicPartition

from tests.largest_memory import largest_of_writers
from tests.waiting import becomes
from trueup.adapters.kafka_transactions import Outgoing, PartitionProducer
from trueup.adapters.truth_log import TruthLog
from trueup.model.errors import Fenced
from trueup.runtime.partition_memory import PartitionMemory

pytestmark = pytest.mark.integration

TIMEOUT_MS = 20_000
WITHIN_S = 60.0

Test = Callable[[], Coroutine[Any, Any, None]]


@pytest.fixture
def topics(broker: str) -> Iterator[tuple[str, str]]:
    """A capture and a truth topic, and a group that is called as the capture topic."""
    unique = uuid.uuid4().hex[:12]
    names = (f"test.capture.{unique}", f"test.truth.{unique}")

    async def admin(work: Callable[[AIOKafkaAdminClient], Coroutine[Any, Any, Any]]) -> None:
        client = AIOKafkaAdminClient(bootstrap_servers=broker)
        await client.start()
        try:
            await work(client)
        finally:
            await client.close()

    asyncio.run(admin(lambda client: client.create_topics([NewTopic(name, 2, 1) for name in names])))
    yield names
    asyncio.run(admin(lambda client: client.delete_topics(list(names))))


_open: list[PartitionProducer | TruthLog] = []
"""Clients of the running test: closed also when it fails, so that they warn in no other test."""


def run(test: Test) -> None:
    """Runs a test and closes its clients; nothing may be left that the loop would report when it is collected.

    An exception that nobody fetched is logged whenever the collector comes by, in a worker beside the error that says
    it all. In Python 3.11 that can break an `ast.parse` which the collector came by in, and pytest with it.
    """
    reported: list[dict[str, Any]] = []

    async def closing() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
        try:
            await asyncio.wait_for(test(), WITHIN_S)
        finally:
            while _open:
                await _open.pop().stop()
        gc.collect()

    asyncio.run(closing())
    assert reported == []


def truth_log(broker: str) -> TruthLog:
    log = TruthLog(broker)
    _open.append(log)
    return log


async def started(broker: str, topic: str, partition: int = 0) -> PartitionProducer:
    producer = PartitionProducer(broker, topic, partition, TIMEOUT_MS)
    _open.append(producer)
    await producer.start()
    return producer


def records(topic: str, *values: str) -> list[Outgoing]:
    return [Outgoing(topic, b"k", value.encode()) for value in values]


async def read(broker: str, topic: str, partition: int = 0, isolation: str = "read_committed") -> list[str]:
    """Everything up to the end as this isolation sees it, by a client that is not ours."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=broker, group_id=None, auto_offset_reset="earliest", isolation_level=isolation
    )
    tp = TopicPartition(topic, partition)
    await consumer.start()
    try:
        consumer.assign([tp])
        end = (await consumer.end_offsets([tp]))[tp]
        values: list[str] = []
        while await consumer.position(tp) < end:
            batches = await consumer.getmany(tp, timeout_ms=500)
            values += [record.value.decode() for record in batches.get(tp, ())]
        return values
    finally:
        await consumer.stop()


async def begun(producer: PartitionProducer, outgoing: list[Outgoing]) -> None:
    """A transaction whose records have reached the broker and which nobody ends."""
    client = producer._producer
    await client.begin_transaction()
    await producer._send(outgoing)


def pause_after_sending(producer: PartitionProducer, sent: asyncio.Event, go_on: asyncio.Event) -> None:
    """SIGSTOP in the middle of a commit, in one process: the records are at the broker, the offset is not."""
    send = producer._send

    async def paused(outgoing: Iterable[Outgoing]) -> dict[str, int]:
        written = await send(outgoing)
        sent.set()
        await go_on.wait()
        return written

    producer._send = paused  # type: ignore[method-assign,assignment]


def test_records_offset_and_metadata_travel_together(broker: str, topics: tuple[str, str]) -> None:
    capture, truth = topics

    async def test() -> None:
        producer, log = await started(broker, capture), truth_log(broker)
        assert await log.committed(capture, capture, 0) is None
        first = await producer.commit(records(truth, "a", "b"), group=capture, next_offset=7, metadata="one")
        assert first == {truth: 2}
        await becomes(lambda: log.committed(capture, capture, 0), (7, "one"))
        second = await producer.commit(
            records(truth, "c") + records(capture, "dead"), group=capture, next_offset=9, metadata="two"
        )
        assert second == {truth: 4, capture: 1}, "behind the marker of the first transaction"
        await becomes(lambda: log.committed(capture, capture, 0), (9, "two"))
        await becomes(lambda: read(broker, truth), ["a", "b", "c"])

    run(test)


def test_the_next_owner_reads_what_was_committed_last(broker: str, topics: tuple[str, str]) -> None:
    """A commit returns before its markers are written, and a read may see the offset before; a start waits for them."""
    capture, truth = topics

    async def test() -> None:
        log = truth_log(broker)
        for number in range(20):
            owner = await started(broker, capture)
            if number:
                assert await log.committed(capture, capture, 0) == (number - 1, f"{number - 1}")
                assert await log.bounds(truth, 0) == (0, 2 * number)
            await owner.commit(records(truth, f"{number}"), group=capture, next_offset=number, metadata=f"{number}")

    run(test)


def test_a_batch_without_truths_moves_the_offset_all_the_same(broker: str, topics: tuple[str, str]) -> None:
    capture, truth = topics

    async def test() -> None:
        producer, log = await started(broker, capture), truth_log(broker)
        assert await producer.commit([], group=capture, next_offset=3, metadata="ignored: 3") == {}
        await becomes(lambda: log.committed(capture, capture, 0), (3, "ignored: 3"))
        assert await read(broker, truth) == []

    run(test)


def test_the_next_owner_fences_the_former_one(broker: str, topics: tuple[str, str]) -> None:
    """Nothing of what the zombie had begun is readable, and nothing it tries afterwards."""
    capture, truth = topics

    async def test() -> None:
        log = truth_log(broker)
        zombie = await started(broker, capture)
        await zombie.commit(records(truth, "committed"), group=capture, next_offset=1, metadata="zombie")
        stopped_at, sent = asyncio.Event(), asyncio.Event()
        pause_after_sending(zombie, sent, stopped_at)
        late = asyncio.create_task(
            zombie.commit(records(truth, "lost 1", "lost 2"), group=capture, next_offset=5, metadata="zombie")
        )
        await sent.wait()
        owner = await started(broker, capture)
        assert await log.committed(capture, capture, 0) == (1, "zombie"), "a started owner sees what was committed"
        await owner.commit(records(truth, "mine"), group=capture, next_offset=2, metadata="owner")
        stopped_at.set()
        with pytest.raises(Fenced):
            await late
        await becomes(lambda: read(broker, truth), ["committed", "mine"])
        assert "lost 1" in await read(broker, truth, isolation="read_uncommitted"), "it had reached the broker"
        await becomes(lambda: log.committed(capture, capture, 0), (2, "owner"))

    run(test)


def test_an_idle_zombie_is_fenced_at_its_next_batch(broker: str, topics: tuple[str, str]) -> None:
    capture, truth = topics

    async def test() -> None:
        log = truth_log(broker)
        zombie = await started(broker, capture)
        await zombie.commit(records(truth, "a"), group=capture, next_offset=1, metadata="zombie")
        owner = await started(broker, capture)
        with pytest.raises(Fenced):
            await zombie.commit(records(truth, "lost"), group=capture, next_offset=5, metadata="zombie")
        await owner.commit(records(truth, "b"), group=capture, next_offset=2, metadata="owner")
        await becomes(lambda: read(broker, truth), ["a", "b"])
        await becomes(lambda: log.committed(capture, capture, 0), (2, "owner"))

    run(test)


def test_partitions_do_not_fence_each_other(broker: str, topics: tuple[str, str]) -> None:
    capture, truth = topics

    async def test() -> None:
        first, second = await started(broker, capture, 0), await started(broker, capture, 1)
        await first.commit(records(truth, "zero"), group=capture, next_offset=1, metadata="")
        await second.commit(records(truth, "one"), group=capture, next_offset=1, metadata="")
        await becomes(lambda: read(broker, truth, 0), ["zero"])
        await becomes(lambda: read(broker, truth, 1), ["one"])

    run(test)


def test_an_unfinished_transaction_is_invisible_and_ends_with_the_next_owner(
    broker: str, topics: tuple[str, str]
) -> None:
    capture, truth = topics

    async def test() -> None:
        log = truth_log(broker)
        dead = await started(broker, capture)
        await begun(dead, records(truth, "unfinished"))
        assert await read(broker, truth) == []
        assert await log.bounds(truth, 0) == (0, 0), "the last stable offset stays before it"
        await started(broker, capture)
        assert await log.bounds(truth, 0) == (0, 2), "aborted by the start of the next owner: a record and its marker"
        assert await read(broker, truth) == []

    run(test)


def test_reading_ends_behind_a_trailing_marker(broker: str, topics: tuple[str, str]) -> None:
    capture, truth = topics

    async def test() -> None:
        producer, log = await started(broker, capture), truth_log(broker)
        for number in range(3):
            await producer.commit(records(truth, f"{number}"), group=capture, next_offset=number, metadata="")
        begin, end = 0, 6
        await becomes(lambda: log.bounds(truth, 0), (begin, end))
        values: list[bytes | None] = []
        position = begin
        async for pairs, position in log.read(truth, 0, begin, end):  # noqa: B007 - read after the loop
            values += [value for _, value in pairs]
        assert (values, position) == ([b"0", b"1", b"2"], end)
        async for pairs, position in log.read(truth, 0, 5, end):  # noqa: B007 - read after the loop
            assert pairs == [], "nothing but the marker is left"
        assert position == end
        async for _ in log.read(truth, 0, end, end):
            pytest.fail("at the end nothing is to be read")

    run(test)


def test_reading_passes_over_what_was_aborted(broker: str, topics: tuple[str, str]) -> None:
    capture, truth = topics

    async def test() -> None:
        log = truth_log(broker)
        dead = await started(broker, capture)
        await dead.commit(records(truth, "a"), group=capture, next_offset=1, metadata="")
        await begun(dead, records(truth, "aborted"))
        owner = await started(broker, capture)
        await owner.commit(records(truth, "b"), group=capture, next_offset=2, metadata="")
        await begun(owner, records(truth, "aborted too"))
        await started(broker, capture)
        begin, end = await log.bounds(truth, 0)
        found = [value async for pairs, _ in log.read(truth, 0, begin, end) for _, value in pairs]
        assert found == [b"a", b"b"]

    run(test)


def test_a_batch_of_many_requests_keeps_its_order(broker: str, topics: tuple[str, str]) -> None:
    """Larger than one Kafka batch, with a record that is larger than one by itself."""
    capture, truth = topics
    sizes = [200] * 3_000 + [900_000] + [200] * 3_000

    async def test() -> None:
        producer, log = await started(broker, capture), truth_log(broker)
        outgoing = [Outgoing(truth, b"k", f"{n}:".encode().ljust(size, b"x")) for n, size in enumerate(sizes)]
        written = await producer.commit(outgoing, group=capture, next_offset=1, metadata="")
        assert written == {truth: len(sizes)}
        await becomes(lambda: log.bounds(truth, 0), (0, len(sizes) + 1))
        found = await read(broker, truth)
        assert [int(value.partition(":")[0]) for value in found] == list(range(len(sizes)))
        assert [len(value) for value in found] == sizes

    run(test)


def test_headers_arrive(broker: str, topics: tuple[str, str]) -> None:
    capture, truth = topics

    async def test() -> None:
        producer = await started(broker, capture)
        headers = (("trueup.stage", b"decode"), ("trueup.epoch", b"1"))
        outgoing = [Outgoing(truth, None, None, headers), Outgoing(truth, b"", b"\x00", ())]
        await producer.commit(outgoing, group=capture, next_offset=1, metadata="")
        consumer = AIOKafkaConsumer(bootstrap_servers=broker, group_id=None, auto_offset_reset="earliest")
        await consumer.start()
        consumer.assign([TopicPartition(truth, 0)])
        first, second = await consumer.getone(), await consumer.getone()
        assert (first.key, first.value, first.headers) == (None, None, headers)
        assert (second.key, second.value) == (b"", b"\x00")
        await consumer.stop()

    run(test)


def test_the_largest_memory_is_taken_by_the_broker(broker: str, topics: tuple[str, str]) -> None:
    capture, _ = topics
    largest = largest_of_writers()

    async def test() -> None:
        producer, log = await started(broker, capture), truth_log(broker)
        await producer.commit([], group=capture, next_offset=1, metadata=largest.write())
        await becomes(lambda: log.committed(capture, capture, 0), (1, largest.write()))
        assert PartitionMemory.read(largest.write()) == largest

    run(test)
