"""What a copy shows of a table: the registered columns, renamed, cast, masked.

Compiled once into a CopyPlan; a CopyRules then makes one Write per truth record. Casts are done by the replica, so
that they are PostgreSQL's own; masks are done here, so that the clear value never reaches the replica.
Rules that decide whether a change is valid are the checks of the decide stage, not these.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from operator import itemgetter
from typing import Any, Final

import msgspec

from trueup.core.avro_types import base_type, is_array, staged_type
from trueup.core.exact_text import SPECIAL_NUMBERS, temporal_text
from trueup.core.truth_schema import avro_name
from trueup.core.type_names import catalog_name
from trueup.model.columns import CapturedTable, Column
from trueup.model.decision import TruthRecord
from trueup.model.errors import DecodeFailed
from trueup.model.registration import ColumnRule, ColumnVersion, Copy, Table
from trueup.model.write import VERSION_COLUMN, CopyPlan, TargetColumn, Write

_MASKABLE: Final = {"text", "character varying", "name", "citext", "uuid"}
"""Types whose value travels as the very text that PostgreSQL shows; `character` is padded, so it is not among them."""

_KEY_CASTS: Final = {
    "smallint": {"integer", "bigint", "numeric", "text"},
    "integer": {"bigint", "numeric", "text"},
    "bigint": {"numeric", "text"},
    "uuid": {"text"},
    "character varying": {"text"},
    "date": {"text"},
}
"""Casts that keep different keys different; another one could make two rows of the source one row of the copy."""


def compile_copy(table: Table, copy: Copy, captured: CapturedTable) -> CopyPlan:
    """The plan of a copy. Raises ValueError naming the column that cannot be copied as registered."""
    writer = copy.replica in table.writers
    # Generated columns of a users' table are computed there.
    rules = copy.columns or {c.name: c.name for c in captured.columns if not (writer and c.generated)}
    columns = tuple(_target_column(name, rule, captured) for name, rule in rules.items())
    if writer:
        columns = tuple(_users_column(column, captured.column(column.source)) for column in columns)
    schema, _, name = table.target_of(copy).partition(".")
    whole = {column.name for column in captured.columns} == {column.source for column in columns}
    return CopyPlan(
        table=table.table,
        replica=copy.replica,
        target_schema=schema,
        target_table=name,
        key=tuple(_key_column(key, columns, captured).name for key in table.key),
        columns=columns,
        whole=whole and not any(column.mask for column in columns),
        writer=writer,
        rank_column=table.version.column if writer and isinstance(table.version, ColumnVersion) else None,
    )


def _target_column(name: str, rule: str | ColumnRule, captured: CapturedTable) -> TargetColumn:
    wanted = ColumnRule(from_=rule) if isinstance(rule, str) else rule
    if name == VERSION_COLUMN:
        raise ValueError(f'column "{name}" cannot be copied: TrueUp keeps the version of a row under that name')
    try:
        source = captured.column(wanted.from_)
    except KeyError:
        raise ValueError(f'column "{name}" comes from "{wanted.from_}", which the source does not have') from None
    if wanted.mask is not None:
        return _masked_column(name, source, wanted)
    try:
        staged = staged_type(source)
        target = _default_type(source) if wanted.cast is None else catalog_name(wanted.cast)
    except KeyError as error:
        raise ValueError(f'column "{name}" has type {error.args[0]}, which is not supported') from None
    except ValueError as error:
        raise ValueError(f'column "{name}" cannot be cast: {error}') from None
    return TargetColumn(
        name=name,
        source=source.name,
        field=avro_name(source.name),
        staged_type=staged,
        via_type=_default_type(source),
        target_type=target,
    )


def _users_column(column: TargetColumn, source: Column) -> TargetColumn:
    """A column of a writer's own table has the type that it has at the others, enums included."""
    if base_type(source.pg_type) in {"citext", "hstore"}:
        raise ValueError(f'column "{source.name}" has type {source.pg_type}, which several writers cannot have')
    return msgspec.structs.replace(column, target_type=source.pg_type)


def _masked_column(name: str, source: Column, rule: ColumnRule) -> TargetColumn:
    if is_array(source) or not (source.kind == "e" or base_type(source.pg_type) in _MASKABLE):
        raise ValueError(f'column "{name}" cannot be masked: {source.pg_type} is not text')
    if rule.cast is not None:
        raise ValueError(f'column "{name}" has a mask and a cast: a masked value is text of 64 characters')
    return TargetColumn(
        name=name,
        source=source.name,
        field=avro_name(source.name),
        staged_type="text",
        via_type="text",
        target_type="text",
        mask=rule.mask,
    )


def _default_type(source: Column) -> str:
    """The source's type; text for an enum, citext and hstore, which a replica need not have."""
    if source.kind == "e" or base_type(source.pg_type) in {"citext", "hstore"}:
        return "text[]" if is_array(source) else "text"
    return source.pg_type


def _key_column(key: str, columns: tuple[TargetColumn, ...], captured: CapturedTable) -> TargetColumn:
    """The column of the copy that identifies rows: a key column whose values stay distinct."""
    sources = [column for column in columns if column.source == key]
    if not sources:
        raise ValueError(f'key column "{key}" is not copied: without it rows cannot be told apart')
    for column in sources:
        base = base_type(captured.column(key).pg_type)
        if not column.mask and (
            column.target_type == column.via_type or column.target_type in _KEY_CASTS.get(base, ())
        ):
            return column
    if all(column.mask for column in sources):
        raise ValueError(f'key column "{key}" cannot be masked: the replica keeps the captured keys of deleted rows')
    raise ValueError(f'key column "{key}" cannot be cast to {sources[0].target_type}: keys could fall together')


class CopyRules:
    """Makes the writes of one copy.

    :param complete: a truth record that lacks a column is refused: a copy that is filled anew would hide that the value
        is still to come. Else the column is null, as in any row of before it was added, until the row is read again.
    """

    def __init__(self, plan: CopyPlan, *, complete: bool = True) -> None:
        self.plan = plan
        self._complete = complete
        self._fields = tuple(column.field for column in plan.columns)
        self._get_row = itemgetter(*self._fields)
        self._masked = [index for index, column in enumerate(plan.columns) if column.mask]
        key_fields = {column.name: column.field for column in plan.key_columns}
        self._key = [
            (key_fields[column.name], _key_reader(column)) if column.name in key_fields else None
            for column in plan.columns
        ]

    def write_of(self, truth: TruthRecord, offset: int, record_value: bytes) -> Write:
        """The write of a truth record. Raises DecodeFailed when the record does not fit the plan."""
        try:
            values = self.values_of(truth)
        except (KeyError, TypeError, ValueError) as error:
            raise DecodeFailed(
                f'a truth record of "{self.plan.table}" does not fit the copy at "{self.plan.replica}"',
                detail=f"offset {offset}, {type(error).__name__}",
                hint="see whether the registration changed since the workers started",
            ) from error
        write = Write(truth.key, truth.version, truth.row is None, values, offset, record_value)
        if not self.plan.writer:
            return write
        position = -1 if truth.position is None else truth.position.change
        return msgspec.structs.replace(write, own=truth.origin == self.plan.replica, position=position)

    def values_of(self, truth: TruthRecord) -> tuple[Any, ...]:
        """A value per column of the plan, for staging; for a delete the key columns, from the captured key."""
        if truth.row is None:
            return self._values_of_key(truth.key)
        try:
            row = self._get_row(truth.row)
        except KeyError:
            if self._complete:
                raise
            row = tuple(map(truth.row.get, self._fields)) if len(self._fields) > 1 else truth.row.get(self._fields[0])
        values: tuple[Any, ...] = row if len(self._key) > 1 else (row,)
        if not self._masked:
            return values
        changed = list(values)
        for index in self._masked:
            changed[index] = mask_sha256(changed[index])
        return tuple(changed)

    def key_values(self, key: bytes) -> tuple[Any, ...]:
        """The values of a captured key for staging, in the order of the plan's key. Raises ValueError, KeyError."""
        values = dict(zip((column.name for column in self.plan.columns), self._values_of_key(key), strict=True))
        return tuple(values[name] for name in self.plan.key)

    def _values_of_key(self, key: bytes) -> tuple[Any, ...]:
        """The captured key is schemaless JSON: {"order_id": 5}."""
        captured: dict[str, Any] = msgspec.json.decode(key, type=dict[str, Any])
        return tuple(None if item is None else item[1](captured[item[0]]) for item in self._key)


def mask_sha256(value: str | None) -> str | None:
    """Hex of SHA-256 over the UTF-8 text; NULL stays NULL. The same in SQL: adapters.postgres_sql.source_expression."""
    return None if value is None else hashlib.sha256(value.encode()).hexdigest()


def _key_reader(column: TargetColumn) -> Callable[[Any], Any]:
    """From a JSON value to the Python value that is staged: the same as of a row, which `core.exact_text` made."""
    base = base_type(column.via_type)
    if base == "numeric":
        return lambda value: SPECIAL_NUMBERS.get(text := _text_of(value), text)
    if base == "date" or base.startswith("timestamp"):
        return lambda value: temporal_text(_text_of(value))
    return _KEY_READERS.get(column.staged_type, _text_of)


def _integer_of(value: Any) -> int:
    if type(value) is not int:
        raise TypeError("an integer is expected in the key")
    return value


def _boolean_of(value: Any) -> bool:
    if type(value) is not bool:
        raise TypeError("a boolean is expected in the key")
    return value


def _float_of(value: Any) -> float:
    return float(value)  # NaN and infinities are strings in JSON


def _bytes_of(value: Any) -> bytes:
    return base64.b64decode(value, validate=True)


def _text_of(value: Any) -> str:
    if type(value) is int:
        return str(value)
    if type(value) is not str:
        raise TypeError("text is expected in the key")
    return value


_KEY_READERS: Final[dict[str, Callable[[Any], Any]]] = {
    "int8": _integer_of,
    "bool": _boolean_of,
    "float4": _float_of,
    "float8": _float_of,
    "bytea": _bytes_of,
}
