"""Has the table that joined a running connector been read? Debezium's notifications say it. Pure.

Not the offsets it commits, though they name the tables that wait (`incremental_snapshot_collections`): a table whose
reading failed, as when the connection broke, is dropped from that list like one that was read, and streaming goes on
(read in Debezium 3.7.0). Only its notification says which it was: it is sent through the same queue, behind the rows of
the table's last chunk, so they are in Kafka when it can be read.
"""

from __future__ import annotations

import enum
import io
from collections.abc import Iterable, Mapping
from typing import Any, Final

import fastavro
import msgspec
from fastavro.types import Schema

from trueup.core.decode import FRAME_BYTES, schema_ids
from trueup.model.event import LogRecord
from trueup.model.source_table import Filling

_READ: Final = frozenset({"SUCCEEDED", "EMPTY"})


class Scan(msgspec.Struct, frozen=True):
    """The end of an incremental snapshot of one table.

    :param source: the table, with its schema.
    :param offset: in the topic of notifications.
    :param status: in Debezium's words.
    """

    source: str
    offset: int
    status: str

    @property
    def succeeded(self) -> bool:
        return self.status in _READ


class Reading(enum.Enum):
    """How the reading of a table goes."""

    RUNNING = enum.auto()
    COMPLETE = enum.auto()
    FAILED = enum.auto()


def notification_schema(schema: dict[str, Any]) -> Schema:
    """A schema as the registry has it, for `scan_of`. Raises ValueError when it is none of Avro."""
    try:
        return fastavro.parse_schema(schema)
    except Exception as exc:
        msg = f"no Avro schema: {exc}"
        raise ValueError(msg) from exc


def scan_of(record: LogRecord, schemas: Mapping[int, Schema]) -> Scan | None:
    """The scan whose end a notification tells. None for any other notification, and for what cannot be read: a table
    is then not known to be filled."""
    known = [schemas[schema_id] for schema_id in schema_ids([record]) if schema_id in schemas]
    if not known or record.value is None:
        return None
    try:
        said: Any = fastavro.schemaless_reader(io.BytesIO(record.value[FRAME_BYTES:]), known[0], None)
        if (said["aggregate_type"], said["type"]) != ("Incremental Snapshot", "TABLE_SCAN_COMPLETED"):
            return None
        more = said["additional_data"]
        return Scan(more["scanned_collection"], record.offset, more["status"])
    except Exception:
        return None


def reading_of(filling: Filling, scans: Iterable[Scan]) -> Reading:
    """How the reading of a table goes.

    Every scan of the whole table that ended after it was asked for began when its log was captured already, so any that
    succeeded will do. A scan of one row cannot be told from it; `trueup resnapshot` refuses that meanwhile.
    """
    ended = [scan for scan in scans if scan.source == filling.source and scan.offset >= filling.notified_from]
    if any(scan.succeeded for scan in ended):
        return Reading.COMPLETE
    return Reading.FAILED if ended else Reading.RUNNING
