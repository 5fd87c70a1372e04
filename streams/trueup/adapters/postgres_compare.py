"""The queries of `trueup verify`: counts and hashes of a source table, through the registered transform, and of a copy.

Both sessions have the same settings, so the same value is the same text. Rows are hashed in the database; only hashes
and, where they differ, keys travel.
"""

from __future__ import annotations

from typing import Any, Final

import psycopg

from trueup.adapters.postgres_sql import quoted, source_expression, table_name
from trueup.model.errors import Refused, Unreachable
from trueup.model.write import CopyPlan

_SESSION: Final = (
    "-c TimeZone=UTC -c DateStyle=ISO,YMD -c IntervalStyle=postgres -c extra_float_digits=3 -c bytea_output=hex"
    " -c statement_timeout=300s -c lc_monetary=C"
)
BUCKETS: Final = 256  # of 1,000,000 rows a bucket has 4,000: a differing row costs reading so many keys

# NULL is told from '' by quote_nullable; the unit separator cannot be forged past its quotes.
_ROW: Final = "md5(concat_ws(E'\\x1f', {columns}))"
_BUCKET: Final = "(('x' || substr(md5(k), 1, 8))::bit(32)::bigint % {buckets})::int"
_HASH: Final = "(('x' || substr(h, 1, 15))::bit(60)::bigint)::numeric"


class Side:
    """One database under comparison. `relation` is a SELECT of key text k and row hash h."""

    def __init__(self, part: str, dsn: str, relation: str) -> None:
        self._part, self._relation = part, relation
        try:
            self._connection = psycopg.connect(dsn, autocommit=True, connect_timeout=8, options=_SESSION)
        except psycopg.OperationalError as exc:
            raise Unreachable(part, detail=str(exc)) from exc

    def buckets(self) -> dict[int, tuple[int, int]]:
        """Rows and sum of hashes by bucket."""
        bucket = _BUCKET.format(buckets=BUCKETS)
        rows = self._rows(f"SELECT {bucket}, count(*), sum({_HASH}) FROM ({self._relation}) AS r GROUP BY 1")
        return {row[0]: (row[1], int(row[2])) for row in rows}

    def rows(self, buckets: set[int]) -> dict[str, str]:
        """Row hashes by key, of these buckets."""
        bucket = _BUCKET.format(buckets=BUCKETS)
        listed = ", ".join(str(number) for number in sorted(buckets))
        found = self._rows(f"SELECT k, h FROM ({self._relation}) AS r WHERE {bucket} IN ({listed})")
        return {row[0]: row[1] for row in found}

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(query.encode()).fetchall()
        except psycopg.OperationalError as exc:
            raise Unreachable(self._part, detail=str(exc)) from exc
        except psycopg.Error as exc:
            raise Refused(f'"{self._part}" cannot be compared', detail=str(exc), hint="run: trueup apply") from exc


def source_relation(plan: CopyPlan, schema: str, table: str) -> str:
    """The source as the copy must be."""
    columns = [f"({source_expression(column)})::text" for column in plan.columns]
    keys = [f"{quoted(column.source)}::text" for column in plan.key_columns]
    return f"SELECT {_key(keys)} AS k, {_row(columns)} AS h FROM {quoted(schema)}.{quoted(table)}"


def replica_relation(plan: CopyPlan) -> str:
    """The copy as it is."""
    columns = [f"{quoted(column.name)}::text" for column in plan.columns]
    keys = [f"{quoted(column.name)}::text" for column in plan.key_columns]
    return f"SELECT {_key(keys)} AS k, {_row(columns)} AS h FROM {table_name(plan)}"


def _key(keys: list[str]) -> str:
    return f"jsonb_build_array({', '.join(keys)})::text"


def _row(columns: list[str]) -> str:
    return _ROW.format(columns=", ".join(f"quote_nullable({column})" for column in columns))
