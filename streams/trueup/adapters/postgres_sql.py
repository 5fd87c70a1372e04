"""All SQL that a replica is written with, as text. No I/O: `adapters.postgres_replica` sends it.

`adapters.postgres_ddl` is its neighbour for tables and grants. Names come from the registration, never from an event.
Statements with parameters hold names with their `%` doubled, since psycopg would take it for a placeholder.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from trueup.adapters.postgres_arrays import transport_type
from trueup.model.write import REPLICA_OUTCOMES, VERSION_COLUMN, CopyPlan, TargetColumn

IDENTIFIER_BYTES_MAX: Final = 63  # NAMEDATALEN - 1; PostgreSQL cuts longer names silently, and two become one

_TYPE: Final = re.compile(r"[a-z_][a-z0-9_ .]*(\([0-9]+(,-?[0-9]+)?\))?[a-z ]*(\[\])?")


def quoted(name: str) -> str:
    """A name as a quoted identifier. Raises ValueError for a name PostgreSQL could not keep."""
    if not name:
        raise ValueError("a name is empty")
    if "\0" in name:
        raise ValueError(f"name {name!r} holds a NUL")
    if len(name.encode()) > IDENTIFIER_BYTES_MAX:
        raise ValueError(f"name {name!r} is longer than {IDENTIFIER_BYTES_MAX} bytes")
    return '"' + name.replace('"', '""') + '"'


def bindable(sql: str) -> str:
    """SQL that holds names, for a statement that psycopg sends with parameters: `%` doubled."""
    return sql.replace("%", "%%")


def literal(text: str) -> str:
    """A text constant (standard_conforming_strings is on). Raises ValueError for a NUL."""
    if "\0" in text:
        raise ValueError(f"text {text!r} holds a NUL")
    return "'" + text.replace("'", "''") + "'"


def type_name(name: str) -> str:
    """A type name as it is, if it can be nothing else. Raises ValueError otherwise."""
    if _TYPE.fullmatch(name) is None:
        raise ValueError(f"{name!r} is no name of a type")
    return name


def table_name(plan: CopyPlan) -> str:
    """The copy's table, quoted and with its schema."""
    return f"{quoted(plan.target_schema)}.{quoted(plan.target_table)}"


def source_expression(column: TargetColumn) -> str:
    """SQL over the source's table that gives the value the copy must hold: what `verify` compares with."""
    name = quoted(column.source)
    if column.mask is not None:
        return f"encode(sha256(convert_to({name}::text, 'UTF8')), 'hex')"
    return f"{name}{_casts('', column.via_type, column.target_type)}"


INSTANCE: Final = (
    "(SELECT oid::text FROM pg_catalog.pg_database WHERE datname = current_database())"
    " || ' ' || extract(epoch FROM pg_catalog.pg_postmaster_start_time())::text"
)
"""An expression that is the same in two sessions if, and in practice only if, they are in the same database."""

# --- progress ----------------------------------------------------------------------------------------------------

_OUTCOME_COLUMNS: Final = ", ".join(outcome.value for outcome in REPLICA_OUTCOMES)

CLAIM: Final = f"""
INSERT INTO trueup.progress AS p (topic, partition, token, topic_identity) VALUES (%s, %s, 1, %s)
ON CONFLICT (topic, partition) DO UPDATE SET token = p.token + 1, updated_at = now(),
       as_of = CASE WHEN p.next_offset IS NULL THEN NULL ELSE p.as_of END,
       topic_identity = CASE WHEN p.next_offset IS NULL THEN excluded.topic_identity
                             ELSE coalesce(p.topic_identity, excluded.topic_identity) END
RETURNING token, next_offset, (extract(epoch FROM as_of) * 1000000)::bigint, topic_identity, {_OUTCOME_COLUMNS}"""
"""Parameters: topic, partition, identity of the topic. A partition that is read from its beginning is as of nothing
until a marker is met, and takes whichever topic is there; an offset keeps the topic it was counted in."""

LOCK: Final = """
SELECT token, next_offset,
       EXISTS (SELECT FROM trueup.deleted_keys WHERE target = %s),
       EXISTS (SELECT FROM trueup.dead_letters WHERE target = %s AND superseded_at IS NULL),
       EXISTS (SELECT FROM trueup.flags WHERE target = %s)
FROM trueup.progress WHERE topic = %s AND partition = %s FOR UPDATE"""
"""Parameters: target, target, target, topic, partition."""

ADVANCE: Final = f"""
UPDATE trueup.progress SET next_offset = %s, updated_at = now(),
       {", ".join(f"{outcome.value} = {outcome.value} + %s" for outcome in REPLICA_OUTCOMES)}
WHERE topic = %s AND partition = %s"""
"""Parameters: next_offset, one number per REPLICA_OUTCOMES, topic, partition."""

ADVANCE_MARKED: Final = ADVANCE.replace(
    "updated_at = now(),",
    """updated_at = now(), as_of = timestamptz '1970-01-01 00:00:00Z' + %s * interval '1 microsecond',
       as_of_position = %s, as_of_epoch = %s, as_of_truncated = %s, dead_lettered_keys = %s, held_keys = %s,""",
)
"""As ADVANCE; behind next_offset: the fields of `model.watermark.AsOf`."""

RECORDED: Final = """
SELECT plan::text FROM trueup.copies
WHERE target = %s OR plan->>'table' = %s AND NOT starts_with(target, %s)
ORDER BY target = %s DESC LIMIT 1"""
"""Parameters: target, table, what targets of shadows begin with, target. A copy that is registered under a new name is
found under the one it still has."""

HOLD: Final = "SELECT 1"

DEAD_LETTER: Final = """
INSERT INTO trueup.dead_letters AS l
       (target, topic, partition, record_offset, key, value, version, stage, error_class, sqlstate, reason)
VALUES (%s, %s, %s, %s, %b, %b, %b, %s, %s, %s, %s)
ON CONFLICT (target, topic, partition, record_offset) DO UPDATE
SET key = excluded.key, value = excluded.value, version = excluded.version, stage = excluded.stage,
    error_class = excluded.error_class, sqlstate = excluded.sqlstate, reason = excluded.reason,
    created_at = excluded.created_at, superseded_at = NULL
WHERE l.version <> excluded.version"""
"""An equal version is the same record read again; another one stands at the offset of a topic that was made anew."""

OPEN_DEAD_LETTERS: Final = "SELECT count(*) FROM trueup.dead_letters WHERE target = %s AND superseded_at IS NULL"


# --- one batch of one copy ---------------------------------------------------------------------------------------


class BatchStatements(msgspec.Struct, frozen=True):
    """The statements of a copy. Parameters are arrays (`postgres_arrays`), a value per write, in the order named here.

    :param find_deleted: key; gives key and version of those that are deleted at the replica.
    :param revive: key, version: forgets that keys were deleted, since they become rows again.
    :param upsert: key, version, every column.
    :param delete: key, version, key columns.
    :param remember_deleted: key, version, key columns; its row count is the number of deletes applied.
    :param count_held: key, version, key columns: how many writes are at the replica in their very version.
    :param supersede: key, version.
    :param forget_flags: key, version: flags of older versions.
    :param set_flags: key, version, flags as text of an array, key columns: of the writes that the copy now holds.
    """

    find_deleted: str
    revive: str
    upsert: str
    delete: str
    remember_deleted: str
    count_held: str
    supersede: str
    forget_flags: str
    set_flags: str


def batch_statements(plan: CopyPlan) -> BatchStatements:
    """Compile the statements of a copy. Raises ValueError for a name or a type that cannot be written."""
    target = bindable(literal(plan.target))
    table = bindable(table_name(plan))
    of_keys = unnested(())
    of_rows = unnested(plan.key_columns)
    row_is_held = f"{table} t ON {same_key(plan)}"
    return BatchStatements(
        find_deleted="SELECT d.key, d.version FROM unnest(%b::bytea[]) AS s (key) JOIN trueup.deleted_keys d"
        f" ON d.target = {target} AND d.key = s.key",
        revive=f"DELETE FROM trueup.deleted_keys d USING {of_keys}"
        f" WHERE d.target = {target} AND d.key = s.key AND d.version < s.version",
        upsert=_upsert(plan),
        delete=f"DELETE FROM {table} t USING {of_rows} WHERE {same_key(plan)} AND t.{VERSION_COLUMN} < s.version",
        remember_deleted="INSERT INTO trueup.deleted_keys AS d (target, key, version)"
        f" SELECT {target}, s.key, s.version FROM {of_rows}"
        f" WHERE NOT EXISTS (SELECT FROM {table} t WHERE {same_key(plan)}) ORDER BY s.key"
        " ON CONFLICT (target, key) DO UPDATE SET version = excluded.version WHERE d.version < excluded.version",
        count_held=f"SELECT count(*) FROM {of_rows} LEFT JOIN {row_is_held}"
        f" LEFT JOIN trueup.deleted_keys d ON d.target = {target} AND d.key = s.key"
        f" WHERE t.{VERSION_COLUMN} = s.version OR d.version = s.version",
        supersede=f"UPDATE trueup.dead_letters l SET superseded_at = now() FROM {of_keys}"
        f" WHERE l.target = {target} AND l.superseded_at IS NULL AND l.key = s.key AND l.version <= s.version",
        forget_flags=f"DELETE FROM trueup.flags f USING {of_keys}"
        f" WHERE f.target = {target} AND f.key = s.key AND f.version < s.version",
        set_flags="INSERT INTO trueup.flags AS f (target, key, version, flags)"
        f" SELECT {target}, s.key, s.version, s.flags::text[] FROM {unnested(plan.key_columns, 'flags')}"
        f" JOIN {row_is_held} AND t.{VERSION_COLUMN} = s.version ORDER BY s.key"
        " ON CONFLICT (target, key) DO UPDATE SET version = excluded.version, flags = excluded.flags,"
        " flagged_at = excluded.flagged_at WHERE f.version < excluded.version",
    )


def unnested(columns: tuple[TargetColumn, ...], *texts: str) -> str:
    """The batch as a relation `s`: key, version, texts by these names, and c0, c1, ... for these columns."""
    kinds = ["bytea", "bytea", *("text" for _ in texts)]
    kinds += [type_name(transport_type(column.staged_type)) for column in columns]
    names = ["key", "version", *texts, *(f"c{index}" for index in range(len(columns)))]
    return f"unnest({', '.join(f'%b::{kind}[]' for kind in kinds)}) AS s ({', '.join(names)})"


def _upsert(plan: CopyPlan) -> str:
    """Writes come sorted by key, and unnest keeps that order; two writers then lock rows in the same order."""
    names = [named(column.name) for column in plan.columns]
    values = [staged_value(index, column) for index, column in enumerate(plan.columns)]
    set_columns = [named(column.name) for column in plan.columns if column.name not in plan.key]
    assignments = [f"{name} = excluded.{name}" for name in (*set_columns, VERSION_COLUMN)]
    return (
        f"INSERT INTO {bindable(table_name(plan))} AS t ({', '.join((*names, VERSION_COLUMN))})"
        f" SELECT {', '.join((*values, 's.version'))} FROM {unnested(plan.columns)}"
        f" ON CONFLICT ({', '.join(named(name) for name in plan.key)}) DO UPDATE SET {', '.join(assignments)}"
        f" WHERE t.{VERSION_COLUMN} < excluded.{VERSION_COLUMN}"
    )


def same_key(plan: CopyPlan) -> str:
    """The condition that row `t` is that of staged write `s`, whose c0, c1, ... are the key columns."""
    return " AND ".join(
        f"t.{named(column.name)} = {staged_value(index, column)}" for index, column in enumerate(plan.key_columns)
    )


def named(name: str) -> str:
    """A quoted name for a statement with parameters."""
    return bindable(quoted(name))


def staged_value(index: int, column: TargetColumn) -> str:
    """Column `c<index>` of the batch as a value of the replica's column."""
    return f"s.c{index}{_casts(transport_type(column.staged_type), column.via_type, column.target_type)}"


def _casts(present: str, *wanted: str) -> str:
    """`::a::b`, without the casts to what is there already."""
    casts = ""
    for kind in wanted:
        if kind != present:
            casts += f"::{type_name(kind)}"
            present = kind
    return casts
