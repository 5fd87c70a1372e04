"""A hypothesis state machine over one key of two writers: concurrent changes, cases, decisions, records read again.

While a case is open nothing of its key is published, unless its sides come to agree; a decision publishes what was
taken, and only if it was about what is there. Images are the newest of their systems. Versions rise, whatever happens.
"""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from tests.case_makers import Partition
from tests.properties.case_machine import KEY, CaseMachine
from tests.several_writers import CRM, SHOP, event, plan_of, row
from trueup.core.case_decision import Obeyed
from trueup.model.case import Case, CaseStatus
from trueup.model.version import offset_of

PLANS = {policy: plan_of(policy) for policy in ("last_write_wins", "version_comparison", "escalate")}
SYSTEMS = st.sampled_from([SHOP, CRM])
CUSTOMERS = st.sampled_from(["Ada", "Grace"])  # few, so that sides come to agree


class OneKey(CaseMachine):
    """What each database has of the key, and what is decided of it."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[str, dict[str, Any] | None] = {SHOP: None, CRM: None}
        self.truth: dict[str, Any] | None = None

    @initialize(policy=st.sampled_from(sorted(PLANS)))
    def begins(self, policy: str) -> None:
        self.partition = Partition(PLANS[policy])

    def _captured(self, system: str, op: str, after: dict[str, Any] | None) -> None:
        was, before = self.partition.open.get(KEY), self.rows[system]
        record = event(system, len(self.log), op, after if op != "d" else before, before=before if op == "u" else None)
        self.log.append(record)
        batch = self.partition.decide(record)
        assert sum(batch.counts.values()) == 1
        self.rows[system] = after
        for truth in batch.truths:
            self.versions.append(truth.version)
            if truth.encoded is None or truth.row is not None:
                self.truth = truth.row
        if was is not None:
            self._while_open(was, system, after, published=bool(batch.truths))

    def _while_open(self, was: Case, system: str, after: dict[str, Any] | None, *, published: bool) -> None:
        now = self.partition.cases.get(KEY)
        rows = self.partition.plan.row_json
        others = [side for side in was.sides if side.origin != system]
        agree = bool(others) and all((None if s.row is None else rows.read(s.row)) == after for s in others)
        assert published is agree, "only what all sides say is published"
        if not agree:
            assert now is not None
            assert now.id == was.id
            image = next(side for side in reversed(now.sides) if side.origin == system)
            assert (None if image.row is None else rows.read(image.row)) == after

    @rule(system=SYSTEMS, customer=CUSTOMERS, at=st.integers(0, 9), version=st.integers(1, 3))
    def writes(self, system: str, customer: str, at: int, version: int) -> None:
        """At its own database, upon whatever is there."""
        self._captured(system, "c" if self.rows[system] is None else "u", row(customer, at=at, version=version))

    @rule(system=SYSTEMS)
    def deletes(self, system: str) -> None:
        if self.rows[system] is not None:
            self._captured(system, "d", None)

    @rule(system=SYSTEMS)
    def hears(self, system: str) -> None:
        """The truth reaches a writer's database, where no case holds its own image back."""
        if KEY not in self.partition.open:
            self.rows[system] = self.truth

    def obeyed(self, seen: Case, take: str, answer: Obeyed) -> None:
        taken = seen.sides["AB".index(take)]
        assert answer.truth.row == (None if taken.row is None else self.partition.plan.row_json.read(taken.row))
        assert answer.truth.origin is None
        assert answer.case.status is CaseStatus.DECIDED
        self.truth = answer.truth.row

    @invariant()
    def every_side_is_another_record(self) -> None:
        case = self.partition.open.get(KEY) if self.log else None
        if case is not None:
            offsets = [offset_of(side.order) for side in case.sides if side.version]
            assert len(set(offsets)) == len(offsets)


TestOneKeyOfTwoWriters = OneKey.TestCase
TestOneKeyOfTwoWriters.settings = settings(max_examples=80, stateful_step_count=20, deadline=None)
