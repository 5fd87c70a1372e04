"""Cases for tests without servers: opened by the real pipeline from records of `tests.envelopes`."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from tests.envelopes import ORDERS, key_of, orders_plan
from trueup.core.case_decision import NotObeyed, Obeyed, judge
from trueup.core.cases import remember
from trueup.core.control import DecisionOrder
from trueup.core.ordering import Guard
from trueup.core.pipeline import BatchDecision, DecidePlan, decide_batch, held_of
from trueup.model.case import Case, CaseDecision
from trueup.model.decision import Held
from trueup.model.event import LogRecord
from trueup.model.registration import Check

CHECKED = orders_plan(
    replace(
        ORDERS,
        checks=[
            Check(column="amount", min=0, on_violation="escalate"),
            Check(column="customer", not_null=True, on_violation="reject"),
        ],
    )
)
"""A negative amount is for a person to judge; an order without a customer is nobody's."""


class Partition:
    """What the decide stage has of one partition, batch after batch."""

    def __init__(self, plan: DecidePlan = CHECKED) -> None:
        self.plan = plan
        self.held: dict[bytes, Held] = {}
        self.cases: dict[bytes, Case] = {}
        self.guard = Guard()

    @property
    def open(self) -> dict[bytes, Case]:
        return {key: case for key, case in self.cases.items() if case.is_open}

    def decide(self, *records: LogRecord) -> BatchDecision:
        batch = decide_batch(records, self.held, self.guard, self.plan, self.cases)
        self.held |= batch.held
        self.guard = batch.guard
        self._took(batch.cases)
        return batch

    def obey(self, decision: CaseDecision, offset: int, order_id: int = 1) -> Obeyed | NotObeyed:
        """The decision as met at an offset of the log."""
        key = key_of(order_id)
        order = DecisionOrder(max(1, self.guard.epoch), offset, decision.at_us, key, decision)
        answer = judge(self.open.get(key), order, self.held.get(key), self.plan)
        if isinstance(answer, Obeyed):
            self.held[key] = held_of(answer.truth, self.plan)
        if answer.case is not None:
            self._took({key: answer.case})
        return answer

    def _took(self, cases: dict[bytes, Case]) -> None:
        for key, case in cases.items():
            remember(self.cases, key, case)

    def case(self, order_id: int = 1) -> Case:
        return self.open[key_of(order_id)]


def decision_on(case: Case, take: str = "B", values: dict[str, Any] | None = None) -> CaseDecision:
    """What a person decided, looking at the case as it is."""
    return CaseDecision(
        id="d1",
        case=case.id,
        based_on=case.versions,
        take=take,
        because="called the customer",
        by="fatima",
        at_us=1_767_700_000_000_000,
        set=values or {},
    )
