"""Without committed offsets the truth is the witness of its capture topic, whatever a truncate deleted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

import msgspec
import pytest

from tests.envelopes import ORDERS, change, key_of, order, orders_plan
from trueup.core.capture_topic import CaptureLog
from trueup.core.control import Truncate, truncate_record
from trueup.core.ordering import Guard
from trueup.core.pipeline import decide_batch
from trueup.model.decision import DELETED_HASH, Held
from trueup.model.errors import TopicChanged
from trueup.model.event import LogRecord, Position
from trueup.model.registration import Check
from trueup.model.version import make_version
from trueup.runtime.capture_check import check_capture
from trueup.runtime.partition_memory import PartitionMemory

TOPIC = "cluster/topic"
PLAN = orders_plan(msgspec.structs.replace(ORDERS, checks=[Check(column="amount", min=0)]))
TRUNCATED_AT = Position(5_000, 5_001)


class Log:
    """A capture partition with gaps where transaction markers are."""

    def __init__(self, *records: LogRecord) -> None:
        self._records = sorted(records, key=lambda record: record.offset)
        self.end = self._records[-1].offset + 2

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        return 0, self.end

    async def records(self, topic: str, partition: int, start: int, end: int) -> AsyncIterator[list[LogRecord]]:
        if found := [record for record in self._records if start <= record.offset < end]:
            yield found


class Truths:
    def __init__(self, held: dict[bytes, Held]) -> None:
        self._held = held

    async def scan(self, keys_max: int) -> AsyncIterator[list[tuple[bytes, Held]]]:
        yield list(self._held.items())


def start_of(log: Log, held: dict[bytes, Held]) -> int:
    async def learn(records: Sequence[LogRecord]) -> None:
        """All schemas are known."""

    found = CaptureLog(topic=TOPIC, partition=0, begin=0, end=log.end)
    fakes = cast(Any, log), cast(Any, Truths(held))
    return asyncio.run(check_capture(fakes[0], PLAN, found, None, PartitionMemory.read(""), fakes[1], learn))


def held_of_row(offset: int, row: dict[str, Any]) -> Held:
    (truth,) = decide_batch([change(offset, "c", row)], {}, Guard(), PLAN).truths
    return Held(truth.version, truth.content_hash)


def control(offset: int, topic: str = TOPIC, position: Position = TRUNCATED_AT) -> LogRecord:
    record = truncate_record(ORDERS.capture_topic, 0, topic.encode(), Truncate(1, offset, 7, position))
    return msgspec.structs.replace(record, offset=offset)


# Of key 1 a row came after the truncate and was refused, so it is deleted as of before: at offset 19, of a marker.
REFUSED = change(20, "c", order(1, amount="-1.00"), position=(6_000, 6_001))
BEFORE = [change(10, "c", order(1)), change(11, "c", order(2))]
GONE = {key_of(1): Held(make_version(1, 19), DELETED_HASH)}
OTHER = {key_of(2): Held(make_version(1, 22), DELETED_HASH)}


def test_a_row_that_a_truncate_deleted_between_records_is_a_witness() -> None:
    log = Log(*BEFORE, REFUSED, control(22))
    assert start_of(log, GONE) == 0
    assert start_of(log, GONE | OTHER) == 0


@pytest.mark.parametrize(
    "records",
    [
        pytest.param([REFUSED], id="no truncate"),
        pytest.param([REFUSED, control(22, "another topic")], id="a truncate copied from elsewhere"),
        pytest.param([control(22)], id="nothing came after the truncate, it would stand at its control record"),
        pytest.param([REFUSED, control(22, position=Position(7_000, 7_001))], id="another truncate"),
        pytest.param([control(15), change(16)], id="a truncate of before"),
    ],
)
def test_a_topic_that_holds_no_such_truncate_was_made_anew(records: list[LogRecord]) -> None:
    with pytest.raises(TopicChanged, match="made anew"):
        start_of(Log(*BEFORE, *records), GONE)


def test_a_row_is_a_witness_by_its_content_and_its_place() -> None:
    held = {key_of(2): held_of_row(11, order(2))}
    assert start_of(Log(*BEFORE), held) == 0
    for other in (change(11, "c", order(2, amount="11.00")), change(12, "c", order(2)), change(11, "c", order(3))):
        with pytest.raises(TopicChanged):
            start_of(Log(BEFORE[0], other), held)
    with pytest.raises(TopicChanged):
        start_of(Log(BEFORE[0]), held)
