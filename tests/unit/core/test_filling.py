"""core.filling: a table is filled when a notification says so that was sent after its rows were asked for."""

import io
from typing import Any

import fastavro
import pytest

from trueup.core.filling import Reading, Scan, notification_schema, reading_of, scan_of
from trueup.model.event import LogRecord
from trueup.model.source_table import Filling

SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "Notification",
    "namespace": "io.debezium.connector.common",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "type", "type": "string"},
        {"name": "aggregate_type", "type": "string"},
        {"name": "additional_data", "type": ["null", {"type": "map", "values": "string"}], "default": None},
        {"name": "timestamp", "type": "long"},
    ],
}
"""As the converter makes it of what Debezium 3.7.0 sends."""

SCHEMAS = {7: notification_schema(SCHEMA)}
FILLING = Filling(table="orders", epoch=1, signal_id="fill-orders-1-a", notified_from=10, source="public.orders")


def notification(
    status: str | None = "SUCCEEDED",
    *,
    kind: str = "TABLE_SCAN_COMPLETED",
    aggregate: str = "Incremental Snapshot",
    source: str = "public.orders",
) -> bytes:
    more = None if status is None else {"scanned_collection": source, "status": status, "total_rows_scanned": "9"}
    said = {"id": "fill", "type": kind, "aggregate_type": aggregate, "additional_data": more, "timestamp": 1}
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(SCHEMA), said)
    return b"\x00" + (7).to_bytes(4, "big") + out.getvalue()


def record(value: bytes | None, offset: int = 12) -> LogRecord:
    return LogRecord("shop.trueup.notifications", 0, offset, 0, b"{}", value, ())


def test_the_end_of_a_tables_scan_is_read() -> None:
    assert scan_of(record(notification()), SCHEMAS) == Scan("public.orders", 12, "SUCCEEDED")


@pytest.mark.parametrize(
    "value",
    [
        notification(kind="STARTED"),
        notification(kind="IN_PROGRESS"),
        notification(aggregate="Initial Snapshot"),
        notification(status=None),
        notification()[:-4],
        b"junk",
        b"",
        None,
    ],
)
def test_nothing_else_is_the_end_of_a_scan(value: bytes | None) -> None:
    assert scan_of(record(value), SCHEMAS) is None


def test_what_has_an_unknown_schema_says_nothing() -> None:
    assert scan_of(record(notification()), {}) is None


def test_what_is_no_schema_is_refused() -> None:
    with pytest.raises(ValueError, match="no Avro schema"):
        notification_schema({"type": "record"})


@pytest.mark.parametrize(
    ("scans", "reading"),
    [
        ([], Reading.RUNNING),
        ([("public.orders", 10, "SUCCEEDED")], Reading.COMPLETE),
        ([("public.orders", 10, "EMPTY")], Reading.COMPLETE),
        ([("public.orders", 9, "SUCCEEDED")], Reading.RUNNING),  # when it was registered before
        ([("public.orders_old", 10, "SUCCEEDED"), ("other.orders", 11, "EMPTY")], Reading.RUNNING),
        ([("public.orders", 10, "SQL_EXCEPTION")], Reading.FAILED),
        ([("public.orders", 10, "UNKNOWN_SCHEMA")], Reading.FAILED),
        ([("public.orders", 10, "NO_PRIMARY_KEY")], Reading.FAILED),
        ([("public.orders", 10, "a word of a later version")], Reading.FAILED),
        ([("public.orders", 10, "SQL_EXCEPTION"), ("public.orders", 11, "SUCCEEDED")], Reading.COMPLETE),
        ([("public.orders", 10, "SUCCEEDED"), ("public.orders", 11, "SQL_EXCEPTION")], Reading.COMPLETE),
    ],
)
def test_a_table_is_filled_when_a_scan_of_it_succeeded_after_it_was_asked_for(
    scans: list[tuple[str, int, str]], reading: Reading
) -> None:
    assert reading_of(FILLING, [Scan(*scan) for scan in scans]) is reading
