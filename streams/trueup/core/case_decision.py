"""What becomes of a person's decision about a case: the truth it makes, or why it is not obeyed. Pure.

A decision stands in the capture log (`core.control`), so it has a place in its order: its version has the highest rank
of the sides and its own offset. It beats every image it was based on, and loses to any later change.
"""

from __future__ import annotations

from typing import Any

import msgspec

from trueup.core import cases
from trueup.core.control import DecisionOrder
from trueup.core.pipeline import DecidePlan
from trueup.core.rules import check_row
from trueup.core.truth_codec import DELETED_HASH, hash_row
from trueup.model.case import Case, Side
from trueup.model.decision import Escalate, Held, Outcome, Reject, TruthRecord
from trueup.model.event import Op
from trueup.model.version import Version, make_version, rank_in

CHANGED = "the case changed after the decision was made: look at it again"


class Obeyed(msgspec.Struct, frozen=True):
    """The truth to publish, and the case as it ends."""

    truth: TruthRecord
    case: Case
    outcome: Outcome = Outcome.APPLIED


class NotObeyed(msgspec.Struct, frozen=True):
    """`case` says why, where there still is one to say it; None: it is over, and what ended it can be read there."""

    case: Case | None
    outcome: Outcome = Outcome.IGNORED


class _Refused(Exception):
    """A decision that cannot be obeyed; the text says why, without values."""


def judge(case: Case | None, order: DecisionOrder, held: Held | None, plan: DecidePlan) -> Obeyed | NotObeyed:
    """What becomes of a decision.

    :param case: the open case of the key.
    """
    decision = order.decision
    if case is None or case.id != decision.case:
        return NotObeyed(None)
    try:
        if decision.based_on != case.versions:
            raise _Refused(CHANGED)
        taken = case.side(decision.take)
        if taken is None:
            raise _Refused(f'there is no side "{decision.take}"')
        version = _version(case, order, held)
        row = _row(taken, decision.set, plan)
        truth = _truth(order, version, row, held, plan)
    except _Refused as why:
        return NotObeyed(cases.refused(case, decision, str(why)))
    return Obeyed(truth, cases.decided(case, decision, version))


def _version(case: Case, order: DecisionOrder, held: Held | None) -> Version:
    # Of what is held too: a system's newer image may have a lower rank than the one that was published.
    below = [side.order for side in case.sides if side.version] + ([] if held is None else [held.version])
    rank = max(map(rank_in, below))
    version = make_version(order.epoch, order.offset, rank)
    if version <= max(below):
        raise _Refused(CHANGED)
    return version


def _row(taken: Side, changes: dict[str, Any], plan: DecidePlan) -> dict[str, Any] | None:
    if taken.row is None:
        if changes:
            raise _Refused("a deleted row has no columns to set")
        return None
    strange = sorted(changes.keys() - (plan.row_json.primitives.keys() - plan.key_columns))
    if strange:
        raise _Refused(f"columns that are not there, or are the key, cannot be set: {', '.join(strange)}")
    try:
        return plan.row_json.read(taken.row | changes)
    except ValueError as exc:
        raise _Refused("a value is not of its column's type") from exc


def _truth(
    order: DecisionOrder,
    version: Version,
    row: dict[str, Any] | None,
    held: Held | None,
    plan: DecidePlan,
) -> TruthRecord:
    row_bytes, flags = None, tuple[str, ...]()
    if row is not None:
        try:
            row_bytes = plan.codec.encode_row(row)
        except (TypeError, ValueError, AttributeError, OverflowError) as exc:
            raise _Refused("a value is not of its column's type") from exc
        flags = _flags(row, plan)
    exists = held is not None and held.content_hash != DELETED_HASH
    return TruthRecord(
        key=order.key,
        version=version,
        content_hash=DELETED_HASH if row_bytes is None else hash_row(row_bytes, plan.codec.columns_hash),
        op=Op.DELETE if row is None else Op.UPDATE if exists else Op.CREATE,
        commit_time_us=order.time_us,
        position=None,
        cause=f"case {order.decision.case}: {order.decision.because}",
        flags=flags,
        row=row,
        row_bytes=row_bytes,
    )


def _flags(row: dict[str, Any], plan: DecidePlan) -> tuple[str, ...]:
    """What the row violates all the same. A person may overrule a check that escalates, not one that rejects."""
    answer = check_row(row, plan.checks) if plan.checks else ()
    if isinstance(answer, Reject):
        raise _Refused(f"the row would be rejected: {answer.reason}")
    return (answer.reason,) if isinstance(answer, Escalate) else answer
