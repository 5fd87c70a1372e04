"""Rules that need the source's columns: what a registration names exists there, with a type to match.

Checks have a file of their own: `core.check_column_rules`. Without a database: `core.registration_rules`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from trueup.core.avro_types import base_type, is_array, key_reason, unsupported_reason
from trueup.core.check_column_rules import CheckedColumns, check_column_mistakes
from trueup.core.check_rules import Mistake
from trueup.core.exact_values import INTEGERS
from trueup.core.rules_copy import compile_copy
from trueup.core.table_rules import OWN_PREFIX, plain_rule
from trueup.core.truth_schema import avro_name
from trueup.model.columns import CapturedTable, Column
from trueup.model.problem import FieldPath, Problem
from trueup.model.registration import ColumnVersion, Copy, Table

_TIMES: Final = frozenset({"timestamp with time zone", "timestamp without time zone"})


def problems_with_columns(table: Table, captured: CapturedTable, *, file: str | None = None) -> list[Problem]:
    """All mistakes that show only beside the source's columns; `file`: the registration's label."""
    columns = {column.name: column for column in captured.columns}
    found: list[Mistake] = [*_captured_mistakes(table, captured), *_key_mistakes(table, columns)]
    if isinstance(table.version, ColumnVersion):
        found += _version_mistakes(table, table.version, columns)
        found += _policy_mistakes(table, table.version, columns)
    if table.cause is not None:
        found += _absent(table, table.cause.column, columns, ("cause", "column"))
    checked = CheckedColumns(f'source table "{table.source.table}"', columns)
    for index, check in enumerate(table.checks):
        found += check_column_mistakes(check, checked, ("checks", index))
    for index, copy in enumerate(table.replicas):
        found += _copy_mistakes(table, copy, captured, ("replicas", index))
        found += _copy_check_mistakes(copy, columns, ("replicas", index))
    label = file or f"schemas/tables/{table.table}.yaml"
    return [Problem(file=label, path=path, primary=primary, hint=hint) for path, primary, hint in found]


def _absent(table: Table, name: str, columns: Iterable[str], path: FieldPath) -> Iterator[Mistake]:
    if name not in columns:
        close = difflib.get_close_matches(name, list(columns), n=1)
        guess = f'did you mean "{close[0]}"? ' if close else ""
        primary = f'column "{name}" does not exist in source table "{table.source.table}"'
        yield path, primary, f"{guess}columns there: {', '.join(columns)}"


def _captured_mistakes(table: Table, captured: CapturedTable) -> Iterator[Mistake]:
    path = ("source", "table")
    avro_names: dict[str, str] = {}
    for column in captured.columns:
        if (reason := unsupported_reason(column)) is not None:
            primary = f'column "{column.name}" has type {column.pg_type}, which is not supported: {reason}'
            yield path, primary, "change the column's type in the source, or do not register the table"
        if column.name.startswith(OWN_PREFIX):
            primary = f'source table has a column "{column.name}" of TrueUp: it is itself a copy'
            yield path, primary, "register the table at the system that owns it"
        if (earlier := avro_names.setdefault(avro_name(column.name), column.name)) != column.name:
            primary = f'columns "{earlier}" and "{column.name}" have the same name in Avro'
            yield (
                path,
                primary,
                "rename one of them in the source; letters, digits and underscore tell them apart",
            )


def _key_mistakes(table: Table, columns: dict[str, Column]) -> Iterator[Mistake]:
    for index, name in enumerate(table.key):
        yield from _absent(table, name, columns, ("key", index))
        column = columns.get(name)
        if column is None or unsupported_reason(column) is not None:
            continue
        if (reason := key_reason(column)) is not None:
            primary = f'key column "{name}" has type {column.pg_type}: {reason}'
            yield ("key", index), primary, "name another key, or change the column's type in the source"


def _version_mistakes(table: Table, version: ColumnVersion, columns: dict[str, Column]) -> Iterator[Mistake]:
    path = ("version", "column")
    yield from _absent(table, version.column, columns, path)
    column = columns.get(version.column)
    if column is None:
        return
    is_time = not is_array(column) and base_type(column.pg_type) in _TIMES
    if not is_time and column.pg_type not in INTEGERS:
        primary = f'column "{column.name}" has type {column.pg_type} and cannot order changes'
        yield path, primary, "name a timestamp or integer column, or write version: log"
    elif version.uncertainty is not None and not is_time:
        primary = f'column "{column.name}" is a counter: uncertainty is for times'
        yield ("version", "uncertainty"), primary, "remove uncertainty"
    elif column.nullable:
        primary = f'version column "{column.name}" may be null, and null has no order'
        yield path, primary, f'ALTER TABLE {table.source.table} ALTER COLUMN "{column.name}" SET NOT NULL'


def _policy_mistakes(table: Table, version: ColumnVersion, columns: dict[str, Column]) -> Iterator[Mistake]:
    """What a policy compares: last write wins times, version comparison counters."""
    column = columns.get(version.column)
    if table.conflicts is None or column is None:
        return
    counts = column.pg_type in INTEGERS
    if counts == (table.conflicts.policy == "last_write_wins"):
        wanted = "a time" if counts else "a counter"
        primary = (
            f'policy {table.conflicts.policy} needs {wanted}, and column "{column.name}" has type {column.pg_type}'
        )
        yield ("version", "column"), primary, f"name {wanted}, or choose another policy"


def _copy_mistakes(table: Table, copy: Copy, captured: CapturedTable, path: FieldPath) -> Iterator[Mistake]:
    """What `compile_copy` refuses, at the column it refuses: column by column, then as a whole."""
    names = [column.name for column in captured.columns]
    keyless = msgspec.structs.replace(table, key=[])
    refused = False
    for name, written in (copy.columns or {}).items():
        rule = plain_rule(written)
        here = (*path, "columns", name)
        missing = list(_absent(table, rule.from_, names, here if isinstance(written, str) else (*here, "from")))
        reason = _refusal(keyless, msgspec.structs.replace(copy, columns={name: written}), captured)
        if missing:
            yield from missing
        elif reason is not None:
            field = "mask" if rule.mask is not None else "cast"
            yield (
                here if isinstance(written, str) else (*here, field),
                reason,
                f"change or remove the {field}",
            )
        refused = refused or bool(missing) or reason is not None
    if not refused and set(table.key) <= set(names):
        reason = _refusal(table, copy, captured)
        if reason is not None:
            hint = "copy each key column once as it is, under any name"
            yield _key_path(table, copy, path), reason, hint


def _copy_check_mistakes(copy: Copy, columns: dict[str, Column], path: FieldPath) -> Iterator[Mistake]:
    """Checks of a copy name its columns; what they hold is asked of the source's column behind them."""
    rules = {name: plain_rule(written) for name, written in (copy.columns or {name: name for name in columns}).items()}
    checked = CheckedColumns(
        f'the copy at replica "{copy.replica}"',
        {name: columns[rule.from_] for name, rule in rules.items() if rule.from_ in columns},
        frozenset(name for name, rule in rules.items() if rule.mask is not None),
    )
    for index, check in enumerate(copy.checks):
        yield from check_column_mistakes(check, checked, (*path, "checks", index))


def _refusal(table: Table, copy: Copy, captured: CapturedTable) -> str | None:
    try:
        compile_copy(table, copy, captured)
    except ValueError as error:
        return str(error)
    return None


def _key_path(table: Table, copy: Copy, path: FieldPath) -> FieldPath:
    """The first changed column that comes from the key, else all columns."""
    for name, written in (copy.columns or {}).items():
        if plain_rule(written).from_ in table.key and not isinstance(written, str):
            return (*path, "columns", name)
    return (*path, "columns")
