"""What comes in: a record of a capture topic, and the change event decoded from it."""

from __future__ import annotations

import enum
from typing import Any

import msgspec


class Op(enum.StrEnum):
    """Debezium's operation codes (envelope field `op`)."""

    READ = "r"
    CREATE = "c"
    UPDATE = "u"
    DELETE = "d"
    TRUNCATE = "t"
    MESSAGE = "m"


class LogRecord(msgspec.Struct, frozen=True, gc=False):
    """A record as Kafka holds it. Bytes are never changed; a dead letter carries them on."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


class Position(msgspec.Struct, frozen=True, order=True, gc=False):
    """Where a change stands in the source's log: `source.sequence` of Debezium PostgreSQL as integers.

    `commit` is the LSN of the last commit before the change, 0 before the first (then the field is null); `change` is
    the     LSN of the change itself. Carried for audit and for the regress guard; never the version (design 5).
    """

    commit: int
    change: int


class ChangeEvent(msgspec.Struct, frozen=True, gc=False):
    """One change of one row, decoded and not yet judged.

    :param key: the captured key bytes, the identity of the row everywhere downstream.
    :param row: the row after the change; None for a delete.
    :param before: the row before it where the source sends it; holds only key columns unless REPLICA IDENTITY FULL.
    :param position: None for rows of a snapshot, which have no position of their own.
    :param commit_time_us: microseconds since 1970, `source.ts_us`; for snapshot rows the time of the snapshot.
    :param replay_of: offset of the record this one is an operator's replay of.
    :param read_at: of a row of a snapshot, how far the log was when it was sent. Rows of one chunk of an incremental
        snapshot have it in common.
    """

    op: Op
    system: str
    schema: str
    table: str
    key: bytes
    row: dict[str, Any] | None
    before: dict[str, Any] | None
    position: Position | None
    commit_time_us: int
    epoch: int
    offset: int
    replay_of: int | None = None
    read_at: Position | None = None


class Ignorable(msgspec.Struct, frozen=True, gc=False):
    """A record that carries no change of a row: tombstone, heartbeat, transaction boundary, logical message."""

    what: str
