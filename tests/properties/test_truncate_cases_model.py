"""A truncate of a key about which people decide, wherever its control record is met among their decisions.

The model has the truncate where it would stand, before the first change of afterwards. A decision met between there and
the control record stands if the image it took is there after the truncate as well, else its case waits again. One key,
the real decisions.
"""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.case_makers import CHECKED, Partition, decision_on
from tests.envelopes import change, key_of, order
from tests.replays import Settled, settled
from trueup.core.case_decision import Obeyed
from trueup.core.control import Truncate, decision_record
from trueup.core.pipeline import held_of
from trueup.core.truncation import case_over, deletion, is_case_of_before, is_row_of_before, version_deleted
from trueup.core.truth_codec import TruthReader
from trueup.model.case import Case, Side
from trueup.model.event import LogRecord, Position
from trueup.model.version import Version

KEY = key_of(1)
TIME_US = 1_767_607_200_000_000
WRITES = st.tuples(st.just("write"), st.sampled_from(["1.00", "-1.00", "-1.00", "-2.00"]))
DECISIONS = st.tuples(st.sampled_from(["decide", "look and decide", "look"]), st.sampled_from("AB"))
OTHERS = st.tuples(st.sampled_from(["delete", "truncate", "meet", "meet, killed"]), st.just(""))
STEPS = st.lists(st.one_of(WRITES, WRITES, DECISIONS, DECISIONS, OTHERS), max_size=20)
Row = dict[str, Any]


class Truncated:
    """The owner writes and truncates, people decide, and control records arrive late."""

    def __init__(self) -> None:
        self.partition = Partition()
        self.log: list[LogRecord] = []
        self.seen: Case | None = None
        self.row: Row | None = None
        self.pending: list[tuple[int, Truncate]] = []  # the end of the log at each
        self.is_placed = True  # the latest one: it stands before the first change of afterwards
        self.lsn = 0
        self.newest = Version(b"")
        self.accepted: Row | None = None  # the model: what copies must show once all control records are met
        self.waiting: Row | None = None
        self.declined: list[Row | None] = []
        self.may_ask_again = False  # what a person took was written once more, so nobody sees that it was decided

    def take(self, what: str, more: str) -> None:
        match what:
            case "write":
                self._write(order(amount=more))
            case "delete" if self.row is not None:
                self._captured("d", self.row)
                self.row = None
                self._accepts(None)
            case "look" | "look and decide" if KEY in self.partition.open:
                self.seen = self.partition.case()
                if what != "look":
                    self._decide(self.seen, more)
            case "decide" if self.seen is not None:
                self._decide(self.seen, more)
            case "truncate":
                self.lsn += 10
                self.row = None
                truncate = Truncate(1, -1, TIME_US + self.lsn, Position(self.lsn, self.lsn + 1))
                self.pending.append((len(self.log), truncate))
                self.is_placed = False
            case "meet" | "meet, killed" if self.pending:
                self._meet(*self.pending.pop(0), killed=what != "meet")

    # --- the owner ---

    def _write(self, row: Row) -> None:
        self._captured("c" if self.row is None else "u", row)
        self.row = row
        if row == self.accepted or not row["amount"].startswith("-"):
            self.may_ask_again |= self.waiting is not None and row["amount"].startswith("-") and bool(self.pending)
            self._accepts(row)
        elif self.waiting is not None or row not in self.declined:
            self.waiting = row

    def _place(self) -> None:
        if not self.is_placed:
            self._accepts(None)
        self.is_placed = True

    def _captured(self, op: str, row: Row | None) -> None:
        self._place()
        self.lsn += 10
        position = (self.lsn, self.lsn + 1)
        record = change(len(self.log), op, row, position=position, commit_time_us=TIME_US + self.lsn)
        self.log.append(record)
        self.partition.decide(record)

    def _accepts(self, row: Row | None) -> None:
        if row != self.accepted or self.waiting is not None:
            self.declined = []
        self.accepted, self.waiting = row, None

    # --- people ---

    def _decide(self, seen: Case, take: str) -> None:
        decision = decision_on(seen, take)
        offset = len(self.log)
        record = decision_record("shop.public.orders", 0, 1, b"", KEY, decision)
        self.log.append(msgspec.structs.replace(record, offset=offset))
        if not isinstance(self.partition.obey(decision, offset), Obeyed):
            return
        held, came = map(_row, seen.sides)
        if self.is_placed and not self.pending:
            assert (held, came) == (self.accepted, self.waiting)
        taken, there = (held, self.accepted) if take == "A" else (came, self.waiting)
        if self.waiting is None or taken != there:
            return  # it falls
        self.declined = [held, came]
        self.accepted, self.waiting = taken, None

    # --- the truncate ---

    def _meet(self, boundary: int, truncate: Truncate, *, killed: bool) -> None:
        if not self.pending:
            self._place()
        truncate = msgspec.structs.replace(truncate, offset=len(self.log))
        if killed:
            self._took(self._settled(boundary, truncate).cases)
        now = self._settled(boundary, truncate)
        self._took(now.cases)
        for truth in now.truths:
            self.partition.held[truth.key] = held_of(truth, CHECKED)
        again = self._settled(boundary, truncate)
        assert (again.truths, again.cases) == ([], {}), "carrying it out twice changes nothing"
        guard = self.partition.guard
        self.partition.guard = (guard if guard.epoch else msgspec.structs.replace(guard, epoch=1)).truncated(
            truncate.position
        )
        self.log.append(LogRecord("shop.public.orders", 0, truncate.offset, 0, None, None, ()))

    def _settled(self, boundary: int, truncate: Truncate) -> Settled:
        partition = self.partition
        after = self.log[boundary:]
        first = next((r.offset for r in after if r.value is not None), None)
        if (partition.guard.epoch, partition.guard.position) > (1, truncate.position) and first is not None:
            return settled(self.log[first:], first, truncate, partition.held, partition.cases, CHECKED)
        held, case = partition.held.get(KEY), partition.open.get(KEY)
        truths, cases = [], {}
        if held is not None and is_row_of_before(held, truncate):
            truths = [deletion(KEY, version_deleted(held.version, truncate), truncate)]
        if case is not None and is_case_of_before(case, truncate):
            cases = {KEY: case_over(case, truncate)}
        return Settled(truths, cases)

    def _took(self, cases: dict[bytes, Case]) -> None:
        for key, case in cases.items():
            self.partition.cases.pop(key, None)
            if case.is_open:
                self.partition.cases[key] = case

    # --- what must hold ---

    def versions_rise(self) -> None:
        held = self.partition.held.get(KEY)
        if held is not None:
            assert held.version >= self.newest
            self.newest = held.version

    def copies_show_what_was_accepted(self) -> None:
        if self.pending:
            return
        case, may_ask_again, self.may_ask_again = self.partition.open.get(KEY), self.may_ask_again, False
        if may_ask_again and case is not None and _row(case.sides[1]) == self.accepted:
            self.accepted, self.waiting, self.declined = None, self.accepted, []
        assert self._held_row() == self.accepted
        if case is None:
            assert self.waiting is None
        else:
            assert list(map(_row, case.sides)) == [self.accepted, self.waiting]

    def _held_row(self) -> Row | None:
        held = self.partition.held.get(KEY)
        if held is None:
            return None
        assert held.record is not None
        reader = TruthReader()
        reader.learn(CHECKED.codec.schema_id, CHECKED.codec.schema)
        return reader.decode(KEY, held.record).row


def _row(side: Side) -> Row | None:
    return None if side.row is None else CHECKED.row_json.read(side.row)


@settings(max_examples=1_500)
@given(STEPS)
def test_copies_show_what_rules_and_people_accepted_of_what_is_there(steps: list[tuple[str, str]]) -> None:
    key = Truncated()
    for step in [*steps, *[("meet", "")] * len(steps)]:
        key.take(*step)
        key.versions_rise()
        key.copies_show_what_was_accepted()
