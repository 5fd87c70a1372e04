"""Wherever the control record of a truncate is met: the truth holds what the source holds, and what was before is gone.

A model of a source with writes, refused writes, deletes, truncates, chunks of an incremental snapshot that are read at
one time and sent at another, and a capture that repeats itself; the real decisions, and kills in the middle.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.envelopes import BY_COUNTER, ORDERS, change, key_of, order, orders_plan
from tests.replays import settled
from trueup.core.control import Truncate, order_of
from trueup.core.decode import truncate_event
from trueup.core.ordering import Guard
from trueup.core.pipeline import DecidePlan, decide_batch, held_of
from trueup.core.truncation import (
    Ordered,
    deletion,
    is_row_of_before,
    keys_of,
    orders_of,
    place_in,
    version_deleted,
)
from trueup.model.decision import DELETED_HASH, Held, TruthRecord
from trueup.model.event import LogRecord
from trueup.model.registration import Check
from trueup.model.version import Version

IDENTITY = b"cluster/topic"
CHECKS = [Check(column="amount", min=0)]
PLANS = {
    name: orders_plan(msgspec.structs.replace(table, checks=CHECKS))
    for name, table in (("log", ORDERS), ("column", BY_COUNTER))
}
TIME_US = 1_767_607_200_000_000

WRITES = st.tuples(st.sampled_from(["write", "same", "refused", "delete"]), st.integers(1, 4))
CHUNKS = st.tuples(st.sampled_from(["read", "send"]), st.just(0))
REPEATS = st.tuples(st.just("repeat"), st.integers(1, 4))
TRUNCATES = st.tuples(st.just("truncate"), st.integers(0, 6))
STEPS = st.lists(st.one_of(WRITES, WRITES, CHUNKS, REPEATS, TRUNCATES), max_size=30)


class Source:
    """A table and one partition of its capture topic. `wanted`: by key, the content copies must have at the end."""

    def __init__(self, *, ranked: bool) -> None:
        self.rows: dict[int, dict[str, Any]] = {}
        self.wanted: dict[int, dict[str, Any]] = {}
        self.log: list[LogRecord] = []
        self._streamed: list[LogRecord] = []
        self._chunk: dict[int, dict[str, Any]] | None = None
        self._waiting: list[tuple[int, LogRecord]] = []  # control records under way: how many records come before
        self._lsn = self._counter = 0
        self._latest: dict[int, dict[str, Any]] = {}  # what "same" writes again
        self._ranked = ranked

    def take(self, step: tuple[str, int]) -> None:
        what, number = step
        match what:
            case "write" | "refused" | "same":
                self._write(number, what)
            case "delete" if number in self.rows:
                self._stream(number, "d", self.rows.pop(number))
                self.wanted.pop(number, None)
            case "truncate":
                self._truncate(number)
            case "read" if self._chunk is None:
                self._chunk = dict(self.rows)
            case "send" if self._chunk is not None:
                self._lsn += 10  # the watermark that closes the chunk is in the log too
                for row in self._chunk.values():
                    self._append(change(len(self.log), "r", row, position=self._position()))
                self._chunk = None
            case "repeat":
                for record in self._streamed[-number:]:
                    self._append(msgspec.structs.replace(record, offset=len(self.log)))

    def end(self) -> None:
        self.take(("send", 0))
        for _, record in self._waiting:
            self.log.append(msgspec.structs.replace(record, offset=len(self.log)))
        self._waiting.clear()

    def _write(self, key: int, what: str) -> None:
        self._counter += 1
        row = order(key, amount=f"{self._counter}.00", row_version=self._counter)
        if what == "refused":
            row["amount"] = "-1.00"
        elif what == "same" and key in self._latest and not self._ranked:
            row = self._latest[key]
        before = self.rows.get(key)
        self.rows[key] = row
        if row["amount"] != "-1.00":
            self._latest[key] = self.wanted[key] = row
        self._stream(key, "c" if before is None else "u", row)

    def _stream(self, key: int, op: str, row: dict[str, Any]) -> None:
        self._lsn += 10
        if self._chunk is not None:
            self._chunk.pop(key, None)  # as Debezium does
        record = change(len(self.log), op, row, position=self._position(), commit_time_us=TIME_US + self._lsn)
        self._streamed.append(record)
        self._append(record)

    def _truncate(self, later: int) -> None:
        """The truncate lies in another partition; here its control record is met some records later."""
        self._lsn += 10
        self.rows.clear()
        self.wanted.clear()
        record = change(0, "t", None, key=None, position=self._position(), commit_time_us=TIME_US + self._lsn)
        plan = PLANS["log"]
        event = truncate_event(record, plan.decoders)
        assert event is not None
        ordered = orders_of(event, plan, Guard(), 1, IDENTITY)
        assert isinstance(ordered, Ordered)
        self._waiting.append((later, ordered.records[0]))

    def _position(self) -> tuple[int, int]:
        return self._lsn, self._lsn + 1

    def _append(self, record: LogRecord) -> None:
        self.log.append(record)
        due = [control for later, control in self._waiting if later <= 1]
        self._waiting = [(later - 1, control) for later, control in self._waiting if later > 1]
        self.log += [msgspec.structs.replace(c, offset=len(self.log) + n) for n, c in enumerate(due)]


class Decider:
    """What the decide worker does with the partition."""

    def __init__(self, plan: DecidePlan, source: Source) -> None:
        self.plan, self.source = plan, source
        self.held: dict[bytes, Held] = {}
        self.guard = Guard()

    def decide_all(self, killed_after: Sequence[int]) -> None:
        kills = list(killed_after)
        for record in self.source.log:
            order = order_of(record, self.guard, IDENTITY) if record.key is None and record.value is None else None
            if isinstance(order, Truncate):
                while kills and (some := self._truths(order)[: kills.pop()]):
                    self._publish(some)
                self._publish(self._truths(order))
                assert not self._truths(order), "carrying it out twice changes nothing"
                self.guard = (self.guard if self.guard.epoch == order.epoch else Guard(order.epoch)).truncated(
                    order.position
                )
            elif order is None:
                batch = decide_batch([record], self.held, self.guard, self.plan)
                self.guard = batch.guard
                self._keep(batch.held)

    def _truths(self, order: Truncate) -> list[TruthRecord]:
        before = self.source.log[: order.offset]
        after, boundary = list[LogRecord](), order.offset
        if (self.guard.epoch, self.guard.position) > (order.epoch, order.position):
            first = place_in(before, order, self.plan.decoders).first_after
            boundary = order.offset if first is None else first
            after = before[boundary:]
        truths = settled(after, boundary, order, self.held, {}, self.plan).truths if after else []
        others = ((k, h) for k, h in self.held.items() if k not in keys_of(after) and is_row_of_before(h, order))
        return truths + [deletion(k, version_deleted(h.version, order), order) for k, h in others]

    def _publish(self, truths: list[TruthRecord]) -> None:
        self._keep({truth.key: held_of(truth, self.plan) for truth in truths})

    def _keep(self, changes: dict[bytes, Held]) -> None:
        for key, held in changes.items():
            latest: Version = self.held[key].version if key in self.held else Version(b"")
            assert held.version > latest or held == self.held[key] or held.refused_at >= 0, "versions never decrease"
        self.held.update(changes)

    def rows(self) -> dict[bytes, bytes]:
        return {key: held.content_hash for key, held in self.held.items() if held.content_hash != DELETED_HASH}


def _wanted(source: Source, plan: DecidePlan) -> dict[bytes, bytes]:
    """The content hashes of the wanted rows, as deciding each alone gives them."""
    found = {}
    for key, row in source.wanted.items():
        (truth,) = decide_batch([change(0, "c", row)], {}, Guard(), plan).truths
        found[key_of(key)] = truth.content_hash
    return found


@settings(max_examples=1_500)
@given(st.sampled_from(sorted(PLANS)), STEPS, st.lists(st.integers(0, 3), max_size=3))
def test_the_truth_holds_what_the_source_holds(name: str, steps: list[tuple[str, int]], kills: list[int]) -> None:
    source = Source(ranked=name == "column")
    for step in steps:
        source.take(step)
    source.end()
    decider = Decider(PLANS[name], source)
    decider.decide_all(kills)
    assert decider.rows() == _wanted(source, PLANS[name])
