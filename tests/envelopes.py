"""Capture records as Debezium PostgreSQL 3.7 writes them through Apicurio's Avro converter, for tests without servers.

The table is an order of the shop: text, numeric (as text), enum, array, bytes, a time and a counter. Whoever needs a
malformed record makes a good one here and breaks it by name: `change(3, source={"sequence": None})`.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from typing import Any

import fastavro
import msgspec

from trueup.core.avro_types import avro_primitive, is_array
from trueup.core.decode import EPOCH_HEADER, REPLAY_HEADER, EnvelopeDecoder
from trueup.core.pipeline import DecidePlan
from trueup.core.truth_codec import TruthCodec
from trueup.core.truth_schema import avro_name, truth_schema
from trueup.model.columns import CapturedTable, Column
from trueup.model.event import LogRecord
from trueup.model.registration import Cause, ColumnVersion, Owner, Source, Table

SCHEMA_ID = 7
TRUTH_SCHEMA_ID = 41
HOLE = "__trueup_unavailable_0123456789abcdef01234567"
SECRET = "4711-SECRET-VALUE"
"""A column value that no error, reason, hint or log line may contain."""

COMMIT_TIME_US = 1_767_607_200_000_000  # 2026-01-05T10:00:00Z

ORDERS = Table(
    table="orders",
    owner=Owner(system="shop"),
    source=Source(table="public.orders"),
    key=["order_id"],
    cause=Cause(column="change_reason"),
)
BY_TIME = msgspec.structs.replace(ORDERS, version=ColumnVersion(column="updated_at", uncertainty="2s"))
BY_COUNTER = msgspec.structs.replace(ORDERS, version=ColumnVersion(column="row_version"))

CAPTURED = CapturedTable(
    table="orders",
    key=("order_id",),
    columns=(
        Column(name="order_id", pg_type="bigint", nullable=False),
        Column(name="customer", pg_type="text", nullable=True),
        Column(name="amount", pg_type="numeric(12,2)", nullable=True),
        Column(name="state", pg_type="order_state", nullable=True, kind="e"),
        Column(name="tags", pg_type="text[]", nullable=True),
        Column(name="photo", pg_type="bytea", nullable=True),
        Column(name="weight", pg_type="double precision", nullable=True),
        Column(name="change_reason", pg_type="text", nullable=True),
        Column(name="updated_at", pg_type="timestamp with time zone", nullable=True),
        Column(name="row_version", pg_type="bigint", nullable=True),
    ),
)


def order(order_id: int = 1, **values: Any) -> dict[str, Any]:
    """A row as Debezium decodes it; `order(2, amount="-1.00")`."""
    row: dict[str, Any] = {
        "order_id": order_id,
        "customer": "Ada",
        "amount": "10.00",
        "state": "open",
        "tags": ["new", None],
        "photo": b"\x00\xff",
        "weight": 1.5,
        "change_reason": "ordered",
        "updated_at": "2026-01-05T10:00:00.000000Z",
        "row_version": 1,
    }
    unknown = values.keys() - row.keys()
    assert not unknown, unknown
    return row | values


def key_of(order_id: int = 1) -> bytes:
    """Connect's JsonConverter with schemas.enable=false."""
    return b'{"order_id":%d}' % order_id


def _nullable(avro: Any) -> dict[str, Any]:
    return {"type": ["null", avro], "default": None}


def _column_field(column: Column) -> dict[str, Any]:
    primitive = avro_primitive(column)
    value: Any = {"type": "array", "items": ["null", primitive]} if is_array(column) else primitive
    name = avro_name(column.name)
    return {"name": name} | (_nullable(value) if column.nullable else {"type": value})


def source_schema() -> dict[str, Any]:
    """Debezium's source block for PostgreSQL."""
    snapshot = {
        "type": "string",
        "connect.version": 1,
        "connect.parameters": {"allowed": "true,first,first_in_data_collection,last_in_data_collection,last,false"},
        "connect.default": "false",
        "connect.name": "io.debezium.data.Enum",
    }
    texts = [{"name": name, "type": "string"} for name in ("version", "connector", "name")]
    return {
        "type": "record",
        "name": "Source",
        "namespace": "io.debezium.connector.postgresql",
        "fields": [
            *texts,
            {"name": "ts_ms", "type": "long"},
            {"name": "snapshot", "type": [snapshot, "null"], "default": "false"},
            {"name": "db", "type": "string"},
            {"name": "sequence", **_nullable("string")},
            {"name": "ts_us", **_nullable("long")},
            {"name": "ts_ns", **_nullable("long")},
            {"name": "schema", "type": "string"},
            {"name": "table", "type": "string"},
            {"name": "txId", **_nullable("long")},
            {"name": "lsn", **_nullable("long")},
            {"name": "xmin", **_nullable("long")},
        ],
        "connect.name": "io.debezium.connector.postgresql.Source",
    }


def envelope_schema(captured: CapturedTable = CAPTURED, topic: str = "shop.public.orders") -> dict[str, Any]:
    """The writer schema of a capture topic, as the registry has it."""
    row = {
        "type": "record",
        "name": "Value",
        "fields": [_column_field(column) for column in captured.columns],
        "connect.name": f"{topic}.Value",
    }
    block = {
        "type": "record",
        "name": "block",
        "namespace": "event",
        "fields": [
            {"name": "id", "type": "string"},
            {"name": "total_order", "type": "long"},
            {"name": "data_collection_order", "type": "long"},
        ],
        "connect.version": 1,
        "connect.name": "event.block",
    }
    return {
        "type": "record",
        "name": "Envelope",
        "namespace": topic,
        "fields": [
            {"name": "before", **_nullable(row)},
            {"name": "after", **_nullable("Value")},
            {"name": "source", "type": source_schema()},
            {"name": "transaction", **_nullable(block)},
            {"name": "op", "type": "string"},
            {"name": "ts_ms", **_nullable("long")},
            {"name": "ts_us", **_nullable("long")},
            {"name": "ts_ns", **_nullable("long")},
        ],
        "connect.version": 2,
        "connect.name": f"{topic}.Envelope",
    }


def framed(data: dict[str, Any], schema: dict[str, Any], schema_id: int = SCHEMA_ID) -> bytes:
    """0x00, schema id, Avro."""
    out = io.BytesIO()
    out.write(b"\x00" + schema_id.to_bytes(4, "big"))
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), data)
    return out.getvalue()


_PARSED = fastavro.parse_schema(envelope_schema())


def _write_envelope(data: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, _PARSED, data)
    return b"\x00" + SCHEMA_ID.to_bytes(4, "big") + out.getvalue()


def default_position(offset: int) -> tuple[int, int]:
    """Rises with the offset, as a capture with exactly-once writes it."""
    return 1_000 + 10 * offset, 1_001 + 10 * offset


def source_of(op: str, offset: int, position: tuple[int | None, int] | None, commit_time_us: int) -> dict[str, Any]:
    commit, lsn = default_position(offset) if position is None else position
    return {
        "version": "3.7.0.Final",
        "connector": "postgresql",
        "name": "shop",
        "ts_ms": commit_time_us // 1000,
        "snapshot": "true" if op == "r" else "false",
        "db": "shop",
        "sequence": json.dumps([None if commit is None else str(commit), str(lsn)], separators=(",", ":")),
        "ts_us": commit_time_us,
        "ts_ns": commit_time_us * 1000,
        "schema": "public",
        "table": "orders",
        "txId": 700 + offset,
        "lsn": lsn,
        "xmin": None,
    }


def envelope(
    offset: int,
    op: str = "c",
    row: dict[str, Any] | None = None,
    *,
    before: dict[str, Any] | None = None,
    position: tuple[int | None, int] | None = None,
    commit_time_us: int | None = None,
    source: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The envelope as data. A delete's `row` is its before image, as people think of it."""
    if op == "d":
        before, row = before or row or order(), None
    elif row is None and op in {"c", "u", "r"}:
        row = order()
    time_us = COMMIT_TIME_US + offset * 1000 if commit_time_us is None else commit_time_us
    return {
        "before": before,
        "after": row,
        "source": source_of(op, offset, position, time_us) | (source or {}),
        "transaction": None,
        "op": op,
        "ts_ms": time_us // 1000 + 20,
        "ts_us": time_us + 20_000,
        "ts_ns": (time_us + 20_000) * 1000,
    }


def change(
    offset: int,
    op: str = "c",
    row: dict[str, Any] | None = None,
    *,
    before: dict[str, Any] | None = None,
    key: bytes | None = None,
    epoch: int | None = 1,
    position: tuple[int | None, int] | None = None,
    commit_time_us: int | None = None,
    replay_of: int | None = None,
    source: dict[str, Any] | None = None,
) -> LogRecord:
    """A capture record; the key is that of the row unless given."""
    data = envelope(offset, op, row, before=before, position=position, commit_time_us=commit_time_us, source=source)
    image = data["after"] or data["before"]
    headers = []
    if epoch is not None:
        headers.append((EPOCH_HEADER, str(epoch).encode()))
    if replay_of is not None:
        headers.append((REPLAY_HEADER, str(replay_of).encode()))
    if key is None and image is not None:
        key = key_of(image["order_id"])
    return log_record(offset, _write_envelope(data), key=key, headers=tuple(headers))


def log_record(
    offset: int,
    value: bytes | None,
    *,
    key: bytes | None = b'{"order_id":1}',
    headers: tuple[tuple[str, bytes], ...] = ((EPOCH_HEADER, b"1"),),
) -> LogRecord:
    """A record of any bytes."""
    return LogRecord("shop.public.orders", 0, offset, 1_767_607_200_000, key, value, headers)


def orders_codec(table: Table = ORDERS, captured: CapturedTable = CAPTURED) -> TruthCodec:
    return TruthCodec(truth_schema(table, captured), TRUTH_SCHEMA_ID)


def orders_plan(table: Table = ORDERS, decoders: Iterable[tuple[int, EnvelopeDecoder]] = ()) -> DecidePlan:
    """The plan of the orders table, which knows the capture's schema."""
    plan = DecidePlan(table, orders_codec(table), HOLE)
    plan.decoders[SCHEMA_ID] = EnvelopeDecoder(envelope_schema())
    plan.decoders.update(decoders)
    return plan
