"""All SQL that a replica is written with, as text. No I/O: `adapters.postgres_replica` sends it.

`adapters.postgres_ddl` is its neighbour for tables and grants. Names come from the registration, never from an event.
Invariant: a statement either names objects of a registration or takes parameters, never both, so that a `%` in a name
meets no parameter; `tests/unit/test_postgres_sql.py` holds it.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

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


# --- progress ----------------------------------------------------------------------------------------------------------

_OUTCOME_COLUMNS: Final = ", ".join(outcome.value for outcome in REPLICA_OUTCOMES)

CLAIM: Final = f"""
INSERT INTO trueup.progress AS p (topic, partition, token) VALUES (%s, %s, 1)
ON CONFLICT (topic, partition) DO UPDATE SET token = p.token + 1, updated_at = now()
RETURNING token, next_offset, {_OUTCOME_COLUMNS}"""
"""Parameters: topic, partition."""

LOCK: Final = """
SELECT token, next_offset,
       EXISTS (SELECT FROM trueup.deleted_keys WHERE target = %s),
       EXISTS (SELECT FROM trueup.dead_letters WHERE target = %s AND superseded_at IS NULL)
FROM trueup.progress WHERE topic = %s AND partition = %s FOR UPDATE"""
"""Parameters: target, target, topic, partition."""

ADVANCE: Final = f"""
UPDATE trueup.progress SET next_offset = %s, updated_at = now(),
       {", ".join(f"{outcome.value} = {outcome.value} + %s" for outcome in REPLICA_OUTCOMES)}
WHERE topic = %s AND partition = %s"""
"""Parameters: next_offset, one number per REPLICA_OUTCOMES, topic, partition."""

FINGERPRINT: Final = "SELECT fingerprint FROM trueup.copies WHERE target = %s"

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


# --- one batch of one copy ---------------------------------------------------------------------------------------------


class BatchStatements(msgspec.Struct, frozen=True):
    """The statements of a copy, without parameters. `stage_types` are the types of COPY's columns."""

    stage_table: str
    stage_types: tuple[str, ...]
    copy_in: str
    clear_stage: str
    upsert: str
    upsert_unless_deleted: str
    revive: str
    delete: str
    remember_deleted: str
    count_held: str
    supersede: str


def batch_statements(plan: CopyPlan) -> BatchStatements:
    """Compile the statements of a copy. Raises ValueError for a name or a type that cannot be written."""
    stage = f"pg_temp.trueup_stage_{plan.fingerprint[:16]}"
    columns = [f"c{index}" for index in range(len(plan.columns))]
    types = [type_name(column.staged_type) for column in plan.columns]
    declared = ", ".join(f"{name} {kind}" for name, kind in zip(columns, types, strict=True))
    names = f"key, version, deleted, {', '.join(columns)}"
    target = literal(plan.target)
    newer_deletion = (
        f" AND NOT EXISTS (SELECT FROM trueup.deleted_keys d"
        f" WHERE d.target = {target} AND d.key = s.key AND d.version >= s.version)"
    )
    return BatchStatements(
        stage_table=f"CREATE TEMP TABLE IF NOT EXISTS {stage.removeprefix('pg_temp.')}"
        f" (key bytea, version bytea, deleted bool, {declared}) ON COMMIT DELETE ROWS",
        stage_types=("bytea", "bytea", "bool", *types),
        copy_in=f"COPY {stage} ({names}) FROM STDIN (FORMAT binary)",
        clear_stage=f"DELETE FROM {stage}",
        upsert=_upsert(plan, stage, ""),
        upsert_unless_deleted=_upsert(plan, stage, newer_deletion),
        revive=f"DELETE FROM trueup.deleted_keys d USING {stage} s WHERE NOT s.deleted"
        f" AND d.target = {target} AND d.key = s.key AND d.version < s.version",
        delete=f"DELETE FROM {table_name(plan)} t USING {stage} s WHERE s.deleted"
        f" AND {_same_key(plan)} AND t.{VERSION_COLUMN} < s.version",
        remember_deleted=f"INSERT INTO trueup.deleted_keys AS d (target, key, version)"
        f" SELECT {target}, s.key, s.version FROM {stage} s WHERE s.deleted"
        f" AND NOT EXISTS (SELECT FROM {table_name(plan)} t WHERE {_same_key(plan)}) ORDER BY s.key"
        f" ON CONFLICT (target, key) DO UPDATE SET version = excluded.version WHERE d.version < excluded.version",
        count_held=f"SELECT count(*) FROM {stage} s LEFT JOIN {table_name(plan)} t ON {_same_key(plan)}"
        f" LEFT JOIN trueup.deleted_keys d ON d.target = {target} AND d.key = s.key"
        f" WHERE t.{VERSION_COLUMN} = s.version OR d.version = s.version",
        supersede=f"UPDATE trueup.dead_letters l SET superseded_at = now() FROM {stage} s WHERE l.target = {target}"
        f" AND l.superseded_at IS NULL AND l.key = s.key AND l.version <= s.version",
    )


def _upsert(plan: CopyPlan, stage: str, condition: str) -> str:
    names = [quoted(column.name) for column in plan.columns]
    values = [_staged_value(index, column) for index, column in enumerate(plan.columns)]
    set_columns = [quoted(column.name) for column in plan.columns if column.name not in plan.key]
    assignments = [f"{name} = excluded.{name}" for name in (*set_columns, VERSION_COLUMN)]
    return (
        f"INSERT INTO {table_name(plan)} AS t ({', '.join((*names, VERSION_COLUMN))})"
        f" SELECT {', '.join((*values, 's.version'))} FROM {stage} s WHERE NOT s.deleted{condition} ORDER BY s.key"
        f" ON CONFLICT ({', '.join(quoted(name) for name in plan.key)}) DO UPDATE SET {', '.join(assignments)}"
        f" WHERE t.{VERSION_COLUMN} < excluded.{VERSION_COLUMN}"
    )


def _same_key(plan: CopyPlan) -> str:
    indexes = {column.name: index for index, column in enumerate(plan.columns)}
    return " AND ".join(
        f"t.{quoted(column.name)} = {_staged_value(indexes[column.name], column)}" for column in plan.key_columns
    )


def _staged_value(index: int, column: TargetColumn) -> str:
    return f"s.c{index}{_casts(column.staged_type, column.via_type, column.target_type)}"


def _casts(present: str, *wanted: str) -> str:
    """`::a::b`, without the casts to what is there already."""
    casts = ""
    for kind in wanted:
        if kind != present:
            casts += f"::{type_name(kind)}"
            present = kind
    return casts
