"""`trueup.freshness` at a replica: what each copy is as of, for any reader, in the snapshot of the data (design 10).

A view over what apply workers write with the rows, and over `trueup.windows`, which `trueup apply` keeps equal to the
registration. Everybody may read it; the tables behind it stay as protected as they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import psycopg

from trueup.adapters.postgres_errors import translate
from trueup.adapters.postgres_merge import Connection
from trueup.adapters.postgres_sql import literal
from trueup.model.rebuild import SHADOW_PREFIX, SHADOW_SCHEMA
from trueup.model.topic import truth_topic

_WINDOWS: Final = """CREATE TABLE trueup.windows (
    table_name text PRIMARY KEY,
    partitions int NOT NULL,
    within interval,
    objective numeric
)"""

# One that met no marker yet makes the table as of nothing: it may lack anything. So do partitions that carried out
# different truncates, or are in different epochs: what one of them did may be promised for all, and it says only what
# it did last.
_IS_ONE: Final = "count(t.as_of) = w.partitions AND count(DISTINCT (t.as_of_epoch, t.as_of_truncated)) = 1"

# clock_timestamp(), not now(): a transaction that was opened long ago must not take its old snapshot for a fresh one.
# The oldest partition speaks for the table.
_FRESHNESS: Final = f"""CREATE VIEW trueup.freshness AS
SELECT w.table_name,
       c.target,
       p.as_of,
       '0/0'::pg_lsn + p.as_of_position AS as_of_position,
       p.as_of_epoch,
       w.within,
       w.objective,
       CASE WHEN w.within IS NOT NULL THEN coalesce(clock_timestamp() - p.as_of <= w.within, false) END AS fresh,
       p.held_keys,
       p.dead_lettered_keys + (SELECT count(DISTINCT l.key) FROM trueup.dead_letters l
                               WHERE l.target = c.target AND l.superseded_at IS NULL) AS dead_lettered_keys
FROM trueup.windows w
JOIN trueup.copies c ON c.plan->>'table' = w.table_name AND NOT starts_with(c.target, '{SHADOW_SCHEMA}.{SHADOW_PREFIX}')
CROSS JOIN LATERAL (
    SELECT CASE WHEN {_IS_ONE} THEN min(t.as_of) END AS as_of,
           CASE WHEN {_IS_ONE} THEN min(t.as_of_position) END AS as_of_position,
           CASE WHEN {_IS_ONE} THEN min(t.as_of_epoch) END AS as_of_epoch,
           coalesce(sum(t.held_keys), 0)::bigint AS held_keys,
           coalesce(sum(t.dead_lettered_keys), 0)::bigint AS dead_lettered_keys
    FROM trueup.progress t
    WHERE t.topic = '{truth_topic("")}' || w.table_name AND t.next_offset IS NOT NULL
) p"""

_MADE_AS: Final = f"made by trueup apply: {hashlib.sha256(_FRESHNESS.encode()).hexdigest()[:16]}"

_WINDOW_ROWS: Final = "SELECT table_name, partitions, extract(epoch FROM within) * 1000, objective FROM trueup.windows"

_LOOK: Final = """
SELECT to_regclass('trueup.windows') IS NOT NULL,
       obj_description(to_regclass('trueup.freshness'), 'pg_class'),
       coalesce(has_table_privilege('public', to_regclass('trueup.freshness'), 'SELECT'), false),
       coalesce(has_schema_privilege('public', to_regnamespace('trueup'), 'USAGE'), false)"""


class CopyWindow(msgspec.Struct, frozen=True, order=True):
    """What is promised of one copy.

    :param partitions: of its truth topic: the copy is as of what the oldest of them is.
    :param within_ms: the registered window; None when none is.
    :param objective: the share of changes that keep it, as text of a number of percent.
    """

    table: str
    partitions: int
    within_ms: int | None
    objective: str | None


async def plan_freshness(connection: Connection, windows: Sequence[CopyWindow], *, replica: str) -> list[str]:
    """The statements that are missing, to be carried out behind those of `postgres_replica_ddl.plan_replica`."""
    try:
        has_table, made_as, is_granted, has_usage = await _row(connection, _LOOK)
        present = await (await connection.execute(_WINDOW_ROWS.encode())).fetchall() if has_table else []
    except psycopg.Error as error:
        raise translate(error, replica, "trueup.freshness") from error
    statements = [] if has_table else [_WINDOWS]
    statements += _plan_rows(present, windows)
    if made_as != _MADE_AS:
        statements += ["DROP VIEW IF EXISTS trueup.freshness", _FRESHNESS]
        statements.append(f"COMMENT ON VIEW trueup.freshness IS {literal(_MADE_AS)}")
    if made_as != _MADE_AS or not is_granted:
        statements.append("GRANT SELECT ON trueup.freshness TO PUBLIC")
    return statements if has_usage else [*statements, "GRANT USAGE ON SCHEMA trueup TO PUBLIC"]


def _plan_rows(present: Sequence[tuple[Any, ...]], wanted: Sequence[CopyWindow]) -> list[str]:
    there = {row[0]: _found(row) for row in present}
    names = {window.table for window in wanted}
    gone = [f"DELETE FROM trueup.windows WHERE table_name = {literal(name)}" for name in sorted(there.keys() - names)]
    return gone + [_put(window) for window in sorted(wanted) if there.get(window.table) != window]


def _found(row: tuple[Any, ...]) -> CopyWindow:
    name, partitions, within_ms, objective = row
    return CopyWindow(
        name,
        partitions,
        None if within_ms is None else int(within_ms),
        None if objective is None else str(objective),
    )


def _put(window: CopyWindow) -> str:
    within = "NULL" if window.within_ms is None else f"interval '{window.within_ms} milliseconds'"
    objective = "NULL" if window.objective is None else literal(window.objective)
    return (
        "INSERT INTO trueup.windows (table_name, partitions, within, objective)"
        f" VALUES ({literal(window.table)}, {window.partitions}, {within}, {objective})"
        " ON CONFLICT (table_name) DO UPDATE SET partitions = excluded.partitions, within = excluded.within,"
        " objective = excluded.objective"
    )


async def _row(connection: Connection, query: str) -> tuple[Any, ...]:
    row = await (await connection.execute(query.encode())).fetchone()
    assert row is not None, "the query gives one row"
    return row
