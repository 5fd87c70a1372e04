"""Records of the orders table decided alone and in batches, for the tests of the pipeline."""

from __future__ import annotations

from typing import Any

import msgspec

from tests.envelopes import ORDERS, orders_plan
from trueup.core.ordering import Guard
from trueup.core.pipeline import BatchDecision, DecidePlan, decide, decide_batch
from trueup.core.truth_codec import hash_row
from trueup.model.decision import Apply, Decision, Held, Outcome
from trueup.model.event import LogRecord
from trueup.model.registration import Check

PLAN = orders_plan()
CHECKED = orders_plan(
    msgspec.structs.replace(
        ORDERS,
        checks=[
            Check(column="amount", min=0),
            Check(column="state", one_of=["open", "paid"], on_violation="flag"),
        ],
    )
)


def decided(record: LogRecord, held: Held | None = None, plan: DecidePlan = PLAN) -> Decision:
    return decide(record, held, Guard(), plan)[0]


def applied(record: LogRecord, held: Held | None = None, plan: DecidePlan = PLAN) -> Apply:
    answer = decided(record, held, plan)
    assert isinstance(answer, Apply), answer
    return answer


def held_of(record: LogRecord, plan: DecidePlan = PLAN) -> Held:
    truth = applied(record, None, plan).truth
    return Held(truth.version, truth.content_hash)


def content(row: dict[str, Any]) -> bytes:
    return hash_row(PLAN.codec.encode_row(row))


def batch(*records: LogRecord, plan: DecidePlan = PLAN, guard: Guard | None = None) -> BatchDecision:
    answer = decide_batch(records, {}, guard or Guard(), plan)
    assert sum(answer.counts.values()) == len(records), "each record ends in exactly one outcome"
    assert answer.counts.keys() == set(Outcome)
    assert answer.counts[Outcome.APPLIED] == len(answer.truths)
    assert answer.counts[Outcome.REJECTED] == len(answer.dead)
    return answer


def counts(answer: BatchDecision) -> dict[Outcome, int]:
    return {outcome: count for outcome, count in answer.counts.items() if count}
