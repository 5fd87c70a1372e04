"""A hypothesis state machine over one key with one owner: changes, replays, decisions, lost state, epochs and sweeps.

The model is what people are promised: a key has at most one open case; its images are what is held and the newest
undecided change; nothing is published that the rules or a person did not accept; versions never fall.
"""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from tests.case_makers import CHECKED, Partition
from tests.envelopes import change, order
from tests.properties.case_machine import KEY, CaseMachine
from trueup.core.case_decision import Obeyed
from trueup.core.cases import decode_case, encode_case
from trueup.core.truth_codec import TruthReader
from trueup.model.case import Case
from trueup.model.event import LogRecord
from trueup.model.version import offset_of

AMOUNTS = st.sampled_from(["1.00", "2.00", "-1.00", "-2.00"])


class OneKey(CaseMachine):
    """The owner writes, the log is decided, people decide."""

    def __init__(self) -> None:
        super().__init__()
        self.partition = Partition()
        self.epoch = 1
        self.row: dict[str, Any] | None = None
        self.copies: dict[str, Any] | None = None  # the model: the newest row that rules or people accepted
        self.undecided: dict[str, Any] | None = None  # the model: the newest undecided row since
        self.declined: tuple[int, dict[str, Any] | None] = (
            0,
            None,
        )  # the model: what a person kept out, in which epoch

    @initialize(amount=AMOUNTS)
    def begins(self, amount: str) -> None:
        self.write(amount)

    def _append(self, record: LogRecord) -> None:
        self.log.append(record)
        batch = self.partition.decide(record)
        self.versions += [truth.version for truth in batch.truths]
        assert sum(batch.counts.values()) == 1

    @rule(amount=AMOUNTS)
    def write(self, amount: str) -> None:
        self._captured("c" if self.row is None else "u", order(amount=amount))

    def _captured(self, op: str, row: dict[str, Any]) -> None:
        """What the copies hold already was accepted once; a person is asked about other negative amounts."""
        self._append(change(len(self.log), op, row, epoch=self.epoch))
        self.row = row
        if row == self.copies or not row["amount"].startswith("-"):
            self._accepts(row)
        elif self.undecided is not None or (self.epoch, row) != self.declined:
            self.undecided = row

    @precondition(lambda self: self.row is not None)
    @rule()
    def delete(self) -> None:
        self._append(change(len(self.log), "d", self.row, epoch=self.epoch))
        self.row = None
        self._accepts(None)

    def _accepts(self, row: dict[str, Any] | None) -> None:
        published = row != self.copies or self.undecided is not None or self.declined[0] != self.epoch
        self.copies, self.undecided = row, None
        if published:
            self.declined = (0, None)

    @rule()
    def loses_local_state(self) -> None:
        """What is held comes back from the truth topic, without marks; cases come back from theirs."""
        held = {key: known.record for key, known in self.partition.held.items()}
        again = Partition()
        again.guard = self.partition.guard
        for key, record in held.items():
            assert record is not None
            known = self.partition.held[key]
            again.held[key] = type(known)(known.version, known.content_hash, record=record)
        again.cases = {key: decode_case(encode_case(case)) for key, case in self.partition.cases.items()}
        assert again.cases == self.partition.cases
        self.partition = again

    def obeyed(self, seen: Case, take: str, answer: Obeyed) -> None:
        self.declined = (self.epoch, self.undecided) if take == "A" else (0, None)
        self.copies = self.copies if take == "A" else self.undecided
        self.undecided = None

    @precondition(lambda self: self.row is not None)
    @rule()
    def new_epoch(self) -> None:
        """A resync whose snapshot brings the row."""
        self.epoch += 1
        assert self.row is not None
        was = self.partition.open.get(KEY)
        self._captured("r", self.row)
        assert was is None or KEY not in self.partition.open or self.partition.case().id == was.id

    @invariant()
    def copies_hold_what_was_accepted(self) -> None:
        held = self.partition.held.get(KEY)
        if held is None:
            assert self.copies is None
            return
        assert held.record is not None
        reader = TruthReader()
        reader.learn(CHECKED.codec.schema_id, CHECKED.codec.schema)
        truth = reader.decode(KEY, held.record)
        assert truth.row == self.copies
        assert truth.version == held.version

    @invariant()
    def a_case_has_both_images(self) -> None:
        case = self.partition.open.get(KEY)
        if case is None:
            assert self.undecided is None
            return
        assert self.undecided is not None
        rows = [None if side.row is None else CHECKED.row_json.read(side.row) for side in case.sides]
        assert rows == [self.copies, self.undecided]
        assert offset_of(case.sides[0].order) < offset_of(case.sides[1].order) or not case.sides[0].version


TestOneKey = OneKey.TestCase
TestOneKey.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)
