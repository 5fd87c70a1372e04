"""A table of orders that shop, crm and erp may write: their events, and what is held, for tests without servers."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

import msgspec

from tests.envelopes import CAPTURED, COMMIT_TIME_US, HOLE, ORDERS, SCHEMA_ID, change, envelope_schema, key_of, order
from trueup.core.decode import EnvelopeDecoder
from trueup.core.ordering import Guard
from trueup.core.pipeline import BatchDecision, DecidePlan, decide_batch
from trueup.core.truth_codec import TruthCodec
from trueup.core.truth_schema import truth_schema
from trueup.model.decision import Held, Outcome
from trueup.model.event import LogRecord
from trueup.model.registration import ColumnVersion, Conflicts, Table

SHOP, CRM, ERP = "shop", "crm", "erp"
BASE = key_of(1)
TIME_US = COMMIT_TIME_US
UNCERTAINTY_S = 2
_NOON = datetime.datetime(2026, 1, 5, 12, tzinfo=datetime.UTC)


def table_of(policy: str, system: str | None = None) -> Table:
    versions: dict[str, ColumnVersion] = {
        "last_write_wins": ColumnVersion(column="updated_at", uncertainty=f"{UNCERTAINTY_S}s"),
        "version_comparison": ColumnVersion(column="row_version"),
    }
    return msgspec.structs.replace(
        ORDERS,
        owner=None,
        writers=[SHOP, CRM, ERP],
        conflicts=msgspec.convert({"policy": policy, "system": system}, Conflicts),
        version=versions.get(policy, "log"),
    )


def plan_of(policy: str, system: str | None = None) -> DecidePlan:
    table = table_of(policy, system)
    plan = DecidePlan(table, TruthCodec(truth_schema(table, CAPTURED), 43), HOLE)
    plan.decoders[SCHEMA_ID] = EnvelopeDecoder(envelope_schema())
    return plan


def row(customer: str, *, at: float = 0, version: int = 1, key: int = 1) -> dict[str, Any]:
    """`at`: seconds after noon, of updated_at; `version`: row_version."""
    moment = _NOON + datetime.timedelta(seconds=at)
    return order(key, customer=customer, updated_at=moment.isoformat().replace("+00:00", "Z"), row_version=version)


def event(
    system: str,
    offset: int,
    op: str,
    after: dict[str, Any] | None,
    *,
    before: dict[str, Any] | None = None,
    position: tuple[int, int] | None = None,
    **more: Any,
) -> LogRecord:
    """A capture record of a writer; before images are whole (REPLICA IDENTITY FULL)."""
    return change(offset, op, after, before=before, position=position, source={"name": system}, **more)


def held_by(system: str, image: dict[str, Any], plan: DecidePlan, *, offset: int = 10) -> Held:
    """What is held of the key after one insert of a writer."""
    return batch(plan, event(system, offset, "c", image)).held[BASE]


def batch(
    plan: DecidePlan, *records: LogRecord, held: Mapping[bytes, Held] | None = None, guard: Guard | None = None
) -> BatchDecision:
    answer = decide_batch(records, held or {}, guard or Guard(), plan)
    assert sum(answer.counts.values()) == len(records), "each record ends in exactly one outcome"
    assert not answer.counts[Outcome.REJECTED], [why.reason for _, why in answer.dead]
    return answer
