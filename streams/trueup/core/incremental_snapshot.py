"""Which tables an incremental snapshot of Debezium can read. Pure."""

from __future__ import annotations

from typing import Final

from trueup.core.avro_types import base_type
from trueup.model.columns import CapturedTable

_NOT_COMPARED: Final = frozenset(
    {"money", "time without time zone", "timestamp without time zone", "timestamp with time zone"}
)


def why_not_read_again(captured: CapturedTable) -> str | None:
    """Why an incremental snapshot brings no row of a table; None where it does.

    Measured with Debezium 3.7.0: it compares the key with the text it captured, which PostgreSQL refuses for these
    types ("operator does not exist"), and passes over the request. So it does for a table that is read as a whole.
    Stored generated columns it takes out of what it knows of the table ("not found in result set", dbz#2020), and then
    the next change of the log ends its task, after each restart again: nothing of its system is captured any more.
    """
    if generated := [column.name for column in captured.columns if column.generated]:
        return f'column "{generated[0]}" is generated, with which Debezium cannot read a table again'
    for column in map(captured.column, captured.key):
        if base_type(column.pg_type) in _NOT_COMPARED:
            return (
                f'the key column "{column.name}" has type {column.pg_type}, by which Debezium cannot read a table again'
            )
    return None
