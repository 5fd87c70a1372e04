"""A truncate that is met late: millions of records may lie behind it, of which a worker holds few, and works on."""

from __future__ import annotations

import asyncio
import json
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from msgspec.structs import replace

from tests.case_makers import CHECKED, Partition, decision_on
from tests.envelopes import BY_COUNTER, ORDERS, change, key_of, order, orders_plan
from trueup.core.control import Truncate, decision_record
from trueup.core.ordering import Guard
from trueup.core.pipeline import DecidePlan
from trueup.core.truth_codec import peek
from trueup.model.case import Case
from trueup.model.decision import DELETED_HASH, Held
from trueup.model.errors import Fenced
from trueup.model.event import LogRecord, Position
from trueup.model.registration import Check
from trueup.runtime import truncate_run
from trueup.runtime.case_table import CaseTable
from trueup.runtime.owned_partition import OwnedPartition
from trueup.runtime.partition_memory import PartitionMemory
from trueup.runtime.truncate_run import boundary_of, truncate

AT = (5_000, 5_001)
AT_LATER = (6_000, 6_001)
FETCHED = 4_000  # records that one answer of the broker holds
Keyed = tuple[bytes | None, bytes | None, tuple[tuple[str, bytes], ...]]


class Counted(LogRecord, frozen=True, gc=True, weakref=True):
    """A record that can be seen to be let go of."""


class Log:
    """A capture partition from offset 0, which makes its records when they are read.

    :ivar most: of its records, how many were alive at once.
    """

    def __init__(self, records: Sequence[Keyed]) -> None:
        self._records = records
        self._alive: set[weakref.ref[Counted]] = set()
        self.most = 0

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        return 0, len(self._records)

    async def records(self, topic: str, partition: int, start: int, end: int) -> AsyncGenerator[list[LogRecord], None]:
        for first in range(start, min(end + 10, len(self._records)), FETCHED):  # it may say more than was asked for
            yield [self._made(n) for n in range(first, min(first + FETCHED, end + 10, len(self._records)))]

    def _made(self, offset: int) -> LogRecord:
        key, value, headers = self._records[offset]
        record = Counted("shop.public.orders", 0, offset, 1_767_607_200_000, key, value, headers)
        self._alive.add(weakref.ref(record, self._alive.discard))
        self.most = max(self.most, len(self._alive))
        return record


class Truths:
    """The truth table, without a store."""

    def __init__(self, held: Mapping[bytes, Held]) -> None:
        self.held = dict(held)

    def get_many(self, keys: Iterable[bytes]) -> dict[bytes, Held]:
        return {key: self.held[key] for key in keys if key in self.held}

    async def scan(self, keys_max: int) -> AsyncIterator[list[tuple[bytes, Held]]]:
        yield sorted(self.held.items())

    def put_many(self, changes: Mapping[bytes, Held], position: int | None) -> None:
        for key, held in changes.items():
            assert held.version > self.held[key].version
        self.held |= changes


class Producer:
    """Commits, until it is fenced.

    :param commits: how many there are before that.
    :ivar published: what went to the truth topic.
    """

    source = SimpleNamespace(topic="shop.public.orders", partition=0)

    def __init__(self, commits: int) -> None:
        self._left = commits
        self.published: list[tuple[bytes, bytes]] = []

    async def commit(self, outgoing: Sequence[Any], **_: Any) -> dict[str, int]:
        if self._left == 0:
            raise Fenced("another owner has the partition")
        self._left -= 1
        truths = [one for one in outgoing if one.topic == ORDERS.truth_topic]
        self.published += [(one.key, one.value) for one in truths]
        return {}


class World:
    """A partition where the control record of a truncate is met at the end of its log."""

    def __init__(self, plan: DecidePlan, records: Sequence[LogRecord | Keyed]) -> None:
        self.plan = plan
        self.log = Log([(r.key, r.value, r.headers) if isinstance(r, LogRecord) else r for r in records])
        self.order = Truncate(1, len(records), 7, Position(*AT))
        self.learned: set[bytes] = set()

    def owned(self, held: Mapping[bytes, Held], cases: Mapping[bytes, Case], commits: int = -1) -> OwnedPartition:
        table = CaseTable(cast(Any, None), self.plan.table, 0, 10_000, lambda *_: None)
        table.known = dict(cases)
        memory = PartitionMemory({}, Guard(1, Position(9_000_000, 9_000_001)))
        parts: Any = Producer(commits), Truths(held)
        return OwnedPartition(self.plan, parts[0], parts[1], table, memory, cast(Any, None))

    async def truncate(self, owned: OwnedPartition) -> int:
        return await truncate(self.order, cast(Any, self.log), owned, _learn, self._learn_held)

    async def _learn_held(self, held: Mapping[bytes, Held]) -> None:
        self.learned |= held.keys()

    async def boundary(self) -> int:
        return await boundary_of(self.order, cast(Any, self.log), "shop.public.orders", 0, self.plan, _learn)


async def _learn(records: Sequence[LogRecord]) -> None:
    """All schemas are known."""


def _turns(work: Callable[[], Awaitable[int]]) -> tuple[int, int]:
    """What some work says, and how many turns others on its event loop had meanwhile."""
    turns = 0

    async def among_others() -> int:
        loop = asyncio.get_running_loop()

        def turn() -> None:
            nonlocal turns
            turns += 1
            loop.call_soon(turn)

        turn()
        return await work()

    return asyncio.run(among_others()), turns


def _published(owned: OwnedPartition) -> tuple[set[int], set[int]]:
    """Numbers of the keys of which a row was published, and of those of which it was that it is gone."""
    truths = {key: peek(value) for key, value in cast(Any, owned.producer).published}
    rows = {key for key, truth in truths.items() if truth.content_hash != DELETED_HASH}
    return _numbers(rows), _numbers(truths.keys() - rows)


def _numbers(keys: Iterable[bytes]) -> set[int]:
    return {json.loads(key)["order_id"] for key in keys}


def reloaded(count: int, changes: int) -> tuple[World, dict[bytes, Held]]:
    """As many rows as changes were there, were truncated, and loaded again; half of them as they had been.

    :param count: records, most of which are tombstones, behind the 100 from before.
    """
    live, every = Partition(), count // changes
    old, same, other = (
        change(0, "c", order(1, amount=amount), position=position)
        for amount, position in (("1.00", (4_000, 4_001)), ("1.00", AT_LATER), ("2.00", AT_LATER))
    )
    live.decide(old)
    records: list[Keyed] = [(key_of(0), old.value, old.headers)] * 100
    for n in range(count):
        value = same.value if n % (2 * every) == 0 else other.value if n % every == 0 else None
        records.append((key_of(n // every), value, same.headers))
    return World(CHECKED, records), {key_of(n): live.held[key_of(1)] for n in range(changes)}


def test_few_of_many_records_are_held_at_a_time_and_other_partitions_are_let_in() -> None:
    world, held = reloaded(60_000, 1_500)
    owned = world.owned(held | {key_of(7_000): held[key_of(0)]}, {})
    done, turns = _turns(lambda: world.truncate(owned))
    assert world.log.most <= 2 * FETCHED + 300, "one answer, while the next comes in"
    assert turns > 3 * 60_000 // 300, "in each walk over the records"
    # What is held of every key is of before: so each row that was loaded again is published, unchanged or not.
    assert _published(owned) == (set(range(1_500)), {7_000})
    assert done == 1_501


def test_where_a_truncate_would_stand_is_found_with_few_records_at_a_time() -> None:
    world, _ = reloaded(60_000, 600)
    boundary, turns = _turns(world.boundary)
    assert boundary == 100
    assert world.log.most <= 2 * FETCHED + 300, "one answer, while the next comes in"
    assert turns > 60_000 // 300


RANKED = orders_plan(replace(BY_COUNTER, checks=[Check(column="amount", min=0, on_violation="escalate")]))


def lived(plan: DecidePlan) -> tuple[World, dict[bytes, Held], dict[bytes, Case]]:
    """A partition of twelve keys, of which all came from before: some were loaded again, some were changed, deleted,
    refused, or decided by people, some are not there."""
    live, records = Partition(plan), list[LogRecord]()

    def said(op: str, key: int, position: tuple[int, int], **values: Any) -> None:
        record = change(len(records), op, order(key, **values), position=position)
        records.append(record)
        live.decide(record)

    def person(key: int, take: str) -> None:
        decision = decision_on(live.case(key), take)
        record = decision_record("shop.public.orders", 0, 1, b"", key_of(key), decision)
        records.append(replace(record, offset=len(records)))
        live.obey(decision, records[-1].offset, key)

    for key in range(12):
        said("c", key, (4_000, 4_000 + key), row_version=1, amount="-3.00" if key in {9, 10} else "10.00")
    for key in range(9):
        amount, row_version = [("10.00", 1), ("11.00", 4), ("-1.00", 4)][key % 3]
        said("c", key, AT_LATER, row_version=row_version, amount=amount)
    person(2, "A")
    person(5, "B")
    said("u", 8, AT_LATER, row_version=9, amount="-2.00")
    said("d", 3, AT_LATER, row_version=4)
    said("u", 2, AT_LATER, row_version=12, amount="10.00")
    said("r", 11, AT_LATER, row_version=1)
    return World(plan, records), live.held, live.cases


@pytest.mark.parametrize(
    ("plan", "rows", "gone"),
    [
        pytest.param(CHECKED, {0, 6}, {8, 11}, id="log"),
        pytest.param(RANKED, set(), {0, 6, 8, 11}, id="column"),  # a rank that was truncated is asked about
    ],
)
def test_batches_and_parts_and_kills_change_nothing(
    plan: DecidePlan, rows: set[int], gone: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, held, cases = lived(plan)
    whole = world.owned(held, cases)
    done = asyncio.run(world.truncate(whole))
    assert _published(whole) == (rows, gone)
    assert _numbers(world.learned) == {*range(9), 11}, "what is held may be of a former schema"
    assert asyncio.run(world.truncate(whole)) == 0, "nothing is left to do"
    for name in ("_PART_RECORDS", "_PART_RECORDS_WITH_ROWS", "_TURN_RECORDS", "_TURN_KEYS", "_BACK_RECORDS"):
        monkeypatch.setattr(truncate_run, name, 2)
    monkeypatch.setattr("trueup.runtime.owned_partition._TRUTHS_MAX", 1)
    for commits in (-1, *range(done + 1)):
        owned = world.owned(held, cases, commits)
        if commits >= 0:
            with pytest.raises(Fenced):
                asyncio.run(world.truncate(owned))
            owned = world.owned(cast(Any, owned.table).held, owned.cases.known)
        asyncio.run(world.truncate(owned))
        assert cast(Any, owned.table).held == cast(Any, whole.table).held
        assert owned.cases.known == whole.cases.known
