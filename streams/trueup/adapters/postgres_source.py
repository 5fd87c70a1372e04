"""A source database as seen by `trueup apply`: its catalog, and what of ours is there.

Reads only, but for `execute`. The statements that make what is missing are `adapters.postgres_source_sql`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec
import psycopg
from psycopg import errors as pg

from trueup.adapters.postgres_connect import connect
from trueup.adapters.postgres_errors import said
from trueup.adapters.postgres_sql import INSTANCE, literal, quoted
from trueup.model.columns import Column
from trueup.model.errors import Refused, TrueUpError, Unreachable
from trueup.model.source_table import (
    CaptureRole,
    Filling,
    Privilege,
    Publication,
    ResyncNote,
    Slot,
    SourceColumn,
    SourceIndex,
    SourcePartition,
    SourceServer,
    SourceState,
    SourceTable,
)

# Half a minute for a command as a whole; catalog queries take milliseconds, a lock is waited for shortly.
_SESSION: Final = (
    "-c statement_timeout=15s -c lock_timeout=5s -c search_path=pg_catalog -c application_name=trueup-apply"
)
Row = tuple[Any, ...]

_TABLE: Final = """
SELECT c.oid, c.relkind::text, c.relpersistence::text, c.relrowsecurity, pg_has_role(c.relowner, 'USAGE')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = %s
"""
# A type outside pg_catalog is named with its schema (search_path), except base types of extensions (citext). A column
# of a domain is one of the type below, as it is for Debezium; the domain's checks stay at the source. Debezium knows no
# default of such a column, be it the column's or the domain's.
_COLUMNS: Final = """
WITH RECURSIVE resolved AS (
    SELECT attnum, atttypid AS typid, atttypmod AS typmod
    FROM pg_attribute WHERE attrelid = %(table)s AND attnum > 0 AND NOT attisdropped
    UNION ALL
    SELECT r.attnum, t.typbasetype, t.typtypmod FROM resolved r JOIN pg_type t ON t.oid = r.typid WHERE t.typtype = 'd'
)
SELECT a.attname,
       CASE WHEN e.typtype = 'b' AND en.nspname <> 'pg_catalog'
            THEN e.typname || CASE WHEN t.typcategory = 'A' THEN '[]' ELSE '' END
            ELSE format_type(r.typid, r.typmod) END,
       NOT a.attnotnull, e.typtype::text, a.attgenerated::text, a.attndims, format_type(r.typid, NULL),
       CASE WHEN r.typid = a.atttypid THEN pg_get_expr(d.adbin, d.adrelid) END
FROM pg_attribute a
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
JOIN resolved r ON r.attnum = a.attnum
JOIN pg_type t ON t.oid = r.typid AND t.typtype <> 'd'
JOIN pg_type e ON e.oid = CASE WHEN t.typcategory = 'A' AND t.typelem <> 0 THEN t.typelem ELSE t.oid END
JOIN pg_namespace en ON en.oid = e.typnamespace
WHERE a.attrelid = %(table)s
ORDER BY a.attnum
"""
# Checks of one column, as expressions. One that is NOT ENFORCED is not validated either.
_CHECKS: Final = """
SELECT a.attname, pg_get_expr(k.conbin, k.conrelid)
FROM pg_constraint k JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
WHERE k.conrelid = %s AND k.contype = 'c' AND k.convalidated AND cardinality(k.conkey) = 1
"""
# Values that arrive as others (`core.source_rules`): as 00:00:00, as zero, as a null in place of the array.
_LOST: Final = {
    "time without time zone": ("24:00:00",),
    "interval": ("infinity", "-infinity"),
    "numeric[]": ("{NaN}", "{Infinity}", "{-Infinity}"),
}
_UNIQUE: Final = """
SELECT array_agg(a.attname::text ORDER BY k.position), i.indisprimary, i.indisreplident
FROM pg_index i
CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, position)
LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum AND k.attnum > 0
WHERE i.indrelid = %s AND i.indisunique AND i.indimmediate AND i.indisvalid AND i.indpred IS NULL
  AND k.position <= i.indnkeyatts
GROUP BY i.indexrelid, i.indisprimary, i.indisreplident
HAVING bool_and(a.attnum IS NOT NULL AND a.attnotnull)
ORDER BY i.indisprimary DESC, i.indexrelid
"""
_PARTITIONS: Final = """
SELECT n.nspname, c.relname, c.relreplident::text, c.reltoastrelid <> 0
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r'
  AND c.oid IN (SELECT %s::regclass UNION SELECT relid FROM pg_partition_tree(%s::regclass))
ORDER BY 1, 2
"""


@contextmanager
def source_errors(system: str, doing: str) -> Iterator[None]:
    """Around everything that talks to a source: psycopg's exceptions end here.

    :param doing: what was tried, for people.
    """
    try:
        yield
    except psycopg.Error as exc:
        raise _foreign(exc, system, doing) from exc


def _foreign(exc: psycopg.Error, system: str, doing: str) -> TrueUpError:
    detail = f"{doing}: {said(exc)}"
    if isinstance(exc, pg.InsufficientPrivilege):
        hint = "use the login that owns the tables as dsn of the system"
        return Refused(f'source "{system}" denies trueup apply a right', detail=detail, hint=hint)
    if isinstance(exc, pg.LockNotAvailable | pg.QueryCanceled):
        hint = "a transaction holds a lock: see pg_stat_activity there, then run trueup apply again"
        return Refused(f'source "{system}" kept trueup apply waiting', detail=detail, hint=hint)
    # Anything that is no answer of the server, or says that it goes away: there is nobody to talk to.
    if exc.sqlstate is None or exc.sqlstate.startswith(("08", "53", "57P")):
        return Unreachable(f"source {system}", detail=detail)
    return Refused(
        f'source "{system}" refuses a statement',
        detail=detail,
        hint="see the statement: trueup apply --dry-run",
    )


class PostgresSource:
    """One connection to a source, in autocommit: each statement stands for itself and may be repeated.

    Raises Unreachable, and Refused for a DSN that cannot be read.
    """

    def __init__(self, system: str, dsn: str) -> None:
        self.system = system
        self._connection = connect(f"source {system}", dsn, options=_SESSION)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def server(self) -> SourceServer:
        """The server and our login there."""
        version, wal_level, database, user, lc_monetary, instance = self._one(
            "SELECT current_setting('server_version_num')::int, current_setting('wal_level'),"
            f" current_database(), current_user, current_setting('lc_monetary'), {INSTANCE}"
        )
        return SourceServer(
            version=version,
            wal_level=wal_level,
            database=database,
            user=user,
            lc_monetary=lc_monetary,
            instance=instance,
        )

    def capture_role(self, name: str) -> CaptureRole | None:
        """What a role may; None: there is none of that name."""
        row = self._maybe(
            "SELECT rolreplication OR rolsuper, rolbypassrls OR rolsuper FROM pg_roles WHERE rolname = %s",
            [name],
        )
        return None if row is None else CaptureRole(name=name, may_replicate=row[0], sees_all_rows=row[1])

    def table(self, schema: str, table: str) -> SourceTable | None:
        """A table; None: there is none of that name."""
        found = self._maybe(_TABLE, [schema, table])
        if found is None:
            return None
        oid, kind, persistence, row_security, owned = found
        checks = self._all(_CHECKS, [oid])
        return SourceTable(
            schema=schema,
            table=table,
            kind=kind,
            persistence=persistence,
            row_security=row_security,
            owned=owned,
            columns=tuple(self._column(row, checks) for row in self._all(_COLUMNS, {"table": oid})),
            unique=tuple(
                SourceIndex(columns=tuple(columns), primary=primary, replica_identity=identity)
                for columns, primary, identity in self._all(_UNIQUE, [oid])
            ),
            partitions=tuple(
                SourcePartition(schema=s, table=t, replica_identity=identity, toast=toast)
                for s, t, identity, toast in self._all(_PARTITIONS, [oid, oid])
            ),
        )

    def has_values(self, schema: str, table: str, columns: Iterable[str]) -> bool:
        """Whether any row has a value in any of the columns; True also where looking takes too long."""
        some = " OR ".join(f"{quoted(column)} IS NOT NULL" for column in columns)
        statement = f"SELECT EXISTS (SELECT FROM {quoted(schema)}.{quoted(table)} WHERE {some})"
        try:
            return bool(self._connection.execute(statement.encode()).fetchall()[0][0])
        except pg.QueryCanceled:
            return True
        except psycopg.Error as exc:
            raise _foreign(exc, self.system, "looking for values") from exc

    def state(self, name: str, role: str, privileges: Iterable[Privilege]) -> SourceState:
        """What of ours is there.

        :param name: of publication and slot.
        :param privileges: what `role` needs, on objects that may not exist yet.
        """
        columns = frozenset(
            (row[0], row[1])
            for row in self._all(
                "SELECT relname, attname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
                " JOIN pg_attribute a ON a.attrelid = c.oid"
                " WHERE nspname = 'trueup' AND relkind = 'r' AND attnum > 0 AND NOT attisdropped"
            )
        )
        tables = frozenset(table for table, _ in columns)
        heartbeat = "heartbeat" in tables
        fills = self._fills()
        return SourceState(
            schema=self._maybe("SELECT 1 FROM pg_namespace WHERE nspname = 'trueup'") is not None,
            tables=tables,
            columns=columns,
            heartbeat_row=heartbeat and self._heartbeat() is not None,
            heartbeat_config=self.heartbeat_config() if heartbeat else None,
            publication=self._publication(name),
            slot=self._maybe("SELECT 1 FROM pg_replication_slots WHERE slot_name = %s", [name]) is not None,
            fills={fill["table_name"]: fill["epoch"] for fill in fills},
            late=frozenset(fill["table_name"] for fill in fills if fill["how"] == "incremental"),
            missing=frozenset(p for p in privileges if not self._has(role, p)),
        )

    def asked(self) -> frozenset[str]:
        """Registered tables whose existing rows were asked for."""
        return frozenset(fill["table_name"] for fill in self._fills())

    def fillings(self) -> list[Filling]:
        """Tables whose existing rows are being read by an incremental snapshot."""
        return [
            msgspec.convert(fill | {"table": fill["table_name"]}, Filling)
            for fill in self._fills()
            if fill.get("filling")  # the column is missing before `trueup apply` of this version
        ]

    def _fills(self) -> list[dict[str, Any]]:
        if self._one("SELECT to_regclass('trueup.fills') IS NULL")[0]:
            return []
        rows = self._all("SELECT to_jsonb(f) FROM trueup.fills f WHERE system = %s ORDER BY table_name", [self.system])
        return [row[0] for row in rows]

    def heartbeat_config(self) -> str | None:
        """The digest of the settings under which the last heartbeat was written; None before the first."""
        row = self._heartbeat()
        return None if row is None else row[0]

    def slot(self, name: str) -> Slot | None:
        """A slot; None: there is none of that name."""
        row = self._maybe(
            "SELECT coalesce(confirmed_flush_lsn, '0/0') - '0/0', coalesce(wal_status, '') = 'lost', active,"
            " coalesce(restart_lsn, '0/0') - '0/0', safe_wal_size"
            " FROM pg_replication_slots WHERE slot_name = %s",
            [name],
        )
        if row is None:
            return None
        headroom = None if row[4] is None else int(row[4])
        return Slot(confirmed=int(row[0]), lost=row[1], active=row[2], restart=int(row[3]), headroom_bytes=headroom)

    def log_end(self) -> int:
        """Where the server's log ends, with what is visible and not written yet (synchronous_commit = off)."""
        row = self._one(
            "SELECT (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END)"
            " - '0/0'"
        )
        return int(row[0])

    def resync_note(self) -> ResyncNote | None:
        """How far the last resync of the system is; None: there was none."""
        if self._one("SELECT to_regclass('trueup.resyncs') IS NULL")[0]:
            return None
        row = self._maybe("SELECT epoch, stage, heartbeat_from FROM trueup.resyncs WHERE system = %s", [self.system])
        return None if row is None else ResyncNote(epoch=row[0], stage=row[1], heartbeat_from=row[2])

    def lock(self, doing: str) -> None:
        """Keep others from doing the same until the connection is closed. Raises Refused when somebody does it."""
        row = self._maybe("SELECT pg_try_advisory_lock(hashtext('trueup'), hashtext(%s))", [doing])
        if row is None or not row[0]:
            raise Refused(f"another process is at the {doing}", hint="wait for it; a killed one has left by now")

    def rows_estimated(self, tables: Iterable[tuple[str, str]]) -> int:
        """How many rows the planner believes in, for a progress bar."""
        query = (
            "SELECT greatest(sum(c.reltuples), 0)::bigint FROM pg_partition_tree(%s) t"
            " JOIN pg_class c ON c.oid = t.relid WHERE t.isleaf"
        )
        found = [self._maybe(query, [f"{quoted(schema)}.{quoted(table)}"]) for schema, table in tables]
        return sum(int(row[0] or 0) for row in found if row is not None)

    def execute(self, *statements: str) -> None:
        """Statements in one transaction."""
        with source_errors(self.system, statements[0]), self._connection.transaction():
            for statement in statements:
                self._connection.execute(statement.encode())

    def _heartbeat(self) -> Row | None:
        return self._maybe("SELECT config FROM trueup.heartbeat WHERE system = %s", [self.system])

    def _publication(self, name: str) -> Publication | None:
        found = self._maybe("SELECT to_jsonb(p) FROM pg_publication p WHERE pubname = %s", [name])
        if found is None:
            return None
        facts: dict[str, Any] = found[0]
        # pg_publication_rel, not pg_publication_tables: the view may show partitions in place of their root.
        rows = self._all(
            "SELECT nspname, relname FROM pg_publication_rel r JOIN pg_publication p ON p.oid = prpubid"
            " JOIN pg_class c ON c.oid = prrelid JOIN pg_namespace n ON n.oid = relnamespace"
            " WHERE pubname = %s",
            [name],
        )
        return Publication(
            tables=frozenset((schema, table) for schema, table in rows),
            via_root=facts["pubviaroot"],
            generated=facts.get("pubgencols", "n") == "s",
            complete=all(facts[kind] for kind in ("pubinsert", "pubupdate", "pubdelete", "pubtruncate")),
        )

    def _has(self, role: str, privilege: Privilege) -> bool:
        right = privilege.right
        match privilege.kind, privilege.name:
            case "DATABASE", (database,):
                row = self._maybe("SELECT has_database_privilege(%s, %s, %s)", [role, database, right])
            case "SCHEMA", (schema,):
                row = self._maybe(
                    "SELECT has_schema_privilege(%s, oid, %s) FROM pg_namespace WHERE nspname = %s",
                    [role, right, schema],
                )
            case _, (schema, table):
                row = self._maybe(
                    "SELECT has_table_privilege(%s, c.oid, %s) FROM pg_class c"
                    " JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = %s AND relname = %s",
                    [role, right, schema, table],
                )
            case _:
                row = None
        return row is not None and bool(row[0])

    def _column(self, row: Row, checks: list[Row]) -> SourceColumn:
        name, pg_type, nullable, kind, generated, dimensions, bare_type, default = row
        column = Column(name=name, pg_type=pg_type, nullable=nullable, kind=kind, generated=generated == "s")
        expressions = ["true", *(expression for checked, expression in checks if checked == name)]
        lost = tuple(
            value
            for value in _LOST.get(bare_type, ())
            if not any(self._keeps_out(expression, name, pg_type, value) for expression in expressions)
        )
        virtual = generated == "v"
        return SourceColumn(column=column, dimensions=dimensions, virtual=virtual, lost=lost, default=default)

    def _keeps_out(self, expression: str, name: str, pg_type: str, value: str) -> bool:
        """Whether the type itself or a check refuses a value. The source says: it evaluates what its catalog holds."""
        query = f"SELECT ({expression}) FROM (SELECT {literal(value)}::{pg_type} AS {quoted(name)}) AS one"
        try:
            row = self._connection.execute(query.encode()).fetchone()
        except pg.DataError:  # numeric(8,3) has no infinity, PostgreSQL 16 no infinite interval
            return True
        except pg.SyntaxErrorOrAccessRuleViolation:
            return False
        return row is not None and row[0] is False

    def _one(self, query: str) -> Row:
        row = self._maybe(query)
        assert row is not None, "the query always has a row"
        return row

    def _maybe(self, query: str, parameters: list[Any] | dict[str, Any] | None = None) -> Row | None:
        rows = self._all(query, parameters)
        return rows[0] if rows else None

    def _all(self, query: str, parameters: list[Any] | dict[str, Any] | None = None) -> list[Row]:
        with source_errors(self.system, "reading its catalog"):
            return self._connection.execute(query.encode(), parameters).fetchall()
