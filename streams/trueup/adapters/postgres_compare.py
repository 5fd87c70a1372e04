"""The queries of `trueup verify`: counts and hashes of a source table, through the registered transform, and of a copy.

Both sessions have the same settings, so the same value is the same text. Rows are hashed in the database; only hashes
and, where they differ, keys travel. Each query is about one range of keys, so statements are short and answers small.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
import psycopg

from trueup.adapters.postgres_connect import connect
from trueup.adapters.postgres_errors import said
from trueup.adapters.postgres_sql import bindable, quoted, source_expression, table_name, type_name
from trueup.model.errors import Refused, Unreachable
from trueup.model.proof import Key, KeyRange, Seen, key_of_text
from trueup.model.write import CopyPlan

_SESSION: Final = (
    "-c TimeZone=UTC -c DateStyle=ISO,YMD -c IntervalStyle=postgres -c extra_float_digits=3 -c bytea_output=hex"
    " -c statement_timeout=300s -c lc_monetary=C -c jit=off"
)
BUCKETS: Final = 64  # of 10,000 rows a bucket has 156: a differing row costs reading so many keys
_KEYS_PER_LOOK: Final = 1_000

# NULL is told from '' by quote_nullable; the unit separator cannot be forged past its quotes.
_ROW: Final = "md5(concat_ws(E'\\x1f', {columns}))"
_BUCKET: Final = "(('x' || substr(md5(k), 1, 8))::bit(32)::bigint %% {buckets})::int"
_HASH: Final = "(('x' || substr(h, 1, 15))::bit(60)::bigint)::numeric"


class Relation(msgspec.Struct, frozen=True):
    """One side of a comparison, as SQL with names ready for statements that have parameters.

    :param keys: expressions of the key columns, as keys are compared and sorted; `types` what a text becomes for that.
    """

    table: str
    keys: tuple[str, ...]
    types: tuple[str, ...]
    row: str


class Side:
    """One database under comparison. Raises Unreachable, and Refused for a DSN or a table that is not as it must be."""

    def __init__(self, part: str, dsn: str, relation: Relation) -> None:
        self._part, self._relation = part, relation
        self._connection = connect(part, dsn, options=_SESSION)

    def position(self) -> tuple[str, str]:
        """The server's time, with its zone, and the position of its log."""
        ((time, position),) = self._rows("SELECT clock_timestamp()::text, pg_current_wal_insert_lsn()::text", ())
        return time, position

    def border(self, after: Key | None, rows: int) -> Key | None:
        """The key so many rows behind another one; None when fewer follow."""
        relation = self._relation
        where, parameters = self._where(KeyRange(after, None))
        found = self._rows(
            f"SELECT {_key(relation)} FROM {relation.table} AS t{where}"
            f" ORDER BY {', '.join(relation.keys)} OFFSET {rows - 1} LIMIT 1",
            parameters,
        )
        return key_of_text(found[0][0]) if found else None

    def buckets(self, within: KeyRange) -> dict[int, tuple[int, int]]:
        """Rows and sum of hashes by bucket."""
        rows, parameters = self._ranged(within)
        bucket = _BUCKET.format(buckets=BUCKETS)
        found = self._rows(f"SELECT {bucket}, count(*), sum({_HASH}) FROM ({rows}) AS r GROUP BY 1", parameters)
        return {row[0]: (row[1], int(row[2])) for row in found}

    def rows(self, within: KeyRange, buckets: set[int]) -> dict[str, Seen]:
        """The rows of these buckets, by key."""
        rows, parameters = self._ranged(within)
        bucket = _BUCKET.format(buckets=BUCKETS)
        listed = ", ".join(str(number) for number in sorted(buckets))
        return _seen(self._rows(f"SELECT k, h, m FROM ({rows}) AS r WHERE {bucket} IN ({listed})", parameters))

    def look(self, keys: Sequence[Key]) -> dict[str, Seen]:
        """The rows of these keys; keys without a row are absent."""
        relation = self._relation
        columns = [f"_trueup_key_{index}" for index in range(len(relation.keys))]  # no name of a column of a user's
        same = " AND ".join(
            f"{key} = s.{column}::{kind}"
            for key, column, kind in zip(relation.keys, columns, relation.types, strict=True)
        )
        arrays = ", ".join("%s::text[]" for _ in columns)
        query = f"{_select(relation)} JOIN unnest({arrays}) AS s ({', '.join(columns)}) ON {same}"
        found = dict[str, Seen]()
        parts = [keys[first : first + _KEYS_PER_LOOK] for first in range(0, len(keys), _KEYS_PER_LOOK)]
        while parts:
            part = parts.pop()
            try:
                found |= _seen(self._execute(query, tuple(list(values) for values in zip(*part, strict=True))))
            except psycopg.DataError:
                # A value that this side's type cannot hold: no row here has it. Somebody wrote it at the other side.
                middle = len(part) // 2
                parts += [part[:middle], part[middle:]] if len(part) > 1 else []
        return found

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _ranged(self, within: KeyRange) -> tuple[str, tuple[str, ...]]:
        where, parameters = self._where(within)
        return f"{_select(self._relation)}{where}", parameters

    def _where(self, within: KeyRange) -> tuple[str, tuple[str, ...]]:
        relation = self._relation
        values = ", ".join(f"%s::{kind}" for kind in relation.types)
        bounds = [(">", within.after), ("<=", within.through)]
        given = [(sign, key) for sign, key in bounds if key is not None]
        conditions = [f"({', '.join(relation.keys)}) {sign} ({values})" for sign, _ in given]
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        return where, tuple(value for _, key in given for value in key)

    def _rows(self, query: str, parameters: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        try:
            return self._execute(query, parameters)
        except psycopg.DataError as exc:
            raise self._refused(exc) from exc

    def _execute(self, query: str, parameters: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        try:
            # Not prepared: a plan that does not know the range may read the whole table.
            return self._connection.execute(query.encode(), parameters, prepare=False).fetchall()
        except psycopg.OperationalError as exc:
            raise Unreachable(self._part, detail=str(exc)) from exc
        except psycopg.DataError:
            raise
        except psycopg.Error as exc:
            raise self._refused(exc) from exc

    def _refused(self, error: psycopg.Error) -> Refused:
        return Refused(f'"{self._part}" cannot be compared', detail=said(error), hint="run: trueup apply")


def source_relation(plan: CopyPlan, schema: str, table: str) -> Relation:
    """The source as the copy must be."""
    kinds = tuple(type_name(column.via_type) for column in plan.key_columns)
    return Relation(
        table=bindable(f"{quoted(schema)}.{quoted(table)}"),
        # An enum has no other order there than that of its text here; of the same type the cast is none.
        keys=tuple(f"(t.{bindable(quoted(c.source))})::{k}" for c, k in zip(plan.key_columns, kinds, strict=True)),
        types=kinds,
        row=bindable(_row(f"({source_expression(column)})::text" for column in plan.columns)),
    )


def replica_relation(plan: CopyPlan) -> Relation:
    """The copy as it is."""
    return Relation(
        table=bindable(table_name(plan)),
        keys=tuple(f"t.{bindable(quoted(column.name))}" for column in plan.key_columns),
        types=tuple(type_name(column.target_type) for column in plan.key_columns),
        row=bindable(_row(f"{quoted(column.name)}::text" for column in plan.columns)),
    )


def shown_row(plan: CopyPlan) -> str:
    """A row of the copy by its key: the hash as a comparison has it, and each column as text. Parameters: the key."""
    relation = replica_relation(plan)
    columns = bindable(", ".join(f"{quoted(column.name)}::text" for column in plan.columns))
    return f"SELECT {relation.row}, ARRAY[{columns}]::text[] FROM {relation.table} AS t WHERE {where_key(plan)}"


def where_key(plan: CopyPlan) -> str:
    """The condition that a row `t` of the copy has a key. Parameters: the key's values as text."""
    relation = replica_relation(plan)
    return " AND ".join(f"{key} = %s::{kind}" for key, kind in zip(relation.keys, relation.types, strict=True))


def _select(relation: Relation) -> str:
    # xmin: the transaction that wrote the row as it is. Equal twice, it was not written in between.
    return f"SELECT {_key(relation)} AS k, {relation.row} AS h, t.xmin::text AS m FROM {relation.table} AS t"


def _key(relation: Relation) -> str:
    return f"jsonb_build_array({', '.join(f'{key}::text' for key in relation.keys)})::text"


def _row(columns: Iterable[str]) -> str:
    return _ROW.format(columns=", ".join(f"quote_nullable({column})" for column in columns))


def _seen(found: list[tuple[Any, ...]]) -> dict[str, Seen]:
    return {row[0]: Seen(row[1], row[2]) for row in found}
