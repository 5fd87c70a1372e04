"""TruthStore and TruthTable: a cache of the truth topic that can be lost, old or of another topic."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.envelopes import change, order, orders_plan
from tests.waiting import becomes
from trueup.adapters.kafka_transactions import Outgoing, PartitionProducer
from trueup.adapters.truth_log import TruthLog
from trueup.adapters.truth_store import TruthStore, bytes_of
from trueup.core.ordering import Guard
from trueup.core.pipeline import decide_batch
from trueup.core.truth_codec import peek
from trueup.model.decision import DELETED_HASH, Held
from trueup.model.event import LogRecord
from trueup.model.version import make_version
from trueup.runtime.truth_table import TruthTable

A = Held(make_version(1, 4), b"a" * 16)
B = Held(make_version(1, 9), DELETED_HASH, 11)
PLAN = orders_plan()


raw = bytes_of


# --- the store, without servers ---------------------------------------------------------------------------------------


def test_everything_held_is_walked_in_order_while_it_is_written(tmp_path: Path) -> None:
    store = TruthStore(tmp_path / "orders" / "0", b"identity")
    assert store.scan(None, 10) == []
    keys = [b"", b"a", b"a\0", b"b", b"b\xff"]
    store.put_many(dict.fromkeys(keys, raw(A)), 3)
    first = store.scan(None, 3)
    assert first == [(key, A) for key in keys[:3]]
    store.put_many({b"a": raw(B), b"c": raw(B)}, 4)
    rest = store.scan(first[-1][0], 3)
    assert rest == [(b"b", A), (b"b\xff", A), (b"c", B)]
    assert store.scan(b"c", 3) == []
    store.close()


@pytest.mark.parametrize("origin", ["shop", None])
@pytest.mark.parametrize("refused_at", [-1, 0, 2**62])
def test_a_truth_record_that_is_kept_comes_back_with_its_origin(
    tmp_path: Path, origin: str | None, refused_at: int
) -> None:
    store = TruthStore(tmp_path / "orders" / "0", b"identity with rows")
    kept = Held(make_version(1, 4), b"a" * 16, refused_at, b"the record's \0 bytes", origin)
    store.put_many({b"k": raw(kept), b"without": raw(A)}, 1)
    assert store.get_many([b"k", b"without"]) == {b"k": kept, b"without": A}
    store.close()


def test_what_is_put_is_got_and_survives_the_process(tmp_path: Path) -> None:
    store = TruthStore(tmp_path / "orders" / "0", b"identity")
    assert store.position == 0
    assert store.get_many([b"k1", b""]) == {}
    store.put_many({b"k1": raw(A), b"": raw(B)}, 12)
    store.close()
    store = TruthStore(tmp_path / "orders" / "0", b"identity")
    assert store.position == 12
    assert store.get_many([b"k1", b"", b"k2"]) == {b"k1": A, b"": B}
    store.close()


@pytest.mark.parametrize("identity", [b"", b"another", b"identity\x00"])
def test_a_store_of_another_identity_is_discarded(tmp_path: Path, identity: bytes) -> None:
    store = TruthStore(tmp_path / "0", b"identity")
    store.put_many({b"k1": raw(A)}, 12)
    store.close()
    store = TruthStore(tmp_path / "0", identity)
    assert (store.position, store.get_many([b"k1"])) == (0, {})
    store.put_many({b"k1": raw(B)}, 3)
    store.close()
    store = TruthStore(tmp_path / "0", identity)
    assert (store.position, store.get_many([b"k1"])) == (3, {b"k1": B})
    store.close()


def test_keys_do_not_meet_the_store_s_own(tmp_path: Path) -> None:
    store = TruthStore(tmp_path / "0", b"identity")
    store.put_many({b"p": raw(A), b"i": raw(B), b"kp": raw(A)}, 5)
    assert store.position == 5
    assert store.get_many([b"p", b"i", b"kp"]) == {b"p": A, b"i": B, b"kp": A}
    store.close()


def test_discarding_forgets_everything(tmp_path: Path) -> None:
    store = TruthStore(tmp_path / "0", b"identity")
    store.put_many({b"k1": raw(A)}, 12)
    store.discard()
    assert (store.position, store.get_many([b"k1"])) == (0, {})
    store.close()


# --- the table, with a log in memory ----------------------------------------------------------------------------------


class FakeLog:
    """A truth partition whose end may lie behind a marker."""

    def __init__(self, values: list[tuple[bytes, bytes]], begin: int = 0, markers: int = 1) -> None:
        self.values, self.begin, self.end = values, begin, begin + len(values) + markers
        self.starts: list[int] = []

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        return self.begin, self.end

    async def read(
        self, topic: str, partition: int, start: int, end: int
    ) -> AsyncIterator[tuple[list[tuple[bytes, bytes]], int]]:
        self.starts.append(start)
        for offset in range(start, self.begin + len(self.values)):
            yield [self.values[offset - self.begin]], offset + 1
        yield [], end


def table(log: Any, path: Path) -> TruthTable:
    return TruthTable(log, path, "trueup.truth.orders", 0, b"identity")


def truths(*changes: LogRecord) -> list[tuple[bytes, bytes]]:
    decided = decide_batch(changes, {}, Guard(), PLAN)
    return [(truth.key, PLAN.codec.encode(truth)) for truth in decided.truths]


LOGGED = truths(change(0), change(1, row=order(2)), change(2, "d", order(1)), change(3, "u", order(2, amount="3.00")))


def expected(values: list[tuple[bytes, bytes]]) -> dict[bytes, Held]:
    return {key: peek(value) for key, value in values}


def test_a_lost_store_is_filled_from_the_log(tmp_path: Path) -> None:
    async def test() -> None:
        log = FakeLog(LOGGED)
        truth = table(log, tmp_path / "0")
        assert (await truth.catch_up())[0] == 4
        assert truth.get_many(dict(LOGGED)) == expected(LOGGED)
        assert (await truth.catch_up())[0] == 0
        assert log.starts == [0], "at the end behind the marker nothing is read"
        truth.close()

    asyncio.run(test())


def test_an_old_store_reads_only_what_it_lacks(tmp_path: Path) -> None:
    async def test() -> None:
        truth = table(FakeLog(LOGGED[:2], markers=0), tmp_path / "0")
        await truth.catch_up()
        truth.close()
        log = FakeLog(LOGGED)
        truth = table(log, tmp_path / "0")
        assert (await truth.catch_up())[0] == 2
        assert log.starts == [2]
        assert truth.get_many(dict(LOGGED)) == expected(LOGGED)
        truth.close()

    asyncio.run(test())


def test_a_log_whose_beginning_was_deleted_is_read_from_where_it_begins(tmp_path: Path) -> None:
    async def test() -> None:
        log = FakeLog(LOGGED, begin=100)
        truth = table(log, tmp_path / "0")
        await truth.catch_up()
        assert log.starts == [100]
        truth.close()

    asyncio.run(test())


def test_a_log_that_is_shorter_than_the_store_is_another_log(tmp_path: Path) -> None:
    async def test() -> None:
        truth = table(FakeLog([]), tmp_path / "0")
        truth.put_many({b"ghost": A}, 1_000)
        await truth.catch_up()
        assert truth.get_many([b"ghost"]) == {}
        truth.close()
        log = FakeLog(LOGGED)
        truth = table(log, tmp_path / "0")
        truth.put_many({b"ghost": A}, 1_000)
        await truth.catch_up()
        assert log.starts == [0]
        assert truth.get_many([b"ghost", *dict(LOGGED)]) == expected(LOGGED)
        truth.close()

    asyncio.run(test())


# --- against the broker -----------------------------------------------------------------------------------------------


@pytest.fixture
def truth_topic(broker: str) -> Iterator[tuple[str, str]]:
    name = f"test.truth.{uuid.uuid4().hex[:12]}"

    async def admin(create: bool) -> None:
        client = AIOKafkaAdminClient(bootstrap_servers=broker)
        await client.start()
        try:
            await (client.create_topics([NewTopic(name, 1, 1)]) if create else client.delete_topics([name]))
        finally:
            await client.close()

    asyncio.run(admin(create=True))
    yield broker, name
    asyncio.run(admin(create=False))


@pytest.mark.integration
def test_catching_up_equals_a_direct_read_however_the_store_was_left(
    truth_topic: tuple[str, str], tmp_path: Path
) -> None:
    broker, topic = truth_topic

    async def test() -> None:
        log = TruthLog(broker)
        producer = PartitionProducer(broker, topic, 0, 20_000)
        await producer.start()
        kept = TruthTable(log, tmp_path / "kept", topic, 0, b"identity")
        for number, (key, value) in enumerate(LOGGED * 3):
            written = await producer.commit([Outgoing(topic, key, value)], group=topic, next_offset=number, metadata="")
            if number < 4:  # as the worker does it, after the commit; then it "crashes" between commit and store
                kept.put_many({key: peek(value)}, written[topic])
        begin, end = 0, 2 * len(LOGGED * 3)  # each with its marker, the last of which is written after its commit
        await becomes(lambda: log.bounds(topic, 0), (begin, end))
        direct = {key: peek(value or b"") async for pairs, _ in log.read(topic, 0, begin, end) for key, value in pairs}
        lost = TruthTable(log, tmp_path / "lost", topic, 0, b"identity")
        assert (await kept.catch_up())[0] == 8
        assert (await lost.catch_up())[0] == 12
        for caught_up in (kept, lost):
            assert caught_up.get_many(direct) == direct == expected(LOGGED)
            assert (await caught_up.catch_up())[0] == 0
            caught_up.close()
        await producer.stop()
        await log.stop()

    asyncio.run(asyncio.wait_for(test(), 60))
