"""Values as people type them, read by PostgreSQL itself and written again, so that what it takes is what is kept."""

from __future__ import annotations

from collections.abc import Mapping

import psycopg

from trueup.model.columns import Column
from trueup.model.errors import Refused, Unreachable

_CONNECT_TIMEOUT_S = 8


def written_by_postgres(dsn: str, system: str, values: Mapping[Column, str]) -> dict[str, str]:
    """PostgreSQL's own text of each value, by column. Raises Unreachable, and Refused for a value of another type.

    :param system: the name people know the database by.
    """
    found = {}
    try:
        with psycopg.connect(dsn, connect_timeout=_CONNECT_TIMEOUT_S, autocommit=True) as connection:
            for column, text in values.items():
                found[column.name] = _written(connection, column, text)
    except psycopg.OperationalError as exc:
        raise Unreachable(f"source {system}", detail=str(exc)) from exc
    return found


def _written(connection: psycopg.Connection[tuple[str]], column: Column, text: str) -> str:
    # The type's name comes from the catalog by way of the truth schema, quoted where it has to be.
    try:
        row = connection.execute(f"SELECT (%s::{column.pg_type})::text".encode(), (text,)).fetchone()
    except (psycopg.DataError, psycopg.ProgrammingError) as exc:
        raise Refused(
            f'PostgreSQL does not take the value for column "{column.name}"',
            detail=(exc.diag.message_primary or type(exc).__name__),
            hint=f"its type is {column.pg_type}",
        ) from exc
    assert row is not None
    return row[0]
