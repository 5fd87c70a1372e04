"""The cases of a partition in memory: what is remembered of them, when the table stops, and what the metrics say."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from tests.case_makers import CHECKED, Partition, decision_on
from tests.envelopes import change, key_of, order
from trueup.core.cases import decode_case, encode_case
from trueup.model.case import Case, CaseStatus
from trueup.model.errors import DeadLetterCapReached
from trueup.runtime.case_table import CaseTable
from trueup.runtime.metrics import DecideMetrics, OpenCases

TABLE = CHECKED.table


class Topic:
    """The cases topic as the table reads it."""

    def __init__(self, *cases: Case) -> None:
        self._pairs = [(case.key.encode(), encode_case(case)) for case in cases]

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        assert (topic, partition) == ("trueup.cases.orders", 0)
        return 0, len(self._pairs)

    async def read(self, *_: object) -> AsyncIterator[tuple[list[tuple[bytes, bytes]], int]]:
        for number, pair in enumerate(self._pairs, 1):
            yield [pair], number


def table(*cases: Case, cases_max: int = 100, told: list[list[int]] | None = None) -> CaseTable:
    def on_open(name: str, partition: int, deadlines_us: Iterable[int]) -> None:
        assert (name, partition) == ("orders", 0)
        if told is not None:
            told.append(list(deadlines_us))

    topic: Any = Topic(*cases)
    made = CaseTable(topic, TABLE, 0, cases_max, on_open)
    asyncio.run(made.catch_up())
    return made


def case_of(order_id: int) -> Case:
    partition = Partition()
    partition.decide(change(order_id, row=order(order_id, amount="-1.00")))
    return partition.case(order_id)


def test_the_newest_record_of_a_key_is_what_is_so() -> None:
    first, other = case_of(1), case_of(2)
    over = replace(first, status=CaseStatus.SUPERSEDED)
    assert table(first, other, over).known == {key_of(2): other}


def test_of_a_decided_case_the_rows_are_forgotten_and_the_rest_is_not() -> None:
    partition = Partition()
    partition.decide(change(0, row=order(amount="-1.00")))
    partition.obey(decision_on(partition.case(), "A"), 3)
    ((_, remembered),) = partition.cases.items()
    found = table(replace(remembered, sides=tuple(replace(s, row={"order_id": 1}) for s in remembered.sides)))
    assert found.known == {key_of(1): remembered}
    assert not found.open
    assert {side.row for side in remembered.sides} == {None}


def test_deadlines_are_told_whenever_cases_change() -> None:
    told: list[list[int]] = []
    first = case_of(1)
    held = table(first, told=told)
    held.put_many({key_of(2): case_of(2)})
    held.put_many({key_of(1): replace(first, status=CaseStatus.SUPERSEDED)})
    held.close()
    assert list(map(len, told)) == [1, 2, 1, 0]


def test_too_many_cases_stop_the_table_and_those_that_end_do_not() -> None:
    first, second = case_of(1), case_of(2)
    held = table(first, cases_max=1)
    assert len(held.outgoing({key_of(1): first})) == 1, "an image of an open case is no more than there was"
    with pytest.raises(DeadLetterCapReached, match="open cases") as stop:
        held.outgoing({key_of(2): second})
    assert "raise worker.dead_letters_per_table_max" in (stop.value.hint or "")
    assert len(held.outgoing({key_of(1): replace(first, status=CaseStatus.DECIDED)})) == 1


def test_what_goes_out_is_the_case_under_the_bytes_of_its_key() -> None:
    (record,) = table().outgoing({key_of(1): case_of(1)})
    assert (record.topic, record.key) == ("trueup.cases.orders", key_of(1))
    assert record.value is not None
    assert decode_case(record.value) == case_of(1)


def test_the_metrics_begin_with_zero_and_count_overdue_cases_at_the_hour_one_asks() -> None:
    registry, now_s = CollectorRegistry(), [100.0]
    found = OpenCases(["orders", "stock"], lambda: now_s[0])
    registry.register(found)

    def values() -> tuple[float | None, ...]:
        names = ("trueup_cases_open", "trueup_cases_overdue")
        return tuple(registry.get_sample_value(name, {"table": t}) for t in ("orders", "stock") for name in names)

    assert values() == (0, 0, 0, 0)
    found.set("orders", 0, [101_000_000])
    found.set("orders", 1, [99_000_000, 103_000_000])
    assert values() == (3, 1, 0, 0)
    now_s[0] = 102.0
    assert values() == (3, 2, 0, 0)
    found.set("orders", 1, [])
    assert values() == (1, 1, 0, 0)


def test_a_decide_worker_has_them() -> None:
    registry = CollectorRegistry()
    DecideMetrics(registry, ["orders"]).cases("orders", 2, [1])
    assert registry.get_sample_value("trueup_cases_overdue", {"table": "orders"}) == 1
