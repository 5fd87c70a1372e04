"""What a source's catalog says of a table to be captured. `model.columns` is what of it goes into schemas."""

from __future__ import annotations

from typing import Literal

import msgspec

from trueup.model.columns import CapturedTable, Column


class SourceColumn(msgspec.Struct, frozen=True, kw_only=True):
    """A column, with what only capturing asks.

    :param dimensions: of an array as it was declared; 0 for no array. PostgreSQL does not enforce it.
    :param virtual: GENERATED ALWAYS AS (...) VIRTUAL: never in the log.
    :param lost: values of the type that capture would change without a word and no CHECK of the table keeps out.
    :param default: the expression of its DEFAULT or GENERATED ALWAYS AS (...); None also for a column of a domain.
    """

    column: Column
    dimensions: int = 0
    virtual: bool = False
    lost: tuple[str, ...] = ()
    default: str | None = None


class SourceIndex(msgspec.Struct, frozen=True, kw_only=True):
    """A unique index that identifies rows: all columns NOT NULL, not partial, not deferrable."""

    columns: tuple[str, ...]
    primary: bool = False
    replica_identity: bool = False


class SourcePartition(msgspec.Struct, frozen=True, kw_only=True):
    """What holds rows, with identity and TOAST of its own: the table itself, or a leaf partition.

    :param replica_identity: `pg_class.relreplident`: d default, n nothing, f full, i index.
    :param toast: rows can have values out of line; PostgreSQL decides it by the columns' types.
    """

    schema: str
    table: str
    replica_identity: str
    toast: bool


class SourceTable(msgspec.Struct, frozen=True, kw_only=True):
    """A table.

    :param kind: `pg_class.relkind`: r table, p partitioned table; others cannot be captured.
    :param persistence: `pg_class.relpersistence`: p permanent, u unlogged, t temporary.
    :param row_security: policies may hide rows from whoever is not the owner.
    :param owned: the login of `trueup apply` may alter it.
    """

    schema: str
    table: str
    kind: str
    persistence: str
    row_security: bool
    owned: bool
    columns: tuple[SourceColumn, ...]
    unique: tuple[SourceIndex, ...]
    partitions: tuple[SourcePartition, ...]

    @property
    def name(self) -> str:
        return f"{self.schema}.{self.table}"

    @property
    def primary_key(self) -> tuple[str, ...]:
        return next((index.columns for index in self.unique if index.primary), ())

    def captured(self, table: str, key: tuple[str, ...], *, generated: bool) -> CapturedTable:
        """The columns that reach Kafka.

        :param table: the registered name.
        :param generated: the publication carries stored generated columns (PostgreSQL 18 and later).
        """
        columns = (c.column for c in self.columns if not c.virtual and (generated or not c.column.generated))
        return CapturedTable(table=table, columns=tuple(columns), key=key)

    def uncaptured(self, *, generated: bool) -> tuple[str, ...]:
        """The other columns."""
        return tuple(c.column.name for c in self.columns if c.virtual or (c.column.generated and not generated))


class SourceServer(msgspec.Struct, frozen=True, kw_only=True):
    """The server of a system, and who we are there.

    :param lc_monetary: how the database writes money; Debezium reads the symbol-first, comma-and-point way only.
    :param instance: what tells this database from every other, as long as its server is not restarted.
    """

    version: int
    wal_level: str
    database: str
    user: str
    lc_monetary: str = "C"
    instance: str = ""

    @property
    def keeps_slots_on_failover(self) -> bool:
        return self.version >= 17_00_00  # noqa: PLR2004 - PostgreSQL 17

    @property
    def publishes_generated(self) -> bool:
        return self.version >= 18_00_00  # noqa: PLR2004 - PostgreSQL 18


class CaptureRole(msgspec.Struct, frozen=True, kw_only=True):
    """The role Debezium logs in as.

    :param sees_all_rows: superuser or BYPASSRLS.
    """

    name: str
    may_replicate: bool
    sees_all_rows: bool


class Privilege(msgspec.Struct, frozen=True, kw_only=True):
    """A right the capture role needs. `kind`: DATABASE, SCHEMA or TABLE; `name` has one or two parts."""

    right: str
    kind: str
    name: tuple[str, ...]


class Publication(msgspec.Struct, frozen=True, kw_only=True):
    """A publication as it is. Tables as (schema, table)."""

    tables: frozenset[tuple[str, str]]
    via_root: bool
    generated: bool
    complete: bool  # publishes insert, update, delete and truncate


class Slot(msgspec.Struct, frozen=True, kw_only=True):
    """A replication slot and the log it stands in; positions as integers.

    :param confirmed: what its reader confirmed: the log before is not sent any more.
    :param lost: the server gave up the log the slot needs.
    :param restart: the log from here on is kept for it.
    :param headroom_bytes: how much may be written until the server gives up the slot; None: it never does.
    """

    confirmed: int
    lost: bool
    active: bool
    restart: int = 0
    headroom_bytes: int | None = None


class CapturePlace(msgspec.Struct, frozen=True, kw_only=True):
    """Where capture stands in the log of its source; positions as integers.

    :param slot: None: there is none.
    :param captured: how far the connector has read; None before its first commit.
    """

    slot: Slot | None
    log_end: int
    captured: int | None


class ResyncNote(msgspec.Struct, frozen=True, kw_only=True):
    """How far the resync of a system is, as noted at its source.

    :param heartbeat_from: offset of the heartbeat topic from which on this epoch writes there.
    """

    epoch: int
    stage: Literal["begun", "snapshot", "sweep", "done"]
    heartbeat_from: int = 0


class Filling(msgspec.Struct, frozen=True, kw_only=True):
    """A registered table whose existing rows are read by an incremental snapshot that was not seen complete.

    :param source: the table at its source, with its schema.
    :param signal_id: of the request for them.
    :param notified_from: offset in the topic of notifications, taken before the request was made.
    """

    table: str
    epoch: int
    signal_id: str
    notified_from: int
    source: str


class SourceState(msgspec.Struct, frozen=True, kw_only=True):
    """What of ours is at the source already.

    :param tables: names in schema trueup; `columns` those of their columns, as (table, column).
    :param heartbeat_config: the digest of the settings under which the connector wrote its last heartbeat.
    :param fills: registered tables whose existing rows were asked for, with the epoch they were asked for in.
    :param late: those of them that joined a running connector.
    """

    schema: bool
    tables: frozenset[str]
    columns: frozenset[tuple[str, str]]
    heartbeat_row: bool
    heartbeat_config: str | None
    publication: Publication | None
    slot: bool
    fills: dict[str, int]
    late: frozenset[str]
    missing: frozenset[Privilege]
