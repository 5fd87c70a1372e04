"""The table of the simulation, as one shop owns it or as two systems write it, and its two copies: registrations,
codecs and plans, compiled once per process.
"""

from __future__ import annotations

import io
from typing import Any, Final

import fastavro
import msgspec

from tests.envelopes import envelope_schema, source_of
from trueup.core.connector_config import heartbeat_topic
from trueup.core.decode import EnvelopeDecoder
from trueup.core.pipeline import DecidePlan
from trueup.core.rules_copy import compile_copy
from trueup.core.truth_codec import TruthCodec, TruthReader
from trueup.core.truth_schema import truth_schema
from trueup.model.columns import CapturedTable, Column
from trueup.model.registration import Check, ColumnRule, ColumnVersion, Conflicts, Copy, Owner, Source, Table
from trueup.model.write import CopyPlan
from trueup.runtime.apply_agent import ApplyTable

HOLE: Final = "__trueup_unavailable_0123456789abcdef"
PARTITIONS: Final = 2
CAPTURE_ID, HEARTBEAT_ID, TRUTH_ID, SHARED_TRUTH_ID, UNKNOWN_ID = 7, 8, 41, 42, 99

AMOUNT_MAX_AT_REPORTING: Final = 900
"""A CHECK constraint at one of the replicas: what the owner accepts, an application may not."""

AMOUNT_UNDECIDED_ABOVE: Final = 5_000
"""A check of the table that is for people to judge."""

CAPTURED = CapturedTable(
    table="orders",
    key=("order_id",),
    columns=(
        Column(name="order_id", pg_type="bigint", nullable=False),
        Column(name="amount", pg_type="bigint", nullable=True),
        Column(name="note", pg_type="text", nullable=True),
    ),
)
COPIES = (
    Copy(replica="warehouse"),
    Copy(
        replica="reporting",
        table="sales.orders",
        columns={"id": "order_id", "amount_eur": ColumnRule(from_="amount", cast="bigint")},
    ),
)
ORDERS = Table(
    table="orders",
    owner=Owner(system="shop"),
    source=Source(table="public.orders"),
    key=["order_id"],
    checks=[
        Check(column="amount", min=0),
        Check(column="amount", max=AMOUNT_UNDECIDED_ABOVE, on_violation="escalate"),
    ],
    replicas=list(COPIES),
)
WRITERS: Final = ("shop", "crm")
_SHARED = msgspec.structs.replace(ORDERS, owner=None, writers=list(WRITERS), checks=[])
SHARED: Final = (
    # Ranks are compared alike, of times and of numbers.
    msgspec.structs.replace(_SHARED, conflicts=Conflicts("last_write_wins"), version=ColumnVersion(column="amount")),
    msgspec.structs.replace(_SHARED, conflicts=Conflicts("version_comparison"), version=ColumnVersion(column="amount")),
    msgspec.structs.replace(_SHARED, conflicts=Conflicts("prefer", "crm")),
    msgspec.structs.replace(_SHARED, conflicts=Conflicts("escalate")),
)
"""The same table with two writers, by each policy."""

HEARTBEATS: Final = heartbeat_topic("shop")
TOPICS: Final = (
    *(ORDERS.capture_topic, _SHARED.capture_topic, ORDERS.truth_topic),
    *(ORDERS.dead_letter_topic, ORDERS.cases_topic, HEARTBEATS),
)

_ENVELOPE = envelope_schema(CAPTURED)
_WRITER = fastavro.parse_schema(_ENVELOPE)
_TRUTH = truth_schema(ORDERS, CAPTURED)
_CODEC = TruthCodec(_TRUTH, TRUTH_ID)
_SHARED_TRUTH = truth_schema(_SHARED, CAPTURED)
_SHARED_CODEC = TruthCodec(_SHARED_TRUTH, SHARED_TRUTH_ID)
_DECODER = EnvelopeDecoder(_ENVELOPE)
PLANS: Final[dict[str, CopyPlan]] = {copy.replica: compile_copy(ORDERS, copy, CAPTURED) for copy in COPIES}

Row = tuple[int, int, str]
"""order_id, amount, note: as the source has it."""


class Registry:
    """What the workers ask of the schema registry.

    :param others: schemas that are not of the table, by id.
    """

    def __init__(self, others: dict[int, dict[str, Any]]) -> None:
        self._schemas = {CAPTURE_ID: _ENVELOPE, TRUTH_ID: _TRUTH, SHARED_TRUTH_ID: _SHARED_TRUTH, **others}

    def schema_by_id(self, schema_id: int) -> dict[str, Any]:
        return self._schemas[schema_id]


def decide_plan(table: Table) -> DecidePlan:
    plan = DecidePlan(table, _SHARED_CODEC if table.several_writers else _CODEC, HOLE)
    plan.decoders[CAPTURE_ID] = _DECODER
    return plan


def truth_reader() -> TruthReader:
    reader = TruthReader()
    reader.learn(TRUTH_ID, _TRUTH)
    reader.learn(SHARED_TRUTH_ID, _SHARED_TRUTH)
    return reader


APPLY_TABLES: Final = {replica: ApplyTable(plan, ORDERS.systems, truth_reader()) for replica, plan in PLANS.items()}


def refused_by(replica: str, values: tuple[Any, ...]) -> bool:
    """The replica's CHECK constraint, over the values of its copy."""
    return replica == "reporting" and values[1] > AMOUNT_MAX_AT_REPORTING


def is_for_people(values: tuple[Any, ...]) -> bool:
    """Whether rules could not decide about the row of a copy; where it is there all the same, it is flagged."""
    return int(values[1]) > AMOUNT_UNDECIDED_ABOVE


def shown_by(replica: str, row: Row) -> tuple[Any, ...]:
    """What the copy shows of a row: said here once more, in other words than core.rules_copy."""
    return row if replica == "warehouse" else row[:2]


def key_of(order_id: int) -> bytes:
    return b'{"order_id":%d}' % order_id


def order_id_of(key: bytes) -> int:
    return int(key.removeprefix(b'{"order_id":').removesuffix(b"}"))


def row_of(fields: dict[str, Any] | None) -> Row | None:
    """A row by its fields, as truths and the images of cases have it."""
    return None if fields is None else (fields["order_id"], fields["amount"], fields["note"])


def envelope(
    op: str, row: Row | None, before: Row | None, position: tuple[int, int], time_us: int, *, system: str = "shop"
) -> bytes:
    """The bytes of a capture record."""
    data = {
        "before": _image(before),
        "after": _image(row),
        "source": source_of(op, 0, position, time_us) | {"name": system},
        "transaction": None,
        "op": op,
        "ts_ms": None,
        "ts_us": None,
        "ts_ns": None,
    }
    out = io.BytesIO()
    out.write(b"\x00" + CAPTURE_ID.to_bytes(4, "big"))
    fastavro.schemaless_writer(out, _WRITER, data)
    return out.getvalue()


def _image(row: Row | None) -> dict[str, Any] | None:
    return None if row is None else {"order_id": row[0], "amount": row[1], "note": row[2]}
