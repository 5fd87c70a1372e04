"""A state machine over decide and apply: changes, repetitions, crashes, losses in any order end in the right copies.

The real `decide_batch`, codec, `reduce_batch` and boundary; the replica in memory. The model is a dictionary: of each
key the last change that its owner made and the checks accept. tests/simulation does the same with the runtime around
it; here hypothesis chooses the order and shrinks what fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.envelopes import CAPTURED, HOLE, ORDERS, change, key_of, order, orders_plan
from tests.replica_batches import IDENTITY
from trueup.adapters.fakes import Crash, FakeReplica
from trueup.core.boundary import Boundary
from trueup.core.ordering import Guard
from trueup.core.pipeline import decide_batch
from trueup.core.reduce import reduce_batch
from trueup.core.rules_copy import compile_copy
from trueup.core.truth_codec import TruthReader, peek, peek_version
from trueup.core.truth_schema import truth_schema
from trueup.model.decision import Held, Outcome
from trueup.model.errors import Fenced
from trueup.model.event import LogRecord
from trueup.model.registration import Check, Copy
from trueup.model.version import Version
from trueup.model.write import BatchResult, Claim, ClaimLost, ReplicaBatch

T = TypeVar("T")

COPY = Copy(replica="reporting")
TABLE = msgspec.structs.replace(ORDERS, checks=[Check(column="amount", min=0)], replicas=[COPY])
PLAN = orders_plan(TABLE)
COPY_PLAN = compile_copy(TABLE, COPY, CAPTURED)
READER = TruthReader()
READER.learn(PLAN.codec.schema_id, truth_schema(TABLE, CAPTURED))

KEYS = st.integers(1, 4)
FEW = st.integers(1, 5)


def now(work: Coroutine[Any, Any, T]) -> T:
    """A coroutine of the replica in memory, which waits for nothing."""
    with asyncio.Runner() as runner:
        return runner.run(work)


class CopyOfTruth:
    """A replica and its apply worker: what it claimed, and the versions a reader saw."""

    def __init__(self) -> None:
        self.replica = FakeReplica()
        self.boundary = Boundary(COPY_PLAN)
        self.claim: Claim = now(self.replica.claim(TABLE.truth_topic, 0, IDENTITY))
        self.seen: dict[bytes, Version] = {}

    @property
    def next_offset(self) -> int:
        return self.claim.next_offset or 0

    def claim_again(self) -> None:
        self.claim = now(self.replica.claim(TABLE.truth_topic, 0, IDENTITY))

    def batch(self, truths: list[LogRecord], count: int) -> ReplicaBatch:
        """The next records as the apply agent would send them."""
        records = truths[self.next_offset : self.next_offset + count]
        judged = self.boundary.judge(reduce_batch(records), records, READER.decode)
        return ReplicaBatch(
            plan=COPY_PLAN,
            topic=TABLE.truth_topic,
            partition=0,
            token=self.claim.token,
            start_offset=self.next_offset,
            next_offset=self.next_offset + len(records),
            records=len(records),
            writes=tuple(judged.writes),
            refused=tuple(judged.refused),
            counts=judged.counts,
        )

    def apply(self, batch: ReplicaBatch) -> BatchResult | None:
        """None when the connection was lost; what is durable is then read from the replica."""
        try:
            result = now(self.replica.apply(batch))
        except ClaimLost:
            result = None
        self.claim_again()
        return result

    def versions(self) -> dict[bytes, Version]:
        """Of rows, and of what is known to be deleted."""
        rows = self.replica.rows.get(COPY_PLAN.target, {})
        return {key: version for key, (version, _) in rows.items()} | self.replica.deleted.get(COPY_PLAN.target, {})

    def amounts(self) -> dict[bytes, str]:
        """What a reader of the copy sees."""
        place = [column.field for column in COPY_PLAN.columns].index("amount")
        return {key: values[place] for key, (_, values) in self.replica.rows.get(COPY_PLAN.target, {}).items()}


class PipelineMachine(RuleBasedStateMachine):
    """One partition: its source, capture log, decide worker, truth log, and copies."""

    def __init__(self) -> None:
        super().__init__()
        self.source: dict[int, str] = {}
        self.accepted: dict[int, str] = {}
        self.epoch = 1
        self.captured: list[LogRecord] = []
        self.unrepeatable: set[int] = set()
        self.truths: list[LogRecord] = []
        self.rising: dict[bytes, Version] = {}
        self.held: dict[bytes, Held] = {}
        self.guard = Guard()
        self.decided = 0
        self.totals = dict.fromkeys(Outcome, 0)
        self.copies: list[CopyOfTruth] = []

    @initialize()
    def begin(self) -> None:
        self.copies.append(CopyOfTruth())

    # --- the source -----------------------------------------------------------------------------------------------

    @rule(key=KEYS, amount=st.integers(-1, 3))
    def write(self, key: int, amount: int) -> None:
        """A negative amount is refused by the table's check: the copies keep what they have."""
        op = "u" if key in self.source else "c"
        self.source[key] = f"{amount}.00"
        self.capture(op, key)
        if amount >= 0:
            self.accepted[key] = self.source[key]

    @rule(key=KEYS)
    def write_with_a_value_that_is_not_in_the_log(self, key: int) -> None:
        self.captured.append(change(len(self.captured), "u", order(key, customer=HOLE), epoch=self.epoch))

    @precondition(lambda self: self.source)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.source)))
        self.capture("d", key)
        del self.source[key]
        self.accepted.pop(key, None)

    @rule(data=st.data())
    def rows_are_read_again(self, data: st.DataObject) -> None:
        """An incremental snapshot: its rows are as the source is, at this place of the log."""
        for key in data.draw(st.lists(st.sampled_from(sorted(self.source)), unique=True)) if self.source else []:
            self.capture("r", key)

    @rule()
    def epoch_begins(self) -> None:
        """Every row comes again. No change was missed, so the sweep has nothing to do."""
        self.decide_all()
        self.epoch += 1
        for key in self.source:
            self.capture("r", key)

    def capture(self, op: str, key: int) -> None:
        row = order(key, amount=self.source[key])
        if op == "r":
            self.unrepeatable.add(len(self.captured))
        self.captured.append(change(len(self.captured), op, row, epoch=self.epoch))

    @rule(count=FEW)
    def capture_repeats_its_last_changes(self, count: int) -> None:
        """As without exactly-once: same positions, same times, new offsets, old content.

        Rows of a snapshot have no position: without exactly-once a snapshot is taken again under a new epoch.
        """
        suffix: list[LogRecord] = []
        for record in reversed(self.captured):
            if len(suffix) == count or record.offset in self.unrepeatable:
                break
            suffix.append(record)
        for original in reversed(suffix):
            offset = len(self.captured)
            self.captured.append(msgspec.structs.replace(original, offset=offset))
            self.unrepeatable.add(offset)

    # --- deciding -------------------------------------------------------------------------------------------------

    @rule(count=FEW)
    def decide(self, count: int) -> None:
        """A batch, committed: truths, offset, totals and guard at once."""
        records = self.captured[self.decided : self.decided + count]
        batch = decide_batch(records, self.held, self.guard, PLAN)
        assert sum(batch.counts.values()) == len(records), "one outcome for each record"
        for truth in batch.truths:
            value = PLAN.codec.encode(truth)
            assert truth.version > self.rising.get(truth.key, b""), "versions of a key rise in its truth topic"
            self.rising[truth.key] = truth.version
            self.truths.append(LogRecord(TABLE.truth_topic, 0, len(self.truths), 0, truth.key, value))
        self.held |= batch.held
        self.guard = batch.guard
        self.decided += len(records)
        for outcome, number in batch.counts.items():
            self.totals[outcome] += number

    @rule(count=FEW)
    def decide_and_crash(self, count: int) -> None:
        """The transaction is aborted: nothing of the batch is true. The next owner catches up from the topic."""
        decide_batch(self.captured[self.decided : self.decided + count], self.held, self.guard, PLAN)
        self.lose_local_state()

    @rule()
    def lose_local_state(self) -> None:
        """The store is gone: the truth topic has it, except what it remembered of refused changes."""
        self.held = {record.key or b"": peek(record.value or b"") for record in self.truths}

    @rule()
    def lose_the_groups_offsets(self) -> None:
        """F-23: everything is read again, with neither guard nor totals."""
        self.lose_local_state()
        self.guard, self.decided, self.totals = Guard(), 0, dict.fromkeys(Outcome, 0)

    # --- applying -------------------------------------------------------------------------------------------------

    @rule(data=st.data(), count=FEW, crash=st.sampled_from([None, None, "before commit", "after commit"]))
    def apply(self, data: st.DataObject, count: int, crash: Crash | None) -> None:
        copy = data.draw(st.sampled_from(self.copies))
        copy.replica.crash = crash
        copy.apply(copy.batch(self.truths, count))

    @rule(data=st.data(), count=FEW)
    def zombie_applies(self, data: st.DataObject, count: int) -> None:
        """A former owner has a batch ready when the next one has claimed the partition and gone on."""
        copy = data.draw(st.sampled_from(self.copies))
        late = copy.batch(self.truths, count)
        copy.claim_again()
        copy.apply(copy.batch(self.truths, count))
        with pytest.raises(Fenced):
            now(copy.replica.apply(late))

    @precondition(lambda self: len(self.copies) < 3)
    @rule()
    def new_replica(self) -> None:
        """It is filled from the truth topic alone."""
        self.copies.append(CopyOfTruth())

    # --- what must hold -------------------------------------------------------------------------------------------

    @invariant()
    def records_have_one_outcome(self) -> None:
        assert sum(self.totals.values()) == self.decided
        for copy in self.copies:
            assert sum(copy.claim.totals.values()) == copy.next_offset

    @invariant()
    def no_reader_sees_a_version_fall(self) -> None:
        for copy in self.copies:
            versions = copy.versions()
            for key, version in copy.seen.items():
                assert versions[key] >= version
            copy.seen = versions

    @rule()
    def drain(self) -> None:
        self.decide_all()
        expected = {key_of(key): amount for key, amount in self.accepted.items()}
        newest = {record.key or b"": peek_version(record.value or b"") for record in self.truths}
        for copy in self.copies:
            while copy.next_offset < len(self.truths):
                copy.apply(copy.batch(self.truths, 7))
            assert copy.amounts() == expected
            assert copy.versions() == newest

    def decide_all(self) -> None:
        while self.decided < len(self.captured):
            self.decide(7)

    def teardown(self) -> None:
        if self.copies:
            self.drain()


PipelineMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestPipelineMachine = PipelineMachine.TestCase
