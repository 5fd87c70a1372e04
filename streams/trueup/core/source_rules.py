"""Can this table be captured without loss, and what must change at the source for it? Pure.

What a registration says against the table's columns is `core.column_rules`; this is about the log: keys,
identity of rows, values out of line, rights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from trueup.core.avro_types import avro_primitive
from trueup.core.captured_defaults import writes_default
from trueup.model.columns import CapturedTable
from trueup.model.problem import FieldPath, Problem
from trueup.model.registration import ColumnVersion, Table
from trueup.model.source_table import CaptureRole, SourcePartition, SourceServer, SourceTable

_Mistake = tuple[FieldPath, str, str]
_SOURCE: Final = ("source", "table")
_KEY: Final = ("key",)
_SEPARATORS: Final = frozenset(":;,")  # of message.key.columns, which knows no escape for them
# Values that are lost: what they arrive as, and a check that keeps them out.
_TIME_LOST: Final = ("00:00:00", "{} < '24:00:00'")
_INTERVAL_LOST: Final = ("zero", "isfinite({})")
_NUMBERS_LOST: Final = ("null", "NOT {} && '{{NaN,Infinity,-Infinity}}'")
_LOST: Final = {
    "24:00:00": _TIME_LOST,
    **dict.fromkeys(("infinity", "-infinity"), _INTERVAL_LOST),
    **dict.fromkeys(("{NaN}", "{Infinity}", "{-Infinity}"), _NUMBERS_LOST),
}
_ORIGIN_VERSION: Final = 16_00_00  # pgoutput's option origin=none
_PLAIN_MONEY: Final = frozenset({"C", "POSIX", "en_US"})  # $1,234.50; Debezium reads 1.234,50 as 1.23450


def problems_with_server(
    table: Table, system: str, server: SourceServer, role: CaptureRole | None, role_name: str
) -> list[Problem]:
    """What keeps every table of a system from being captured; reported at the first table of the system."""
    found: list[_Mistake] = []
    if table.several_writers and server.version < _ORIGIN_VERSION:
        primary = (
            f'system "{system}" runs PostgreSQL {server.version // 10_000}, whose log cannot leave out copied rows'
        )
        found.append(
            (("writers",), primary, "a writer needs PostgreSQL 16 or newer; else let the table have one owner")
        )
    path = ("owner",) if table.owner is not None else ("writers",)
    if server.wal_level != "logical":
        hint = "ALTER SYSTEM SET wal_level = 'logical', then restart the server"
        found.append(
            (
                path,
                f'the server of system "{system}" has wal_level {server.wal_level}',
                hint,
            )
        )
    if role is None:
        hint = f'CREATE ROLE "{role_name}" LOGIN REPLICATION PASSWORD ..., or correct capture_dsn'
        found.append((path, f'role "{role_name}" of capture_dsn does not exist at the source', hint))
    elif not role.may_replicate:
        hint = f'ALTER ROLE "{role_name}" REPLICATION'
        found.append((path, f'role "{role_name}" of capture_dsn may not replicate', hint))
    return _problems(table, found)


def problems_with_source(
    table: Table, source: SourceTable | None, server: SourceServer, role: CaptureRole | None
) -> list[Problem]:
    """What keeps one table from being captured, with the cure."""
    if source is None:
        primary = f'source table "{table.source.table}" does not exist in database "{server.database}"'
        return _problems(table, [(_SOURCE, primary, "create it, or correct its name: schema.table")])
    found = [*_kind_mistakes(source), *_key_mistakes(table, source), *_column_mistakes(table, source)]
    found += _value_mistakes(source, server)
    if source.row_security and role is not None and not role.sees_all_rows:
        primary = f'table "{source.name}" has row level security, which may hide rows from "{role.name}"'
        found.append((_SOURCE, primary, f'ALTER ROLE "{role.name}" BYPASSRLS'))
    if not source.owned:
        primary = f'"{server.user}" does not own table "{source.name}", and only its owner can publish it'
        found.append((_SOURCE, primary, "use the owner's login as dsn of the system"))
    return _problems(table, found)


def problems_with_defaults(table: Table, source: SourceTable, captured: CapturedTable) -> list[Problem]:
    """Columns whose nulls would arrive as their defaults. A CHECK does not help: no captured schema shows it.

    :param captured: the columns to register; a default of another one changes nothing.
    """
    registered = {column.name for column in captured.columns}
    mistakes: list[_Mistake] = []
    for found in source.columns:
        column = found.column
        if column.name not in registered or not column.nullable or not writes_default(column, found.default):
            continue
        name = '"' + column.name.replace('"', '""') + '"'
        default = "is generated" if column.generated else "has a default"
        primary = f'column "{column.name}" is nullable and {default}, and capture cannot tell null from {found.default}'
        drop = "EXPRESSION" if column.generated else "DEFAULT"
        alter = f"ALTER TABLE {source.name} ALTER COLUMN {name}"
        mistakes.append((_SOURCE, primary, f"{alter} SET NOT NULL, or DROP {drop}; or do not register the table"))
    return _problems(table, mistakes)


def problems_between_writers(table: Table, found: Mapping[str, CapturedTable]) -> list[Problem]:
    """What keeps a table's writers from understanding each other: their columns must be the same.

    :param found: the table at each writer.
    """
    first, *others = found.items()
    mistakes: list[_Mistake] = []
    for system, captured in others:
        here, there = _types(first[1]), _types(captured)
        for name in sorted(here.keys() | there.keys()):
            if here.get(name) != there.get(name):
                shown = [f"{here.get(name, 'missing')} at {first[0]}", f"{there.get(name, 'missing')} at {system}"]
                primary = f'column "{name}" of "{table.source.table}" is {shown[0]} and {shown[1]}'
                mistakes.append((("writers",), primary, "make the tables of all writers the same"))
    return _problems(table, mistakes)


def _types(captured: CapturedTable) -> dict[str, str]:
    return {column.name: column.pg_type for column in captured.columns}


def _problems(table: Table, found: list[_Mistake]) -> list[Problem]:
    file = f"schemas/tables/{table.table}.yaml"
    return [Problem(file=file, path=path, primary=primary, hint=hint) for path, primary, hint in found]


def _kind_mistakes(source: SourceTable) -> Iterator[_Mistake]:
    if source.kind not in {"r", "p"}:
        primary = f'"{source.name}" is no table: views and foreign tables have no changes in the log'
        yield _SOURCE, primary, "register the tables behind it"
    elif source.persistence != "p":
        primary = f'table "{source.name}" is unlogged or temporary: its changes are not in the log'
        yield _SOURCE, primary, f"ALTER TABLE {source.name} SET LOGGED"


def _key_mistakes(table: Table, source: SourceTable) -> Iterator[_Mistake]:
    if not source.unique:
        primary = f'table "{source.name}" has no key: its changes do not say which row they change'
        hint = f"ALTER TABLE {source.name} ADD PRIMARY KEY (...), or do not register it"
        yield _KEY, primary, hint
        return
    keys = [index.columns for index in source.unique]
    if not any(set(columns) == set(table.key) for columns in keys):
        choices = " or ".join(f"[{', '.join(columns)}]" for columns in keys)
        primary = f'key [{", ".join(table.key)}] is no key of table "{source.name}"'
        yield _KEY, primary, f"write key: {choices}"
    elif set(table.key) != set(source.primary_key):
        for name in table.key:
            if name != name.strip() or not _SEPARATORS.isdisjoint(name):
                primary = f'key column "{name}" has a name that cannot be told to the connector'
                yield _KEY, primary, "write the primary key as key, or rename the column in the source"


def _column_mistakes(table: Table, source: SourceTable) -> Iterator[_Mistake]:
    for column in source.columns:
        name = column.column.name
        if column.virtual and needs_full_identity(table, source):
            primary = f'column "{name}" is generated when it is read, and the table needs REPLICA IDENTITY FULL'
            hint = f'PostgreSQL would refuse every update: make "{name}" STORED, or do not register the table'
            yield _SOURCE, primary, hint
        if column.dimensions > 1:
            primary = f'column "{name}" is an array of {column.dimensions} dimensions: capture loses its values'
            yield _SOURCE, primary, "keep it as jsonb, or do not register the table"


def _value_mistakes(source: SourceTable, server: SourceServer) -> Iterator[_Mistake]:
    """Types of which single values are lost: they are captured where the source keeps those values out."""
    for found in source.columns:
        column = found.column
        if found.lost:
            taken_for, check = _LOST[found.lost[0]]
            lost = f"{' and '.join(found.lost)} from {taken_for}"
            primary = f'column "{column.name}" has type {column.pg_type}, and capture cannot tell {lost}'
            check = check.format('"' + column.name.replace('"', '""') + '"')
            yield _SOURCE, primary, f"ALTER TABLE {source.name} ADD CHECK ({check}), or do not register the table"
        if column.pg_type == "money" and server.lc_monetary.partition(".")[0] not in _PLAIN_MONEY:
            primary = f'column "{column.name}" has type money, which the source writes as in {server.lc_monetary}'
            hint = f"ALTER DATABASE \"{server.database}\" SET lc_monetary = 'C', or change the column to numeric"
            yield _SOURCE, primary, hint


def needs_full_identity(table: Table, source: SourceTable) -> bool:
    """Whether the log must carry whole rows.

    - A value out of line (TOAST) is in the log of an update only if it changed, or with FULL (design 6).
    - The version of a delete stands in a column, which only FULL brings.
    - Of several writers each must say what its change was made upon.
    - A key that is not the primary key is in the log of a delete only as identity, or with FULL.
    """
    if table.several_writers or isinstance(table.version, ColumnVersion):
        return True
    if any(part.toast for part in source.partitions):
        return True
    return set(source.primary_key) != set(table.key) and not _identity_covers(table, source)


def _identity_covers(table: Table, source: SourceTable) -> bool:
    return any(index.replica_identity and set(index.columns) >= set(table.key) for index in source.unique)


def parts_to_identify(table: Table, source: SourceTable) -> list[SourcePartition]:
    """The parts whose replica identity must become FULL."""
    if needs_full_identity(table, source):
        return [part for part in source.partitions if part.replica_identity != "f"]
    covered = "f", "d", "i" if _identity_covers(table, source) else "d"
    return [part for part in source.partitions if part.replica_identity not in covered]


def why_full_identity(table: Table, source: SourceTable) -> str:
    """The reason, for whoever reads the plan."""
    if table.several_writers:
        return "a change must say which row it was made upon: others write the table, too"
    if isinstance(table.version, ColumnVersion):
        return f'a delete must say its "{table.version.column}"'
    wide = [
        c.column.name
        for c in source.columns
        if avro_primitive(c.column) in {"string", "bytes"} or c.dimensions  # the types PostgreSQL may store out of line
    ]
    if any(part.toast for part in source.partitions):
        return f"values out of line must be in the log: {', '.join(wide)}"
    return "the key of a deleted row must be in the log"
