"""Values as people type them, read by PostgreSQL itself and written again, so that what it takes is what is kept."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import psycopg

from trueup.adapters.postgres_connect import Session, connect
from trueup.adapters.postgres_sql import bindable
from trueup.model.columns import Column
from trueup.model.errors import Refused, Unreachable

_LIMIT: Final = re.compile(r"\([0-9]+(,-?[0-9]+)?\)")


def written_by_postgres(dsn: str, system: str, values: Mapping[Column, str]) -> dict[str, str]:
    """PostgreSQL's own text of each value, by column, as the log has it.

    Raises Unreachable, and Refused for a value of another type, one that the column would cut or round, or a DSN that
    cannot be read.

    :param system: the name people know the database by.
    """
    part = f"source {system}"
    with connect(part, dsn) as session:
        try:
            return {column.name: _written(session, column, text) for column, text in values.items()}
        except psycopg.OperationalError as exc:
            raise Unreachable(part, detail=str(exc)) from exc


def _written(session: Session, column: Column, text: str) -> str:
    # The type's name comes from the catalog by way of the truth schema, quoted where it has to be.
    try:
        found = session.execute(_query(column.pg_type).encode(), {"text": text}).fetchone()
    except (psycopg.DataError, psycopg.ProgrammingError) as exc:
        raise Refused(
            f'PostgreSQL does not take the value for column "{column.name}"',
            detail=(exc.diag.message_primary or type(exc).__name__),
            hint=f"its type is {column.pg_type}",
        ) from exc
    assert found is not None
    written, kept = str(found[0]), bool(found[1])
    if not kept:
        raise Refused(
            f'column "{column.name}" cannot hold the value as it is',
            detail=f'"{text}" would become "{written}": its type is {column.pg_type}',
            hint="give a value that fits",
        )
    return written


def _query(pg_type: str) -> str:
    """The text by the type's output function, as the log has it: a cast to text writes 10.0.0.1/32 for an inet, and
    drops the padding of a character(n). And whether all was kept, which an explicit cast does not care for."""
    typed, unlimited = f"%(text)s::{bindable(pg_type)}", _unlimited(pg_type)
    # Compared as values: added zeros and blanks change none. A type without a limit keeps all; json has no equality.
    kept = "true" if unlimited == pg_type else f"{typed} = %(text)s::{unlimited}"
    return f"SELECT pg_catalog.format('%%s', {typed}), {kept}"


def _unlimited(pg_type: str) -> str:
    """The type without its length, precision and scale."""
    if '"' in pg_type:  # a type of the users', which has none
        return pg_type
    name = _LIMIT.sub("", pg_type)
    return "bpchar" if name == "character" else name  # character alone is one of length 1
