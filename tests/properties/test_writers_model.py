"""Property: two writers of a row end equal, and equal to the truth, however captures, decisions and copies interleave.

The real core decides. What `adapters.postgres_writer` does with a truth record is modelled here for one row, with its
own rule for what concerns the row; that the SQL does the same is tests/integration/test_postgres_writer.py. An
application at each writer updates, deletes and inserts whenever it likes, with a clock that may be off. A writer may
lose its slot, go on blindly, and be resynced.
"""

from __future__ import annotations

from typing import Any

from hypothesis import assume, event, given
from hypothesis import strategies as st

from tests import several_writers
from tests.several_writers import BASE, CRM, SHOP, batch, plan_of, row
from trueup.adapters.postgres_writer import concerns_row
from trueup.core.control import Sweep
from trueup.core.ordering import Guard, rank_of
from trueup.core.pipeline import DecidePlan, held_of
from trueup.core.sweep import restored, swept_keys
from trueup.core.truth_codec import TruthReader, peek
from trueup.core.truth_schema import truth_schema
from trueup.model.decision import Held, Outcome, TruthRecord
from trueup.model.event import LogRecord
from trueup.model.version import rank_in
from trueup.model.write import Write

LAST_WINS = plan_of("last_write_wins")
PREFER_SHOP = plan_of("prefer", system="shop")
_TICK_S = 10  # between two changes, by a clock that is right
_SKEWS_S = (0, 5, -25, 35)  # never within the window of another change's time

Image = dict[str, Any] | None


class Writer:
    """One writer's database: the row, its log, and what is noted of what was written here."""

    def __init__(self, name: str, skew_s: int, *, ordered: bool) -> None:
        self.name, self.skew_s, self.ordered = name, skew_s, ordered
        self.row: Image = None
        self.log: list[tuple[int, str, Image, Image]] = []  # position, op, after, before
        self.captured = self.applied = 0
        self.position, self.epoch, self.blind = 0, 1, False
        self.version: bytes = b""
        self.written_at: int | None = None

    def change(self, tick: int, *, delete: bool, blind: bool = False) -> None:
        """What an application does, knowing the row that is here; blind: nothing before it that was not captured is."""
        before = self.row
        after = None if delete and before else row(f"{self.name} {tick}", at=tick * _TICK_S + self.skew_s)
        op = "d" if after is None else "u" if before else "c"
        self.position += 1
        self.log.append((self.position, op, after, before))
        self.row = after
        if blind:
            self.captured, self.blind = len(self.log), True

    def write(self, truth: TruthRecord) -> None:
        """As `merge_at_writer` does, in one transaction."""
        if truth.version <= self.version:
            return
        position = -1 if truth.position is None else truth.position.change
        own = truth.origin == self.name
        write = Write(truth.key, truth.version, truth.row is None, (), 0, b"", own=own, position=position)
        self.version = truth.version
        if concerns_row(write, self.written_at) and not self._newer(truth):
            self.row = truth.row
            self.position += 1
            self.written_at = self.position

    def _newer(self, truth: TruthRecord) -> bool:
        if not self.ordered or self.row is None:
            return False
        rank = rank_of(self.row["updated_at"])
        assert rank is not None
        return rank > rank_in(truth.version)


class Installation:
    """Two writers, the capture topic, the decide worker and the truth topic."""

    def __init__(self, plan: DecidePlan, skew_s: int) -> None:
        ordered = plan.version_column is not None
        self.plan = plan
        self.writers = [Writer(SHOP, 0, ordered=ordered), Writer(CRM, skew_s, ordered=ordered)]
        self.held: dict[bytes, Held] = {}
        self.guard: Guard | None = None
        self.offset = 0
        self.truths: list[TruthRecord] = []
        self.outcomes: set[Outcome] = set()
        self.reader = TruthReader()
        self.reader.learn(plan.codec.schema_id, truth_schema(plan.table, plan.codec.captured))

    def capture(self, writer: Writer) -> None:
        """The next change of a writer reaches the topic and is decided."""
        if writer.captured == len(writer.log):
            return
        position, op, after, before = writer.log[writer.captured]
        writer.captured += 1
        self._decide(
            several_writers.event(
                writer.name,
                self.offset,
                op,
                after,
                before=before,
                position=(position, position),
                epoch=writer.epoch,
            )
        )

    def _decide(self, record: LogRecord) -> None:
        self.offset += 1
        answer = batch(self.plan, record, held=self.held, guard=self.guard)
        assume(not answer.counts[Outcome.ESCALATED])
        self.held |= answer.held
        self.guard = answer.guard
        self.outcomes |= {outcome for outcome, count in answer.counts.items() if count}
        for truth in answer.truths:
            self._publish(truth)

    def _publish(self, truth: TruthRecord) -> None:
        assert truth.encoded is not None
        self.truths.append(self.reader.decode(truth.key, truth.encoded))

    def resync(self, writer: Writer) -> None:
        """A new epoch above all, a snapshot in place of what the log lost, and the sweep."""
        writer.epoch = max(one.epoch for one in self.writers) + 1
        writer.captured, writer.blind = len(writer.log), False
        self.guard = (self.guard or Guard()).moved(writer.name, Guard(writer.epoch))
        if writer.row is not None:
            self._decide(several_writers.event(writer.name, self.offset, "r", writer.row, epoch=writer.epoch))
        sweep = Sweep(writer.epoch, self.offset, 0)
        self.offset += 1
        for key in swept_keys(self.held.items(), set(), writer.epoch):
            truth = restored(key, self.held[key], sweep)
            self.held[key] = held_of(truth, self.plan)
            self._publish(truth)

    def apply(self, writer: Writer, *, again: int = 0) -> None:
        """The next truth reaches a writer; `again`: read anew from so many records before."""
        writer.applied = max(0, writer.applied - again)
        if writer.applied < len(self.truths):
            writer.write(self.truths[writer.applied])
            writer.applied += 1

    def drain(self) -> None:
        for writer in self.writers:
            if writer.blind:
                self.resync(writer)
            while writer.captured < len(writer.log):
                self.capture(writer)
        for writer in self.writers:
            while writer.applied < len(self.truths):
                self.apply(writer)


STEPS = st.lists(
    st.tuples(st.sampled_from(["change", "delete", "capture", "apply", "replay"]), st.sampled_from([0, 1])), max_size=60
)


def _played(plan: DecidePlan, steps: list[tuple[str, int]], skew_s: int) -> Installation:
    made = Installation(plan, skew_s)
    for tick, (step, number) in enumerate(steps, 1):
        writer = made.writers[number]
        match step:
            case "change" | "delete":
                writer.change(tick, delete=step == "delete")
            case "blind":
                writer.change(tick, delete=tick % 3 == 0, blind=True)
            case "resync":
                made.resync(writer)
            case "capture" if not writer.blind:
                made.capture(writer)
            case "capture":
                made.resync(writer)
            case _:
                made.apply(writer, again=3 if step == "replay" else 0)
    made.drain()
    return made


def _equal(made: Installation) -> None:
    shop, crm = made.writers
    assert shop.row == crm.row
    versions = [truth.version for truth in made.truths]
    assert versions == sorted(set(versions)), "versions never fall"
    if made.truths:
        assert made.truths[-1].row == shop.row
        held = made.held[BASE]
        assert held.record is not None
        assert peek(held.record).version == versions[-1]
    for outcome in (Outcome.STALE, Outcome.APPLIED, Outcome.UNCHANGED):
        if outcome in made.outcomes:
            event(outcome.value)


@given(STEPS, st.sampled_from(_SKEWS_S))
def test_last_write_wins_leaves_both_writers_equal(steps: list[tuple[str, int]], skew_s: int) -> None:
    _equal(_played(LAST_WINS, steps, skew_s))


WITH_LOSSES = st.lists(
    st.tuples(
        st.sampled_from(["change", "delete", "blind", "resync", "capture", "apply", "replay"]), st.sampled_from([0, 1])
    ),
    max_size=60,
)


@given(WITH_LOSSES, st.sampled_from(_SKEWS_S))
def test_a_writer_that_lost_its_slot_is_equal_after_a_resync(steps: list[tuple[str, int]], skew_s: int) -> None:
    _equal(_played(LAST_WINS, steps, skew_s))


@given(STEPS)
def test_a_preferred_writer_leaves_both_writers_equal(steps: list[tuple[str, int]]) -> None:
    _equal(_played(PREFER_SHOP, steps, 0))
